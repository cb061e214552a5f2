"""How an entry that people connect signs in, in words."""

from typing import Any

import pytest

from postern.console.sign_in_words import sign_in_words
from postern.settings import Connection, GrantedAuth
from postern.settings.descriptions import described

ID = "44444444-dddd-4444-8444-444444444444"
OWN = {"flow": "authorization_code", "client_id": "the-client", "client_secret": {"key_vault": "the-name"}}
ENTRA = {"identity_provider": "entra", "client_id": ID, "scopes": ["offline_access", "User.Read"]}
URLS = {"authorization_url": "https://login.example/a", "token_url": "https://other.example/t"}
SHARED = "With a token that an operator connects for all runs"
EACH = "With a token that each person connects"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"identity_provider": "github"}, f"{SHARED}, of github for the client the-client: the secret the-name."),
        (
            {"identity_provider": "github", "per_user": True},
            f"{EACH}, of github for the client the-client: the secret the-name.",
        ),
        (
            {"issuer": "https://login.example/t"},
            f"{SHARED}, of login.example for the client the-client: the secret the-name.",
        ),
        (URLS, f"{SHARED}, of login.example for the client the-client: the secret the-name."),
        (ENTRA, f"{SHARED}, of Entra for the client {ID}: the secret the-name."),
        (
            {**ENTRA, "client_secret": None, "certificate": {"key_vault": "a-certificate"}, "tenant": "organizations"},
            f"{SHARED}, of tenant organizations of Entra for the client {ID}: the certificate a-certificate.",
        ),
        (
            {**ENTRA, "client_secret": None, "federated": True, "tenant": ID},
            f"{SHARED}, of tenant {ID} of Entra for the client {ID}: a federated managed identity.",
        ),
    ],
)
def test_who_connects_it_and_where_is_said_without_a_secret(fields: dict[str, Any], words: str):
    assert sign_in_words(GrantedAuth(**{**OWN, **fields})) == words


def test_an_entry_is_listed_with_all_the_scopes_that_people_are_asked_for():
    found = Connection(base_url="https://graph.example", auth=GrantedAuth(**{**OWN, **ENTRA}))
    facts = described("connections.graph", found)
    assert facts["for"] == ["openid", "profile", "offline_access", "User.Read"]
    assert (facts["auth"], facts["secrets"]) == ("oauth2", {"client_secret": "the-name"})
