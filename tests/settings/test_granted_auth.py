"""Entries that people connect: what they may be, what is said of those that cannot be used, and what else they need."""

import re
import shlex
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from postern.connections.sealing.vault_keys import key_in
from postern.settings import GrantedAuth, Settings, SettingsFault, load_settings
from postern.settings.grant_presets import GRANT_PRESETS, OWN_PARAMETERS, PLAIN
from postern.settings.granted_auth import GRANTED_ONLY
from postern.settings.grants import check_grants
from postern.settings.presets import ENTRA
from postern.settings.references import secret_references
from tests.table import table

ID = "aaaaaaaa-0000-4000-8000-000000000001"
CONSUMERS = "9188040d-6c67-4c5b-b112-36a304b66dad"
PLANTED = "planted~S3cret.Value"
SECRET = 'client_secret = { key_vault = "a-secret" }'
FLOW = 'type = "oauth2", flow = "authorization_code"'
URLS = 'authorization_url = "https://login.example/authorize", token_url = "https://login.example/token"'
LOOPBACK = 'authorization_url = "http://127.0.0.1:1/a", token_url = "http://localhost:1/t"'
CLIENT = f'client_id = "c", {SECRET}'
PLAINLY = f"{FLOW}, {CLIENT}, {URLS}"
OF_ENTRA = f'{FLOW}, identity_provider = "entra", client_id = "{ID}", scopes = ["offline_access", "User.Read"]'
COMPLETE = {
    "POSTERN_PUBLIC_URL": "https://postern.example",
    "POSTERN_TENANT_ID": ID,
    "POSTERN_CLIENT_ID": ID,
    "POSTERN_CLIENT_SECRET_NAME": "postern-secret",
    "POSTERN_KEY_VAULT_URL": "https://vault.example",
    "POSTERN_GRANTS_KEY_NAME": "grants-key",
}


def load(folder: Path, auth: str, environ: dict[str, str] | None = None) -> Settings:
    """The settings of a file with one connection."""
    table = ["[connections.tickets]", 'base_url = "https://api.example"', f"auth = {{ {auth} }}"]
    (folder / "postern.toml").write_text("\n".join(table), "utf-8")
    return load_settings(environ or {}, folder=folder)


def auth_of(folder: Path, auth: str) -> GrantedAuth:
    found = load(folder, auth).connections["tickets"].auth
    assert isinstance(found, GrantedAuth)
    return found


@pytest.mark.parametrize(
    ("auth", "requested", "authentication"),
    [
        (PLAINLY, (), "header"),
        (f'{PLAINLY}, scopes = ["a", "b"], client_authentication = "body", per_user = true', ("a", "b"), "body"),
        (f'{PLAINLY}, refresh_url = "https://r.example", revocation_url = "https://r.example/x"', (), "header"),
        (f'{FLOW}, {CLIENT}, issuer = "https://login.example/tenant/"', (), "header"),
        (f"{FLOW}, {CLIENT}, {LOOPBACK}", (), "header"),
        (f'{FLOW}, {CLIENT}, identity_provider = "github"', (), "body"),
        (f'{FLOW}, {CLIENT}, identity_provider = "github", scopes = ["repo"], parameters = {{ login = "x" }}',
         ("repo",), "body"),
        (f'{FLOW}, {CLIENT}, identity_provider = "google", scopes = ["https://a.example/drive"]',
         ("openid", "email", "https://a.example/drive"), "body"),
        (f'{FLOW}, {CLIENT}, identity_provider = "salesforce", scopes = ["api", "refresh_token"]',
         ("api", "refresh_token"), "body"),
        (f'{FLOW}, {CLIENT}, identity_provider = "salesforce", {URLS}', (), "body"),
        (f'{FLOW}, {CLIENT}, identity_provider = "facebook", scopes = ["email"]', ("email",), "body"),
        (f"{OF_ENTRA}, {SECRET}", ("openid", "profile", "offline_access", "User.Read"), "body"),
        (f'{OF_ENTRA}, certificate = {{ key_vault = "a-secret" }}, tenant = "{ID.upper()}"',
         ("openid", "profile", "offline_access", "User.Read"), "body"),
        (f'{OF_ENTRA}, federated = true, tenant = "organizations", tenants = ["{ID}"]',
         ("openid", "profile", "offline_access", "User.Read"), "body"),
        (f'{OF_ENTRA}, {SECRET}, tenant = "common", tenants = ["{CONSUMERS}"]',
         ("openid", "profile", "offline_access", "User.Read"), "body"),
    ],
)  # fmt: skip
def test_what_an_entry_can_be(tmp_path: Path, auth: str, requested: tuple[str, ...], authentication: str):
    """The scopes that tell whose account it is are requested in any case."""
    found = auth_of(tmp_path, auth)
    assert (found.requested, found.authentication) == (requested, authentication)


def test_tenants_are_written_as_entra_writes_them(tmp_path: Path):
    assert auth_of(tmp_path, f'{OF_ENTRA}, {SECRET}, tenant = "{ID.upper()}"').tenant == ID
    assert auth_of(tmp_path, f'{OF_ENTRA}, {SECRET}, tenant = "Organizations"').tenant == "organizations"
    assert auth_of(tmp_path, f'{OF_ENTRA}, {SECRET}, tenant = "consumers"').tenant == CONSUMERS


FAULTS = [
    # where people sign in
    (f"{FLOW}, {CLIENT}", "", "does not say where people sign in", "identity_provider = entra or github"),
    (f'{FLOW}, {CLIENT}, token_url = "https://x.example"', "", "has no authorization_url", "Write authorization_url"),
    (f'{FLOW}, {CLIENT}, authorization_url = "https://x.example"', "", "has no token_url", "Write token_url too"),
    (f'{FLOW}, {CLIENT}, identity_provider = "salesforce", token_url = "https://x.example"', "",
     "has no authorization_url", "both are addresses of one provider"),
    (f'{FLOW}, {CLIENT}, refresh_url = "https://x.example"', "", "does not say where people sign in", "issuer"),
    (f'{PLAINLY}, issuer = "https://x.example"', "", "has authorization_url beside issuer", "Leave authorization_url"),
    (f'{FLOW}, {CLIENT}, issuer = "https://x.example", revocation_url = "https://x.example/r"', "",
     "has revocation_url beside issuer", "Leave revocation_url out"),
    (f'{FLOW}, {CLIENT}, issuer = "https://x.example", identity_provider = "github"', "",
     "has both identity_provider and issuer", "Leave one of them out"),
    (f'{FLOW}, {CLIENT}, {URLS}, identity_provider = "github"', "", "has authorization_url beside identity_provider",
     "Leave it out"),
    (f'{OF_ENTRA}, {SECRET}, token_url = "https://x.example"', "", "comes from POSTERN_CLOUD", "Leave it out"),
    (f'{FLOW}, {CLIENT}, identity_provider = "githup"', "identity_provider", "is not a known provider",
     "Did you mean github?"),
    (f'{FLOW}, {CLIENT}, identity_provider = "PLANTED"', "identity_provider", "is not a known provider", "salesforce"),
    # addresses
    *[(f'{FLOW}, {CLIENT}, {URLS.replace("https://login.example/" + page, written)}', key, wrong, "")
      for page, key in (("authorize", "authorization_url"), ("token", "token_url"))
      for written, wrong in (("http://login.example/x", "is not https"), ("login.example", "is not a URL"),
                             ("https://u:PLANTED@login.example", "has a user name"),
                             ("https://login.example#x", "has a fragment"))],
    (f'{PLAINLY}, refresh_url = "http://x.example"', "refresh_url", "is not https", "http is for loopback"),
    (f'{PLAINLY}, revocation_url = "http://x.example"', "revocation_url", "is not https", "http is for loopback"),
    (f'{FLOW}, {CLIENT}, issuer = "http://x.example"', "issuer", "is not https", "http is for loopback"),
    (f'{FLOW}, {CLIENT}, issuer = "https://x.example?a=PLANTED"', "issuer", "has a query", "Leave out the ?"),
    # the flow
    (f'type = "oauth2", flow = "client_credentials", {CLIENT}, {URLS}', "flow", "is not a flow", "leave it out"),
    (f'type = "oauth2", flow = "implicit", {CLIENT}, {URLS}', "flow", "is not a flow", 'flow = "authorization_code"'),
    (f'type = "oauth2", flow = 5, {CLIENT}, {URLS}', "flow", "is not a flow", 'flow = "authorization_code"'),
    (f'type = "oauth2", {CLIENT}, token_url = "https://x.example", per_user = true', "",
     'has per_user, but no flow = "authorization_code"', 'Did you mean flow = "authorization_code"?'),
    (f'type = "oauth2", {CLIENT}, {URLS}', "", "has authorization_url, but no flow", "leave authorization_url out"),
    (f'type = "oauth2", identity_provider = "entra", client_id = "{ID}", {SECRET}, tenant = "common"', "",
     "has tenant, but no flow", "Did you mean flow"),
    (f'type = "entra", flow = "authorization_code", client_id = "{ID}", {SECRET}', "", "has a flow, which type = entra",
     'type = "oauth2", identity_provider = "entra"'),
    # the client
    (f'{FLOW}, client_id = "c", {URLS}', "", "does not say how the client authenticates", "(a public one)"),
    (f'{OF_ENTRA}', "", "does not say how the client authenticates", "exactly one of client_secret, certificate"),
    (f'{OF_ENTRA}, {SECRET}, federated = true', "", "has both client_secret and federated", "exactly one of"),
    (f'{OF_ENTRA}, federated = true, certificate = {{ key_vault = "c" }}', "", "both certificate and federated", ""),
    (f'{PLAINLY}, federated = true', "", "has federated, which is for entra only", "client_secret ="),
    (f'{FLOW}, client_id = "c", {URLS}, certificate = {{ key_vault = "c" }}', "", "has certificate, which is for entra",
     "client_secret ="),
    (f'{FLOW}, client_id = "c", {URLS}, client_secret = "PLANTED"', "client_secret", "is not a reference", "key_vault"),
    (f'{FLOW}, client_id = "ü", {SECRET}, {URLS}', "client_id", "ASCII", ""),
    (f'{FLOW}, {SECRET}, {URLS}', "client_id", "is missing", "Add it"),
    (f'{FLOW}, identity_provider = "entra", {CLIENT}, scopes = ["a"]', "", "client_id that is not an id", "client"),
    (f'{PLAINLY}, client_authentication = "private_key_jwt"', "", "private_key_jwt", "Write header or body"),
    (f'{PLAINLY}, client_authentication = "PLANTED"', "client_authentication", "is not one of", "one of"),
    (f'{OF_ENTRA}, federated = true, client_authentication = "body"', "", "client_authentication beside federated", ""),
    (f'{PLAINLY}, federated = "yes"', "federated", "is neither true nor false", "without quotes"),
    (f'{PLAINLY}, per_user = "yes"', "per_user", "is neither true nor false", "without quotes"),
    # tenants
    (f'{PLAINLY}, tenant = "common"', "", "has tenant, which is for entra only", "Leave it out"),
    (f'{PLAINLY}, tenants = ["{ID}"]', "", "has tenants, which is for entra only", "Leave it out"),
    (f'{OF_ENTRA}, {SECRET}, tenant = "contoso"', "tenant", "is not a tenant", "organizations or common"),
    (f'{OF_ENTRA}, {SECRET}, tenant = "organization"', "tenant", "is not a tenant", "organizations or common"),
    (f'{OF_ENTRA}, {SECRET}, tenants = ["{ID}"]', "", "sign in at one tenant only", "tenant = organizations or common"),
    (f'{OF_ENTRA}, {SECRET}, tenant = "{ID}", tenants = ["{ID}"]', "", "at one tenant only", "Leave tenants out"),
    (f'{OF_ENTRA}, {SECRET}, tenant = "common", tenants = ["x"]', "tenants", "is not an id", "0000"),
    (f'{OF_ENTRA}, {SECRET}, tenant = "organizations", tenants = ["{CONSUMERS}"]', "", "personal accounts among",
     'tenant = "common"'),
    # scopes
    (f'{FLOW}, {CLIENT}, identity_provider = "google"', "", "has no scopes", "Write scopes"),
    (f'{FLOW}, identity_provider = "entra", client_id = "{ID}", {SECRET}', "", "has no scopes", "offline_access"),
    (f'{PLAINLY}, scopes = ["a b"]', "scopes", "has white space in it", "Separate"),
    (f"{PLAINLY}, scopes = ['a\"b']", "scopes", "has characters that no scope has", "as the provider does"),
    # parameters
    *[(f'{PLAINLY}, parameters = {{ {name} = "x" }}', "parameters", f"has {name}, which Postern sets itself", "")
      for name in sorted(OWN_PARAMETERS)],
    (f'{PLAINLY}, parameters = {{ api_key = "PLANTED" }}', "parameters", "has api_key, and the address", "Leave"),
    (f'{PLAINLY}, parameters = {{ "a b" = "c" }}', "parameters", "unusual characters", "as the provider's page"),
    (f'{PLAINLY}, parameters = {{ a = "b\\n" }}', "parameters", "unusual characters", "as the provider's page"),
    (f"{PLAINLY}, parameters = {{ a = 5 }}", "parameters.a", "is not a string", "in quotes"),
    # unknown keys
    (f'{PLAINLY}, per_person = true', "per_person", "is not a known key", "Did you mean per_user?"),
    (f'{PLAINLY}, resource = "PLANTED"', "resource", "is not a known key", ""),
]  # fmt: skip


@table(("auth", "key", "wrong", "fix"), FAULTS)
def test_what_cannot_be_used_is_said_with_its_key_and_its_fix(
    tmp_path: Path, auth: str, key: str, wrong: str, fix: str
):
    """The fault names the key and its line, and never shows a value."""
    with pytest.raises(SettingsFault) as raised:
        load(tmp_path, auth.replace("PLANTED", PLANTED))
    (problem,) = raised.value.problems
    assert problem.setting == ".".join(filter(None, ("connections.tickets.auth", key)))
    assert problem.source.startswith("postern.toml line")
    assert wrong in problem.wrong
    assert fix in problem.fix
    assert PLANTED not in str(raised.value)


@pytest.mark.parametrize("key", GRANTED_ONLY)
def test_each_key_that_only_people_s_connections_have_asks_for_the_flow(tmp_path: Path, key: str):
    written = {"per_user": "true", "tenants": f'["{ID}"]'}.get(key, '"https://x.example"')
    with pytest.raises(SettingsFault, match=f"has {key}, but no flow"):
        load(tmp_path, f'type = "oauth2", {CLIENT}, token_url = "https://x.example", {key} = {written}')


def test_the_addresses_of_presets_are_https_and_their_parameters_replace_nothing():
    for name, preset in GRANT_PRESETS.items():
        addresses = (preset.authorization_url, preset.token_url, preset.account_url, preset.revocation_url)
        assert all(urlsplit(address).scheme == "https" for address in addresses if address)
        assert bool(preset.authorization_url and preset.token_url) is (name != ENTRA)
        assert not OWN_PARAMETERS & set(preset.parameters)
        assert bool(preset.revocation) is bool(preset.revocation_url)
        assert (preset.account == "id_token") is ("openid" in preset.identity_scopes)
        assert all(re.fullmatch(r"[a-z]+(\.[a-z]+)+", domain) for domain in preset.domains)
    assert PLAIN.authorization_url == PLAIN.token_url == ""


def test_the_secrets_that_it_names_are_listed_with_the_key_of_all(tmp_path: Path):
    settings = load(tmp_path, PLAINLY, COMPLETE)
    found = secret_references(settings)
    assert found["a-secret"] == ("connections.tickets client_secret",)
    assert found["grants-key"] == ("POSTERN_GRANTS_KEY_NAME",)


def _missing(folder: Path, auth: str, *left_out: str, **more: str) -> list[str]:
    environ = {name: value for name, value in (COMPLETE | more).items() if name not in left_out}
    try:
        check_grants(load(folder, auth, environ))
    except SettingsFault as fault:
        return [str(problem) for problem in fault.problems]
    return []


@pytest.mark.parametrize(
    ("left_out", "more", "said"),
    [
        ((), {}, []),
        (("POSTERN_GRANTS_KEY_NAME",), {},
         ["POSTERN_GRANTS_KEY_NAME is not set, and connections.tickets, which people connect, needs it. Set it to"]),
        (("POSTERN_PUBLIC_URL",), {}, ["connections.tickets is connected by people in the console, which is off. Set"]),
        ((), {"POSTERN_CONSOLE": "off"}, ["connections.tickets is connected by people in the console, which is off"]),
        (("POSTERN_KEY_VAULT_URL",), {}, ["POSTERN_KEY_VAULT_URL is not set, and connections.tickets"]),
        (tuple(COMPLETE), {}, ["POSTERN_GRANTS_KEY_NAME", "POSTERN_KEY_VAULT_URL", "the console, which is off"]),
    ],
)  # fmt: skip
def test_what_such_an_entry_needs_of_the_other_settings(
    tmp_path: Path, left_out: tuple[str, ...], more: dict[str, str], said: list[str]
):
    found = _missing(tmp_path, PLAINLY, *left_out, **more)
    assert len(found) == len(said)
    assert all(text in problem for text, problem in zip(said, found, strict=True))


def test_without_such_an_entry_nothing_is_needed(tmp_path: Path):
    assert _missing(tmp_path, 'type = "none"', *COMPLETE) == []


def test_an_entry_of_either_table_needs_it_and_the_error_has_a_command_that_makes_a_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "postern.toml").write_text(
        f'[connections.other]\nbase_url = "https://api.example"\nauth = {{ type = "none" }}\n'
        f'[triggers.pay]\nurl = "https://pay.example"\nauth = {{ {PLAINLY} }}',
        "utf-8",
    )
    with pytest.raises(SettingsFault) as caught:
        check_grants(load_settings({}, folder=tmp_path))
    problem = str(caught.value)
    assert "triggers.pay, which people connect, needs it" in problem
    python, option, code = shlex.split(re.findall("`(.+?)`", problem)[0])
    exec(code, {})
    assert (python, option) == ("python3", "-c")
    assert key_in(capsys.readouterr().out) is not None
