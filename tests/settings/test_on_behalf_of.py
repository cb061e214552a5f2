"""Entries with `on_behalf_of`: what they may be, and what is said of those that cannot be used."""

from pathlib import Path
from typing import Any

import pytest

from postern.console.sign_in_words import sign_in_words
from postern.settings import OnBehalfOfAuth, Settings, SettingsFault, load_settings
from postern.settings.descriptions import described
from postern.settings.references import secret_references

ID = "aaaaaaaa-0000-4000-8000-000000000001"
TENANT = "bbbbbbbb-0000-4000-8000-000000000002"
SECRET = 'client_secret = { key_vault = "a-secret" }'
GRAPH = 'scopes = ["https://graph.microsoft.com/.default"]'
OF_CALLER = 'type = "entra", on_behalf_of = true'


def load(folder: Path, auth: str, table: str = "connections", **top: str) -> Settings:
    """The settings of a file with one entry, in a tenant and with an application, unless `top` says otherwise."""
    given = {"tenant_id": TENANT, "client_id": ID} | top
    lines = [f'{key} = "{value}"' for key, value in given.items() if value]
    address = "base_url" if table == "connections" else "url"
    entry = [f"[{table}.me]", f'{address} = "https://graph.microsoft.com/v1.0"', f"auth = {{ {auth} }}"]
    (folder / "postern.toml").write_text("\n".join([*lines, *entry]), "utf-8")
    return load_settings({}, folder=folder)


def auth_of(folder: Path, auth: str, table: str = "connections", **top: str) -> Any:
    settings = load(folder, auth, table, **top)
    return (settings.connections if table == "connections" else settings.triggers)["me"].auth


@pytest.mark.parametrize("table", ["connections", "triggers"])
@pytest.mark.parametrize(
    "proof", [SECRET, 'certificate = { key_vault = "a-certificate" }, certificate_chain = true', "federated = true"]
)
def test_each_way_of_the_application_is_taken_in_both_tables(tmp_path: Path, table: str, proof: str):
    auth = auth_of(tmp_path, f"{OF_CALLER}, {proof}, {GRAPH}", table)
    assert isinstance(auth, OnBehalfOfAuth)
    assert (auth.client_id, auth.tenant_id, auth.audience) == (None, None, "https://graph.microsoft.com")


@pytest.mark.parametrize(
    ("scopes", "audience"),
    [
        ('["https://graph.microsoft.com/User.Read", "https://graph.microsoft.com/Mail.Read"]', None),
        (f'["{ID}/.default"]', ID),
        ('["api://orders/Orders.Read"]', "api://orders"),
        ('["https://service.flow.microsoft.com//.default"]', "https://service.flow.microsoft.com/"),
    ],
)
def test_scopes_are_those_of_one_api(tmp_path: Path, scopes: str, audience: str | None):
    auth = auth_of(tmp_path, f"{OF_CALLER}, {SECRET}, scopes = {scopes}")
    assert auth.audience == (audience or "https://graph.microsoft.com")


def test_the_tenant_and_the_application_may_be_written(tmp_path: Path):
    auth = auth_of(
        tmp_path, f'{OF_CALLER}, {SECRET}, {GRAPH}, tenant_id = "{TENANT}", client_id = "{ID}"', client_id=""
    )
    assert (auth.tenant_id, auth.client_id) == (TENANT, ID)


ONE_OF_THREE = "Write exactly one of client_secret, certificate and federated = true"


@pytest.mark.parametrize(
    ("auth", "wrong", "fix"),
    [
        (f"{OF_CALLER}, {GRAPH}", "does not say how the application authenticates", ONE_OF_THREE),
        (f"{OF_CALLER}, {SECRET}, federated = true, {GRAPH}", "has both client_secret and federated", ONE_OF_THREE),
        (f"{OF_CALLER}, {SECRET}, certificate_chain = true, {GRAPH}", "certificate_chain without", "leave out the"),
        (f"{OF_CALLER}, managed_identity = true, {GRAPH}", "has managed_identity", "Write federated = true"),
        (f'{OF_CALLER}, {SECRET}, audience = "api://x"', "has audience", "Write scopes"),
        (f"{OF_CALLER}, {SECRET}", "needs scopes", "https://graph.microsoft.com/.default"),
        (f'{OF_CALLER}, {SECRET}, scopes = ["User.Read"]', "does not name its API", "https://graph"),
        (f'{OF_CALLER}, {SECRET}, scopes = ["api://x/"]', "does not name its API", "https://graph"),
        (f'{OF_CALLER}, {SECRET}, scopes = ["openid", "api://x/a"]', "scope openid", "Leave it out"),
        (f'{OF_CALLER}, {SECRET}, scopes = ["api://x/a", "api://y/a"]', "several APIs", "a separate entry"),
        (f'{OF_CALLER}, {SECRET}, scopes = ["api://x/a", "api://x/.default"]', "beside names", "alone"),
        (f'{OF_CALLER}, {SECRET}, scopes = ["api://x/ü"]', "other than visible ASCII", "the API's page"),
        (
            f'{OF_CALLER}, {SECRET}, scopes = ["https://service.flow.microsoft.com/.default"]',
            "missing or extra slash",
            '["https://service.flow.microsoft.com//.default"]',
        ),
        (f'type = "entra", on_behalf_of = "yes", {SECRET}, {GRAPH}', "is neither true nor false", "Write true"),
        (f"{OF_CALLER}, {SECRET}, {GRAPH}, per_user = true", "is not a known key", ""),
        (f'{OF_CALLER}, {SECRET}, {GRAPH}, tenant_id = "{ID}"', "another tenant than POSTERN_TENANT_ID", "Leave it"),
    ],
)
def test_what_cannot_be_used_says_so_at_its_line(tmp_path: Path, auth: str, wrong: str, fix: str):
    with pytest.raises(SettingsFault) as raised:
        load(tmp_path, auth)
    (problem,) = raised.value.problems
    assert problem.setting.startswith("connections.me.auth")
    assert "line " in problem.source
    assert wrong in problem.wrong
    assert fix in problem.fix


@pytest.mark.parametrize("table", ["connections", "triggers"])
def test_it_needs_the_application_of_the_callers(tmp_path: Path, table: str):
    with pytest.raises(SettingsFault) as raised:
        load(tmp_path, f"{OF_CALLER}, {SECRET}, {GRAPH}", table, client_id="")
    (problem,) = raised.value.problems
    assert problem.setting == f"{table}.me.auth.on_behalf_of"
    assert "POSTERN_CLIENT_ID" in problem.wrong


def test_a_local_tenant_has_both(tmp_path: Path):
    assert auth_of(tmp_path, f"{OF_CALLER}, {SECRET}, {GRAPH}", tenant_id="", client_id="").client_id is None


def test_it_is_shown_by_what_it_is_for_and_the_name_of_its_secret(tmp_path: Path):
    settings = load(tmp_path, f"{OF_CALLER}, {SECRET}, {GRAPH}")
    entry = settings.connections["me"]
    shown = described("connections.me", entry)
    assert (shown["auth"], shown["for"]) == ("entra", ["https://graph.microsoft.com/.default"])
    assert secret_references(settings) == {"a-secret": ("connections.me client_secret",)}
    assert sign_in_words(entry.auth) == (
        "With a token of Entra for the caller of the run (on behalf of), by Postern's own application: the secret "
        "a-secret."
    )
