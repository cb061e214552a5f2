"""Tokens that people gave for one provider, client and API are not sent to another one that an entry names later."""

from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from postern.connections.faults import ConnectionFault
from postern.connections.grants.entries import granted_entries
from postern.connections.grants.no_grant import NoGrant
from postern.connections.grants.places import place_of
from postern.journal.grants import State
from postern.settings import load_settings
from tests.connections.grants.renewal import LISA, World
from tests.table import table

pytestmark = pytest.mark.slow

LOGIN = "https://login.example"
URLS = {"authorization_url": "https://id.example/authorize", "token_url": "https://id.example/token"}
CLIENT = "aaaaaaaa-0000-4000-8000-000000000001"


def place(authority: str = LOGIN, base_url: str = "https://api.example/v1", **auth: Any) -> str:
    """Where the tokens of an entry with these values go."""
    provider = {} if {"identity_provider", "issuer"} & auth.keys() else URLS
    fixed = {"type": "oauth2", "flow": "authorization_code", "client_id": CLIENT, "client_secret": {"key_vault": "a"}}
    given = {"connections": {"tickets": {"base_url": base_url, "auth": {**fixed, **provider, **auth}}}}
    vault = {
        "key_vault_url": "https://vault.example",
        "grants_key_name": "grants-key",
        "azure_credential": "developer",
        "tenant_id": "aaaaaaaa-0000-4000-8000-0000000000aa",
    }
    return place_of(granted_entries(load_settings({}, defaults={**given, **vault}))["tickets"], authority)


OF_ENTRA: dict[str, Any] = {"identity_provider": "entra", "scopes": ["User.Read"]}


@table(
    "changed",
    [
        {"base_url": "https://api.other.example/v1"},
        {"base_url": "https://api.example:8443/v1"},
        {"client_id": "another"},
        {"token_url": "https://id.other.example/token"},
        {"token_url": "https://id.example/realms/b/token"},
        {"refresh_url": "https://id.other.example/refresh"},
        {"identity_provider": "github"},
        {"issuer": "https://id.example"},
        {"per_user": True},
        OF_ENTRA,
    ],
    ids=str,
)
def test_another_provider_client_or_api_is_another_place(changed: dict[str, Any]):
    assert place(**changed) != place()


@table(
    "changed",
    [
        {"base_url": "https://API.example/v2"},
        {"base_url": "https://api.example:443/"},
        {"scopes": ["read"]},
        {"client_secret": {"key_vault": "b"}},
        {"authorization_url": "https://id.example/new-page"},
        {"refresh_url": "https://id.example/token"},
        {"revocation_url": "https://id.example/revoke"},
        {"parameters": {"audience": "a"}},
        {"authority": "https://login.other.example"},
    ],
    ids=str,
)
def test_other_changes_keep_the_place(changed: dict[str, Any]):
    assert place(**changed) == place()


def test_a_grant_of_entra_belongs_to_its_cloud_and_not_to_one_of_its_tenants():
    one = place(**OF_ENTRA)
    assert place(**OF_ENTRA, tenant="organizations") == one
    assert place("https://login.other.example", **OF_ENTRA) != one


@pytest.mark.anyio
async def test_the_tokens_go_nowhere_until_the_change_is_undone(world: World):
    """Neither to the new API, nor to the new provider for a refresh or for the end of the grant."""
    before, after = place(), place(base_url="https://other.example")
    now = [before]
    world.places = lambda _: now[0]
    world.grants = world.process("node-2")
    await world.connected()
    now[0] = after
    changed = world.process("node-3")
    for left in (3600.0, 30.0, -30.0):
        world.expire(left)
        with pytest.raises(NoGrant) as fault:
            await changed.access("tickets", LISA)
        assert fault.value.reason == "moved"
        with pytest.raises(ConnectionFault):
            await changed.refresh("tickets", LISA, 1)
    assert (world.issuer.asked, world.database.row().state) == ([], State.CONNECTED)
    now[0] = before
    assert (await world.grants.access("tickets", LISA)).token == "access-2"


@pytest.mark.anyio
async def test_a_grant_of_another_place_is_disconnected_here_and_not_revoked_at_the_new_provider(world: World):
    world.places = lambda _: "before"
    await world.process("node-2").store("tickets", LISA, world.issuer.issued(), LISA, (), "consent")
    world.places = lambda _: "after"
    said = await world.process("node-3").disconnect("tickets", LISA)
    assert "the former provider" in said
    assert (world.issuer.revoked, world.database.grant()) == ([], None)


@pytest.mark.anyio
async def test_renewed_and_newly_connected_tokens_are_of_the_place_of_now(world: World):
    now = ["before"]
    world.places = lambda _: now[0]
    world.grants = world.process("node-2")
    await world.connected()
    world.expire()
    await world.grants.access("tickets", LISA)
    assert (await world.process("node-3").access("tickets", LISA)).token == "access-2"
    now[0] = "after"
    assert await world.process("node-4").store("tickets", LISA, world.issuer.issued(), LISA, (), "consent-2")
    assert (await world.process("node-5").access("tickets", LISA)).token == "access-2"


@pytest.mark.anyio
async def test_the_log_says_it_once_until_it_opens_again(world: World):
    """The background looks at such a grant every half minute."""
    now = ["before"]
    world.places = lambda _: now[0]
    world.grants = world.process("node-2")
    await world.connected()
    said = []
    for place in ("after", "after", "before", "after"):
        now[0] = place
        world.hand.at += 6.0
        world.grants._rows.forget(("tickets", LISA))
        with capture_logs() as logs, suppress(NoGrant):
            await world.grants.access("tickets", LISA)
        said.append([(line["event"], line["reason"]) for line in logs])
    assert said == [[("grant-not-opened", "moved")], [], [], [("grant-not-opened", "moved")]]
