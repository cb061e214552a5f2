"""How often Entra and the Key Vault are received, with the real Azure clients against the local tenant."""

import asyncio

import pytest

from postern.connections import Connections
from tests.connections.conftest import Fronted
from tests.connections.test_entry_client import settings_for

pytestmark = pytest.mark.anyio


async def test_fifty_cold_calls_ask_entra_and_the_vault_once_and_warm_ones_never(fronted: Fronted):
    """One more token is for the vault itself."""
    connections = Connections(settings_for(fronted.tenant), fronted.tenant.authority)
    graph = connections.client("graph")
    answers = await asyncio.gather(*(graph.get("/users") for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert (fronted.front.tokens, len(fronted.front.reads)) == (2, 1)
    await asyncio.gather(*(graph.get("/users") for _ in range(50)))
    assert (fronted.front.tokens, len(fronted.front.reads)) == (2, 1)
    await connections.aclose()


async def test_entries_of_one_signer_share_a_token(fronted: Fronted):
    """Workflows of this server are called as this server, however many there are."""
    settings = settings_for(fronted.tenant)
    connections = Connections(settings, fronted.tenant.authority)
    found = settings.connections["graph"]
    named = [f"workflow {number}" for number in range(5)]
    clients = [connections.open(name, found.base_url, found.auth, signer="POSTERN_CLIENT_ID") for name in named]
    answers = await asyncio.gather(*(client.get("/users") for client in clients))
    assert [answer.status_code for answer in answers] == [200] * 5
    assert (fronted.front.tokens, len(fronted.front.reads)) == (2, 1)
    await connections.aclose()
