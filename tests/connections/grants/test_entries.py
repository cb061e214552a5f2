"""The entries that people connect."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from postern.connections.grants.entries import granted_entries
from postern.settings import Connection, GrantedAuth, NoAuth, Settings, Trigger

PROVIDERS: list[tuple[dict[str, Any], str]] = [
    ({"identity_provider": "github"}, "GitHub"),
    ({"identity_provider": "entra"}, "Microsoft Entra"),
    ({"issuer": "https://id.example/realms/a"}, "id.example"),
    ({"authorization_url": "https://login.example/a", "token_url": "https://token.example/t"}, "login.example"),
]


def auth(**values: Any) -> GrantedAuth:
    return GrantedAuth.model_construct(flow="authorization_code", client_id="me", **values)


def test_the_name_of_a_grant_tells_connections_from_triggers():
    granted, other = auth(per_user=True), NoAuth()
    settings = SimpleNamespace(
        connections={
            "tickets": Connection.model_construct(base_url="https://api.example", auth=granted),
            "open": Connection.model_construct(base_url="https://open.example", auth=other),
        },
        triggers={"tickets": Trigger.model_construct(url="https://flow.example", auth=auth())},
    )
    found = granted_entries(cast("Settings", settings))
    assert {name: each.entry for name, each in found.items()} == {
        "tickets": "connections.tickets",
        "triggers.tickets": "triggers.tickets",
    }
    assert found["tickets"].owner("tenant/lisa") == "tenant/lisa"
    assert found["triggers.tickets"].owner("tenant/lisa") == ""


@pytest.mark.parametrize(("values", "words"), PROVIDERS)
def test_the_provider_has_its_own_name_or_that_of_its_host(values: dict[str, Any], words: str):
    entry = Connection.model_construct(base_url="https://api.example", auth=auth(**values))
    settings = cast("Settings", SimpleNamespace(connections={"tickets": entry}, triggers={}))
    assert granted_entries(settings)["tickets"].provider == words
