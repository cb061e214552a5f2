"""`postern connections test NAME --for PERSON`: whose grant it is, and as whom a request may be sent."""

from dataclasses import replace
from pathlib import Path

import pytest

from postern.cli.grant_trial import is_granted, whose_grant
from postern.cli.workspace import Workspace, connection_callbacks, local_settings, workspace
from postern.connections.grants.trial import Whose
from postern.local_tenant.directory import POSTERN, TENANT_ID
from tests.cli.conftest import Postern

ENTRY = "connections.my-profile"
SHARED = """
[connections.tickets]
base_url = "https://api.github.com"
auth = { type = "oauth2", flow = "authorization_code", identity_provider = "github", client_id = "Iv1.7", client_secret = { key_vault = "github-app" } }
"""  # noqa: E501
LISA = "c33a0e11-b6a6-4ce1-b2e0-e5fbe1e362d2"


@pytest.fixture
def here(folder: Path) -> Workspace:
    """The local tenant's installation, with a shared entry besides."""
    (folder / "postern.toml").write_text(SHARED, encoding="utf-8")
    return workspace()


@pytest.mark.parametrize("person", ["lisa", LISA, LISA.upper()])
def test_a_person_of_the_local_tenant_is_named_or_an_object_id_and_requests_are_sent_as_them(
    here: Workspace, person: str
):
    assert whose_grant(ENTRY, here, person) == Whose(f"{TENANT_ID}/{LISA}", person, sends=True)


def test_nothing_is_sent_as_a_person_of_a_real_tenant_nor_without_a_name(here: Workspace):
    """`here.local` is None where the tenant is a real one."""
    assert whose_grant(ENTRY, replace(here, local=None), "lisa") == Whose(f"{TENANT_ID}/{LISA}", "lisa", sends=False)
    assert whose_grant(ENTRY, here, None) == Whose(None, "", sends=False)
    assert whose_grant("connections.tickets", here, None) == Whose()
    assert [is_granted(entry, here) for entry in (ENTRY, "connections.tickets", "connections.graph")] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("name", "person", "says"),
    [
        ("my-profile", "mallory", "It has ada, lisa, gil, postern."),
        ("my-profile", "lisa@tenant.example", "neither an object id nor a name in the table people."),
        ("tickets", "lisa", "connections.tickets is not one of them"),
        ("graph", "lisa", "connections.graph is not one of them"),
    ],
)
def test_an_option_that_fits_nobody_or_no_entry_is_an_error(
    postern: Postern, here: Workspace, name: str, person: str, says: str
):
    result = postern("connections", "test", name, "--for", person)
    assert (result.exit_code, says in " ".join(result.stderr.split())) == (2, True)


def test_each_connection_of_the_local_tenant_s_application_has_its_redirect_uri(folder: Path):
    """Other clients are registered elsewhere."""
    own = f"""
[connections.mine]
base_url = "https://api.example"
auth = {{ type = "oauth2", flow = "authorization_code", identity_provider = "entra", client_id = "{POSTERN.client_id}", client_secret = {{ key_vault = "postern-client-secret" }}, scopes = ["User.Read"] }}
"""  # noqa: E501
    (folder / "postern.toml").write_text(SHARED + own, encoding="utf-8")
    here = workspace()
    assert here.local is not None
    settings = local_settings(here.local, "http://127.0.0.1:8080")
    assert connection_callbacks(here.local, settings) == {
        "http://127.0.0.1:8080/connect/mine/callback",
        "http://127.0.0.1:8080/connect/my-profile/callback",
    }


def test_without_a_database_it_says_what_creates_one(postern: Postern, monkeypatch: pytest.MonkeyPatch):
    for variable in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.setenv(variable, "")
    result = postern("connections", "test", "my-profile")
    assert (result.exit_code, "A server creates it when it starts" in " ".join(result.stderr.split())) == (2, True)
