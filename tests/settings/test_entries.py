"""Entries of `[connections.*]` and `[triggers.*]`: what they may be, and what is said of those that cannot be used."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.settings import (
    ApiKeyAuth,
    BasicAuth,
    EntraAuth,
    OAuth2Auth,
    SecretReference,
    Settings,
    SettingsFault,
    load_settings,
)
from postern.settings.presets import POWER_AUTOMATE_AUDIENCES, PROVIDERS, audience_in, power_automate_audience
from tests.table import table

pytestmark = pytest.mark.slow

ID = "aaaaaaaa-0000-4000-8000-000000000001"
NOWHERE = Path("there-is-no-such-folder")
PLANTED = "planted~S3cret.Value"
SECRET = '{ key_vault = "a-secret" }'
REFERENCE = SecretReference(key_vault="a-secret")
ENTRA = f'type = "entra", client_id = "{ID}", client_secret = {SECRET}'
OAUTH2 = f'type = "oauth2", client_id = "c", client_secret = {SECRET}'
TOKEN_URL = 'token_url = "https://login.example/token"'
GOOGLE = 'type = "oauth2", client_id = "x@y.iam.gserviceaccount.com", identity_provider = "google"'
FLOW = "https://service.flow.microsoft.com"


def load(tmp_path, auth: str = 'type = "none"', more: str = "", **top: str) -> Settings:
    """The settings of a file with one connection."""
    lines = [f'{key} = "{value}"' for key, value in top.items()]
    table = ["[connections.sap]", 'base_url = "https://sap.example"', f"auth = {{ {auth} }}", more]
    (tmp_path / "postern.toml").write_text("\n".join([*lines, *table]), "utf-8")
    return load_settings({}, folder=tmp_path)


def auth_of(tmp_path, auth: str, **top: str) -> Any:
    return load(tmp_path, auth, **top).connections["sap"].auth


def test_basic(tmp_path):
    auth = auth_of(tmp_path, f'type = "basic", username = "ada", password = {SECRET}')
    assert auth == BasicAuth(username="ada", password=REFERENCE)


@pytest.mark.parametrize("place", ["header", "query"])
def test_api_key(tmp_path, place):
    auth = auth_of(tmp_path, f'type = "api_key", {place} = "X-Api-Key", key = {SECRET}')
    assert isinstance(auth, ApiKeyAuth)
    assert (auth.header, auth.query) == (("X-Api-Key", None) if place == "header" else (None, "X-Api-Key"))


@pytest.mark.parametrize(
    ("more", "authentication"),
    [
        ("", "header"),
        ('client_authentication = "header"', "header"),
        ('client_authentication = "body"', "body"),
    ],
)
def test_oauth2_with_a_token_url(tmp_path, more, authentication):
    auth = auth_of(tmp_path, ", ".join(filter(None, [OAUTH2, TOKEN_URL, 'scopes = ["a", "b"]', more])))
    assert isinstance(auth, OAuth2Auth)
    assert (auth.address, auth.grant) == ("https://login.example/token", "client_credentials")
    assert (auth.authentication, auth.secret, auth.scopes) == (authentication, ("client_secret", REFERENCE), ("a", "b"))


def test_oauth2_with_a_private_key(tmp_path):
    auth = auth_of(
        tmp_path,
        f'type = "oauth2", client_id = "c", private_key = {SECRET}, {TOKEN_URL},'
        ' client_authentication = "private_key_jwt", audience = "https://api.example"',
    )
    assert (auth.authentication, auth.secret) == ("private_key_jwt", ("private_key", REFERENCE))


@pytest.mark.parametrize(
    ("auth", "address", "authentication", "grant"),
    [
        (
            f'{OAUTH2}, identity_provider = "github"',
            "https://github.com/login/oauth/access_token",
            "body",
            "client_credentials",
        ),
        (f'{OAUTH2}, identity_provider = "github", {TOKEN_URL}', "https://login.example/token", "body", None),
        (
            f'{GOOGLE}, private_key = {SECRET}, scopes = ["https://www.googleapis.com/auth/drive"]',
            "https://oauth2.googleapis.com/token",
            "private_key_jwt",
            "jwt_bearer",
        ),
        (
            f'{OAUTH2}, identity_provider = "salesforce", token_url = "https://a.my.salesforce.com/services/oauth2/token"',
            "https://a.my.salesforce.com/services/oauth2/token",
            "body",
            "client_credentials",
        ),
    ],
)
def test_providers(tmp_path, auth, address, authentication, grant):
    """A provider brings its address and its way; a token URL of one's own wins."""
    found = auth_of(tmp_path, auth)
    assert (found.address, found.authentication) == (address, authentication)
    assert grant is None or found.grant == grant


@pytest.mark.parametrize("way", [f"certificate = {SECRET}", "managed_identity = true", "federated = true"])
def test_entra_without_a_client_secret(tmp_path, way):
    auth = auth_of(tmp_path, f'type = "entra", client_id = "{ID}", {way}, audience = "api://x"')
    assert isinstance(auth, EntraAuth)
    assert [bool(each) for each in (auth.certificate, auth.managed_identity, auth.federated)].count(True) == 1


def test_the_system_assigned_identity_needs_no_client_id(tmp_path):
    auth = auth_of(tmp_path, 'type = "oauth2", identity_provider = "entra", managed_identity = true, audience = "a"')
    assert (auth.type, auth.client_id) == ("entra", None)


@pytest.mark.parametrize(
    ("cloud", "written", "audience"),
    [
        ("public", "power-automate", f"{FLOW}/"),
        ("usgov", "power-automate", "https://high.service.flow.microsoft.us/"),
        ("china", "power-automate", "https://service.powerautomate.cn/"),
        ("public", "power-automate-gcc", "https://gov.service.flow.microsoft.us/"),
        ("usgov", "power-automate-gcc-high", "https://high.service.flow.microsoft.us/"),
        ("usgov", "power-automate-dod", "https://service.flow.appsplatform.us/"),
        ("china", "power-automate-china", "https://service.powerautomate.cn/"),
        ("usgov", "power-automate-public", f"{FLOW}/"),
        ("public", f"{FLOW}/", f"{FLOW}/"),
        ("public", "api://x/", "api://x/"),
    ],
)
def test_audiences_by_name(tmp_path, cloud, written, audience):
    """`power-automate` is that of the installation's cloud; whatever is no preset stays exact."""
    assert auth_of(tmp_path, f'{ENTRA}, audience = "{written}"', cloud=cloud).audience == audience


def test_a_trigger_s_audience_by_name(tmp_path):
    (tmp_path / "postern.toml").write_text(
        f'[triggers.leave]\nurl = "https://flow.example/x"\nauth = {{ {ENTRA}, audience = "power-automate" }}', "utf-8"
    )
    auth = load_settings({}, folder=tmp_path).triggers["leave"].auth
    assert isinstance(auth, EntraAuth)
    assert auth.audience == f"{FLOW}/"


def test_the_right_scope_of_power_automate_has_two_slashes(tmp_path):
    assert auth_of(tmp_path, f'{ENTRA}, scopes = ["{FLOW}//.default"]').scopes == (f"{FLOW}//.default",)


def test_limits(tmp_path):
    """100 s and 16 MiB, unless an entry says otherwise."""
    plain = load(tmp_path).connections["sap"]
    assert (plain.timeout, plain.max_response_bytes) == (100, 16_777_216)
    other = load(tmp_path, more="timeout = 2.5\nmax_response_bytes = 5").connections["sap"]
    assert (other.timeout, other.max_response_bytes) == (2.5, 5)
    limits = "max_response_bytes = 7\nmax_response_elements = 8"
    (tmp_path / "postern.toml").write_text(f'[triggers.t]\nurl = "https://t.example"\n{limits}', "utf-8")
    found = load_settings({}, folder=tmp_path).triggers["t"]
    assert (found.max_response_bytes, found.max_response_elements) == (7, 8)


ONE_OF_FOUR = "Write exactly one of client_secret, certificate, managed_identity = true and federated = true"


@table(
    ("auth", "key", "wrong", "fix"),
    [
        # plain secrets
        ('type = "basic", username = "u", password = "PLANTED"', "password", "is not a reference", "key_vault"),
        ('type = "api_key", header = "h", key = "PLANTED"', "key", "is not a reference", "key_vault"),
        (f'type = "oauth2", {TOKEN_URL}, client_id = "c", client_secret = "PLANTED"', "client_secret", "", "key_vault"),
        (f'type = "oauth2", {TOKEN_URL}, client_id = "c", private_key = "PLANTED"', "private_key", "", "key_vault"),
        (
            f'type = "entra", client_id = "{ID}", certificate = "PLANTED", audience = "a"',
            "certificate",
            "",
            "key_vault",
        ),
        # basic
        (f'type = "basic", username = "u:PLANTED", password = {SECRET}', "username", "has a colon", "user name alone"),
        (f'type = "basic", username = "u\\n", password = {SECRET}', "username", "control character", "user name alone"),
        (f'type = "basic", username = 5, password = {SECRET}', "username", "is not a string", "in quotes"),
        ('type = "basic", username = { key_vault = "a b" }', "username", "is not the name of a secret", "its name"),
        ('type = "basic", username = { value = "PLANTED" }', "username", "is not a reference", "key_vault"),
        (f'type = "basic", user = "u", password = {SECRET}', "username", "is missing", "Add it"),
        ('type = "basic", username = "u"', "", "has no secret", "Write a password, or the key as username"),
        # API keys
        (f'type = "api_key", key = {SECRET}', "", "has neither header nor query", 'header = "X-Api-Key" or query'),
        (f'type = "api_key", key = {SECRET}, header = "h", query = "q"', "", "both header and query", "header ="),
        (f'type = "api_key", key = {SECRET}, header = "X Api PLANTED"', "header", "not the name of a header", "alone"),
        (f'type = "api_key", key = {SECRET}, header = "X: PLANTED"', "header", "not the name of a header", "alone"),
        (f'type = "api_key", key = {SECRET}, header = ""', "header", "not the name of a header", "alone"),
        (f'type = "api_key", key = {SECRET}, header = "Schlüssel"', "header", "not the name of a header", "alone"),
        (f'type = "api_key", key = {SECRET}, header = "HOST"', "header", "the request itself needs", "expects the key"),
        (f'type = "api_key", key = {SECRET}, header = "Content-Length"', "header", "request itself", "expects"),
        (
            f'type = "api_key", key = {SECRET}, header = "transfer-encoding"',
            "header",
            "request itself",
            "expects the key",
        ),
        (f'type = "api_key", key = {SECRET}, query = ""', "query", "is empty", "Write the name alone"),
        (f'type = "api_key", key = {SECRET}, query = "a\\tb"', "query", "control character", "the name alone"),
        ('type = "api_key", header = "h"', "key", "is missing", "Add it"),
        # OAuth 2.0
        (OAUTH2, "", "has neither token_url nor identity_provider", "token_url = "),
        (f'{OAUTH2}, token_url = "http://login.example"', "token_url", "is not https", "Write https://"),
        (f'{OAUTH2}, token_url = "https://u:PLANTED@login.example"', "token_url", "has a user name", "Leave out"),
        (f'{OAUTH2}, token_url = "https://login.example#x"', "token_url", "has a fragment", "Leave out"),
        (f'{OAUTH2}, token_url = "login.example"', "token_url", "is not a URL", "https://"),
        (
            f'{OAUTH2}, identity_provider = "githup"',
            "identity_provider",
            "known provider",
            "Did you mean github?",
        ),
        (f'{OAUTH2}, identity_provider = "Entra"', "identity_provider", "known provider", "Did you mean entra?"),
        (
            f'{OAUTH2}, identity_provider = "PLANTED"',
            "identity_provider",
            "known provider",
            "github, google, salesforce",
        ),
        (f'type = "oauth2", {TOKEN_URL}, client_id = "c"', "", "needs a client_secret", "key_vault"),
        (f'type = "oauth2", {TOKEN_URL}, client_secret = {SECRET}', "client_id", "is missing", "Add it"),
        (f"{OAUTH2}, {TOKEN_URL}, private_key = {SECRET}", "", "both client_secret and private_key", "private_key_jwt"),
        (
            f'type = "oauth2", {TOKEN_URL}, client_id = "c", private_key = {SECRET}',
            "",
            "has a private_key, which is used by private_key_jwt only",
            'client_authentication = "private_key_jwt"',
        ),
        (
            f'{OAUTH2}, {TOKEN_URL}, client_authentication = "private_key_jwt"',
            "",
            "no private_key",
            'private_key = { key_vault = "name" }',
        ),
        (
            f'{OAUTH2}, {TOKEN_URL}, client_authentication = "PLANTED"',
            "client_authentication",
            "is not one of",
            "one of",
        ),
        (f'{OAUTH2}, {TOKEN_URL}, scopes = ["a b"]', "scopes", "has white space in it", "Separate"),
        (f"{OAUTH2}, {TOKEN_URL}, scopes = 5", "scopes", "is not a list of strings", "Write ["),
        (
            f'{OAUTH2}, {TOKEN_URL}, client_secrt = "PLANTED"',
            "client_secrt",
            "not a known key",
            "Did you mean client_secret?",
        ),
        (f'{OAUTH2}, identity_provider = "salesforce"', "", "needs a token_url", "DOMAIN.my.salesforce.com"),
        (
            f'{OAUTH2}, identity_provider = "salesforce", token_url = "https://login.salesforce.com/services/oauth2/token"',
            "",
            "issues no tokens to applications",
            "DOMAIN.my.salesforce.com",
        ),
        (
            f'{OAUTH2}, {TOKEN_URL}, parameters = {{ password = "PLANTED" }}',
            "parameters",
            "has password as plain text",
            "key_vault",
        ),
        (f'{OAUTH2}, {TOKEN_URL}, parameters = {{ scope = "a" }}', "parameters", "key of its own", "scopes"),
        (f'{OAUTH2}, {TOKEN_URL}, parameters = {{ resource = "a" }}', "parameters", "key of its own", "as resource"),
        (f'{OAUTH2}, {TOKEN_URL}, parameters = {{ "a b" = "c" }}', "parameters", "has a name with", "Correct"),
        (f"{OAUTH2}, {TOKEN_URL}, parameters = {{ a = 5 }}", "parameters.a", "is not a string", "in quotes"),
        (f"{OAUTH2}, {TOKEN_URL}, resource = 5", "resource", "is not a list of strings", '["one", "two"]'),
        (f'{OAUTH2}, {TOKEN_URL}, key_id = "k"', "", "has a key_id, which is for a private_key", "Leave it out"),
        (
            f"{OAUTH2}, {TOKEN_URL}, certificate_chain = true",
            "",
            "has a certificate_chain, which is for a private_key",
            "",
        ),
        (f'{OAUTH2}, {TOKEN_URL}, assertion_audience = "k"', "", "for a private_key only", "Leave it out"),
        (f'type = "oauth2", {TOKEN_URL}, client_id = "ü", client_secret = {SECRET}', "client_id", "ASCII", ""),
        (
            f'{GOOGLE}, private_key = {SECRET}, scopes = ["a"], parameters = {{ grant_type = "x" }}',
            "",
            "has grant_type among its parameters, which google decides",
            "Leave it out",
        ),
        (f'{GOOGLE}, client_secret = {SECRET}, scopes = ["a"]', "", "signs with its private key", "private_key = "),
        (
            f'{GOOGLE}, private_key = {SECRET}, scopes = ["a"], client_authentication = "body"',
            "",
            "signs with its private key",
            "neither client_secret nor client_authentication",
        ),
        (f"{GOOGLE}, private_key = {SECRET}", "", "tokens are for scopes", "Write scopes"),
        # Entra
        (f'type = "entra", client_id = "{ID}", audience = "a"', "", "does not say how", ONE_OF_FOUR),
        (
            f'{ENTRA}, audience = "a", managed_identity = true',
            "",
            "both client_secret and managed_identity",
            ONE_OF_FOUR,
        ),
        (f'{ENTRA}, audience = "a", federated = true', "", "both client_secret and federated", ONE_OF_FOUR),
        (f'{ENTRA}, audience = "a", certificate = {SECRET}', "", "client_secret and certificate", ONE_OF_FOUR),
        (f'{ENTRA}, audience = "a", federated = "yes"', "federated", "is neither true nor false", "without quotes"),
        (f'type = "entra", client_secret = {SECRET}, audience = "a"', "", "needs a client_id", "app registration"),
        ('type = "entra", federated = true, audience = "a"', "", "needs a client_id", "app registration"),
        (
            f'type = "entra", client_id = "PLANTED", client_secret = {SECRET}, audience = "a"',
            "client_id",
            "not an id",
            "",
        ),
        (f'{ENTRA}, tenant_id = "contoso", audience = "a"', "tenant_id", "is not an id", "0000"),
        (f'{ENTRA}, audience = "a", token_url = "https://x"', "", "a token_url, which Entra", "POSTERN_CLOUD"),
        (f'{ENTRA}, audience = "a", private_key = {SECRET}', "", "a private_key, which Entra", "certificate = "),
        (f'{ENTRA}, audience = "a", certificate_chain = true', "", "without a certificate", "leave out the chain"),
        (ENTRA, "", "needs one of scopes and audience", "/.default"),
        (f'{ENTRA}, scopes = ["a"], audience = "a"', "", "needs one of scopes and audience", "/.default"),
        (f'{ENTRA}, scopes = ["User.Read"]', "", "do not end with /.default", 'scopes = ["…/.default"]'),
        (f'{ENTRA}, scopes = ["api://a/.default", "api://b/.default"]', "", "several resources", "a separate entry"),
        (f'{ENTRA}, audience = "api://x/.default"', "", "has a scope as its audience", "scopes"),
        (f'{ENTRA}, audience = "{FLOW}/.default"', "", "has a scope as its audience", f'audience = "{FLOW}/"'),
        (f'{ENTRA}, audience = "{FLOW}"', "", "compares exactly", f'audience = "{FLOW}/"'),
        (f'{ENTRA}, audience = "{FLOW}//"', "", "compares exactly", f'audience = "{FLOW}/"'),
        (f'{ENTRA}, audience = "{FLOW.upper()}/"', "", "compares exactly", f'audience = "{FLOW}/"'),
        (
            f'{ENTRA}, audience = "https://gov.service.flow.microsoft.us"',
            "",
            "compares exactly",
            'audience = "https://gov.service.flow.microsoft.us/"',
        ),
        (f'{ENTRA}, scopes = ["{FLOW}/.default"]', "", "a missing or extra slash", f'audience = "{FLOW}/"'),
        (f'{ENTRA}, scopes = ["{FLOW}///.default"]', "", "a missing or extra slash", f'audience = "{FLOW}/"'),
        (f'{ENTRA}, audience = "power-automat"', "", "close to a preset's name", "Did you mean power-automate?"),
        (f'{ENTRA}, audience = "power-automate-gcchigh"', "", "close to", "Did you mean power-automate-gcc-high?"),
        (f'{ENTRA}, audience = "a b"', "", "other than visible ASCII", "Write it as the other side shows it"),
        # types
        ('type = "oauth"', "", "has no known type", "Did you mean oauth2?"),
        ('type = "PLANTED"', "", "has no known type", "Write one of none, basic, api_key, oauth2, entra"),
        ("type = 5", "", "has no known type", "Write one of"),
        ('username = "u"', "", "has no known type", "Write one of"),
    ],
)
def test_what_is_wrong_with_an_auth(tmp_path, auth, key, wrong, fix):
    """Each mistake is one problem: it names the key and the line, says what to write, and shows no value."""
    with pytest.raises(SettingsFault) as caught:
        load(tmp_path, auth.replace("PLANTED", PLANTED))
    found = [
        each for each in caught.value.problems if not each.wrong.startswith("is not a known key") or key in each.setting
    ]
    assert [(each.setting, each.source) for each in found] == [
        (f"connections.sap.auth{'.' if key else ''}{key}", "postern.toml line 3")
    ]
    assert wrong in found[0].wrong
    assert fix in found[0].fix
    assert PLANTED not in str(caught.value) + repr(caught.value)


@pytest.mark.parametrize(
    ("more", "key", "wrong"),
    [
        ("timeout = 0", "timeout", "0 is not a number of seconds"),
        ("timeout = -1.5", "timeout", "-1.5 is not a number of seconds"),
        ("timeout = true", "timeout", "is not a number of seconds"),
        ("timeout = inf", "timeout", "is not a number of seconds"),
        ("timeout = nan", "timeout", "is not a number of seconds"),
        ('timeout = "10"', "timeout", "is not a number of seconds"),
        ("max_response_bytes = 0", "max_response_bytes", "0 is out of range"),
        ("max_response_bytes = 1.5", "max_response_bytes", "1.5 is not a whole number"),
        ("time_out = 5", "time_out", "is not a known key"),
    ],
)
def test_what_is_wrong_with_a_limit(tmp_path, more, key, wrong):
    with pytest.raises(SettingsFault) as caught:
        load(tmp_path, more=more)
    (found,) = caught.value.problems
    assert (found.setting, found.source) == (f"connections.sap.{key}", "postern.toml line 4")
    assert wrong in found.wrong
    assert found.fix


def test_no_repr_has_what_a_token_url_may_hold(tmp_path):
    auth = auth_of(tmp_path, f'{OAUTH2}, token_url = "https://login.example/token?key={PLANTED}"')
    assert PLANTED not in repr(auth)


@given(st.text(max_size=40))
def test_any_text_in_the_place_of_a_secret_is_rejected_unseen(text):
    """Whatever stands where a reference belongs, it is a problem that does not show it."""
    entry = {"base_url": "https://sap.example", "auth": {"type": "api_key", "header": "h", "key": text + PLANTED}}
    with pytest.raises(SettingsFault) as caught:
        load_settings({}, folder=NOWHERE, defaults={"connections": {"sap": entry}})
    assert PLANTED not in str(caught.value)


@given(st.sampled_from(sorted(POWER_AUTOMATE_AUDIENCES.values())), st.integers(0, 4))
def test_only_the_exact_audience_of_power_automate_passes(audience, slashes):
    """However many slashes it has, what is meant is found."""
    text = audience.rstrip("/") + "/" * slashes
    assert power_automate_audience(text) == audience
    assert audience_in("public", text) == text


def test_presets_are_usable():
    """Each token URL is https; Power Automate's audiences end with one slash."""
    for preset in PROVIDERS.values():
        assert (preset.token_url or preset.example).startswith("https://")
    for audience in POWER_AUTOMATE_AUDIENCES.values():
        assert audience == audience.rstrip("/") + "/"


def test_the_design_s_examples_are_valid():
    """What the README shows is accepted."""
    text = f"""
        [connections.graph]
        base_url = "https://graph.microsoft.com/v1.0"
        auth = {{ type = "oauth2", identity_provider = "entra", client_id = "{ID}", client_secret = {SECRET},
                  scopes = ["https://graph.microsoft.com/.default"] }}
        [triggers.approve-leave]
        url = "https://x.environment.api.powerplatform.com:443/workflows/x/triggers/manual/paths/invoke?api-version=1"
        auth = {{ {ENTRA}, audience = "https://service.flow.microsoft.com/" }}
    """
    settings = load_settings({}, folder=NOWHERE, defaults=tomllib.loads(text.replace(",\n", ", ")))
    assert set(settings.connections) | set(settings.triggers) == {"graph", "approve-leave"}
