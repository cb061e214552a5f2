"""Who is a person for `/connections`, whatever a token says."""

import json
from dataclasses import replace
from typing import Any

import pytest
from starlette.requests import Request

from postern.access import Caller, Check, Refused
from postern.api.grant_actions import GrantActions
from postern.api.grant_handlers import GrantHandlers
from postern.connections.grants.entries import granted_entries
from postern.errors import Problem
from postern.settings import load_settings
from postern.settings.installation import Installation

pytestmark = pytest.mark.anyio

HERE, THERE = "00000000-0000-0000-0000-0000000000aa", "00000000-0000-0000-0000-0000000000bb"
OURS, LISA = "api://ours", "00000000-0000-0000-0000-000000000001"
TICKETS = {
    "base_url": "https://api.example",
    "auth": {
        "type": "oauth2",
        "flow": "authorization_code",
        "identity_provider": "github",
        "client_id": "app",
        "client_secret": {"key_vault": "github-app"},
        "per_user": True,
    },
}


async def read(*_: Any) -> Any:
    return {}


def handlers(caller: Caller) -> GrantHandlers:
    async def identified(_: Request) -> Caller:
        return caller

    defaults = {"connections": {"tickets": TICKETS}, "grants_key_name": "key", "key_vault_url": "https://v.example"}
    entries = granted_entries(load_settings({}, defaults=defaults))
    here = Installation(tenant_id=HERE, audiences=(OURS,))
    return GrantHandlers(here, identified, GrantActions(entries, None, read, read, HERE), "https://postern.example")


def request(method: str) -> Request:
    scope: dict[str, Any] = {"type": "http", "method": method, "path": "/", "query_string": b"", "headers": []}
    return Request({**scope, "path_params": {"name": "tickets"}})


@pytest.mark.parametrize(
    ("caller", "sees"),
    [
        (Caller("user", LISA, HERE, audience=OURS), ["tickets"]),
        (Caller("user", LISA, THERE, audience=OURS), []),
        (Caller("user", LISA, THERE, audience=OURS, roles=frozenset({"Postern.Operator"})), []),
        (Caller("application", LISA, HERE, audience=OURS), []),
    ],
)
async def test_only_people_of_this_tenant_see_what_they_can_connect(caller: Caller, sees: list[str]):
    """A workflow may admit people of other tenants: entries, scopes and addresses are not theirs to read."""
    at = handlers(caller)
    listed = json.loads((await at.index(request("GET"))).content)["connections"]
    assert [each["name"] for each in listed] == sees
    if not sees:
        with pytest.raises(Problem) as ended:
            await at.end(request("DELETE"))
        assert ended.value.code == "unknown-connection"


async def test_an_operator_whose_access_ends_while_a_body_arrives_makes_no_link():
    access = ["lasts"]

    async def identified(_: Request) -> Caller:
        if not access:
            raise Refused([Check("revoked", False)])
        return Caller("user", LISA, HERE, audience=OURS, roles=frozenset({"Postern.Operator"}))

    async def body() -> dict[str, Any]:
        access.clear()
        return {"type": "http.request", "body": json.dumps({"for": LISA}).encode(), "more_body": False}

    scope = {**request("POST").scope, "headers": [(b"content-type", b"application/json")]}
    with pytest.raises(Refused):
        await replace(handlers(Caller("user")), caller=identified).link(Request(scope, body))
