"""What an entry can say so that the other side understands it."""

import gzip
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import to_json

from postern.connections import ConnectionFault, Connections
from postern.connections.vault.secret import Secret
from postern.settings import load_settings
from tests.connections.counterparts import Counterpart, Waits, always, listening

pytestmark = pytest.mark.anyio

KEY = {"key_vault": "crm-key"}
TOKEN = to_json({"access_token": "T1", "token_type": "Bearer", "expires_in": 3600})


class Drawer:
    """Where a test's secrets are; `values` are by name."""

    def __init__(self) -> None:
        self.values = {"crm-key": "key-1", "apim-key": "apim-1"}

    async def read(self, name: str) -> Secret:
        return Secret(name, self.values[name])

    async def read_again(self, name: str, refused: str) -> Secret:
        return await self.read(name)


@pytest.fixture
def drawer() -> Drawer:
    return Drawer()


@pytest.fixture
async def made(tmp_path: Path, drawer: Drawer) -> AsyncIterator[Any]:
    """Makes Connections of settings, which are closed at the end."""
    opened: list[Connections] = []

    def make(**settings: Any) -> Connections:
        loaded = load_settings({}, folder=tmp_path, defaults=settings)
        opened.append(Connections(loaded, "", secrets=drawer, retries=Waits().retries()))
        return opened[-1]

    yield make
    for each in opened:
        await each.aclose()


def oauth2(tokens: Counterpart, **more: Any) -> dict[str, Any]:
    keys = {"token_url": tokens.url + "/token", "client_id": "postern", "client_secret": KEY}
    return {"type": "oauth2", **keys, **more}


async def test_a_token_that_comes_compressed_is_used(made: Any):
    async with listening(always()) as api, listening(always(200, gzip.compress(TOKEN), "Content-Encoding: gzip")) as at:
        client = made(connections={"crm": {"base_url": api.url, "auth": oauth2(at)}}).client("crm")
        assert (await client.get("/x")).status_code == 200
        assert api.received[0].header("authorization") == "Bearer T1"


async def test_a_token_endpoint_with_an_unknown_coding_is_a_fault_of_its_entry(made: Any):
    async with listening(always()) as api, listening(always(200, TOKEN, "Content-Encoding: br")) as at:
        client = made(connections={"crm": {"base_url": api.url, "auth": oauth2(at)}}).client("crm")
        with pytest.raises(ConnectionFault, match=r"^connections\.crm gets no token: .*/token responded with .* br"):
            await client.get("/x")
