"""Settings: where they come from, what they may be, and what is said of those that cannot be used."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from postern.settings import (
    EntraAuth,
    NoAuth,
    SecretReference,
    Settings,
    SettingsFault,
    Trigger,
    load_settings,
    settings_table,
)
from tests.table import table

ADA = "aaaaaaaa-0000-4000-8000-000000000001"
LISA = "BBBBBBBB-0000-4000-8000-000000000002"
PLANTED = "planted~S3cret.Value"
CONTRACT = """
    tenant_id audience cloud authority client_id client_secret_name key_vault_url azure_credential ca_bundle
    grants_key_name durable_key_name durable_workers durable_waiting max_result_bytes
    proxy no_proxy database_url workflows config host port public_url trusted_proxies operators console
    mcp mcp_scope session_idle_minutes session_hours max_body_bytes
    retention_days database_max_bytes clock_leeway keys_max_age keys_cooldown keys_stale secret_max_age log_format
    audit_key_name audit_file allowed_networks
    durable_key_name durable_workers durable_waiting max_result_bytes
"""
ENTRA = f'type = "entra", client_id = "{ADA}", client_secret = {{ key_vault = "graph-secret" }}'


@pytest.fixture
def load(tmp_path):
    """load(toml=..., dotenv=..., defaults=..., POSTERN_X=...) -> Settings."""

    def load(toml=None, dotenv=None, defaults=None, **environ):
        if toml is not None:
            (tmp_path / "postern.toml").write_text(toml, "utf-8")
        if dotenv is not None:
            (tmp_path / ".env").write_text(dotenv, "utf-8")
        return load_settings(environ, folder=tmp_path, defaults=defaults)

    return load


@pytest.fixture
def problems(load):
    """The problems that the same arguments give."""

    def problems(*args, **kwargs):
        with pytest.raises(SettingsFault) as caught:
            load(*args, **kwargs)
        assert str(caught.value).count("\n") == len(caught.value.problems) - 1, "one line each"
        assert PLANTED not in str(caught.value) + repr(caught.value)
        return caught.value.problems

    return problems


def test_defaults(load, tmp_path):
    """Nothing needs to be set."""
    settings = load()
    assert (settings.host, settings.port, settings.cloud) == ("127.0.0.1", 8080, "public")
    assert (settings.database_url, settings.workflows) == ("sqlite:///var/postern.db", Path("workflows"))
    assert settings.config == tmp_path / "postern.toml"
    assert (settings.clock_leeway, settings.keys_max_age, settings.keys_cooldown) == (60, 3600, 30)
    assert (settings.keys_stale, settings.secret_max_age, settings.retention_days) == (86400, 300, 30)
    assert settings.max_body_bytes == 1_048_576
    assert settings.tenant_id is settings.azure_credential is settings.log_format is None
    assert settings.audience == settings.operators == settings.trusted_proxies == ()
    assert settings.people == settings.connections == settings.triggers == {}


def test_precedence(load):
    """The environment wins over .env, that over postern.toml, that over what was handed in."""
    settings = load(
        "host = 'toml'\nport = 3\nretention_days = 3\nclock_leeway = 3",
        "POSTERN_HOST=dotenv\nPOSTERN_PORT=2\nPOSTERN_RETENTION_DAYS=2\nOTHER=ignored",
        {"host": "default", "port": 4, "retention_days": 4, "clock_leeway": 4, "keys_cooldown": 4},
        POSTERN_HOST="environment",
        POSTERN_PORT="1",
        OTHER="ignored",
        POSTERN_TEST_ANYTHING="ignored",
    )
    assert (settings.host, settings.port, settings.retention_days) == ("environment", 1, 2)
    assert (settings.clock_leeway, settings.keys_cooldown) == (3, 4)


def test_the_process_environment_is_read_when_none_is_given(monkeypatch, tmp_path):
    """`load_settings()` reads os.environ; making Settings by hand reads nothing."""
    monkeypatch.setenv("POSTERN_PORT", "99")
    assert load_settings(folder=tmp_path).port == 99
    assert Settings().port == 8080


def test_an_empty_variable_is_unset(load):
    """Deployments write empty variables for what they leave out."""
    assert load("port = 5", "POSTERN_PORT=\n", POSTERN_PORT="", POSTERN_TENANT_ID="").port == 5


def test_tables_are_merged_entry_by_entry(load):
    """The file's entries win over the local tenant's, whole."""
    toml = f"""
        [people]
        lisa = "{LISA}"
        [connections.graph]
        base_url = "https://graph.example/v1.0"
        auth = {{ type = "none" }}
        [triggers.leave]
        url = "https://flow.example/x?api-version=1"
        auth = {{ {ENTRA}, audience = "https://service.flow.microsoft.com/" }}
    """
    local = {"base_url": "http://127.0.0.1:9/", "auth": {"type": "none"}}
    defaults = {"people": {"lisa": ADA, "ada": ADA}, "connections": {"graph": local, "local": local}}
    settings = load(toml, defaults=defaults)
    assert settings.people == {"lisa": LISA.lower(), "ada": ADA}
    assert settings.connections["graph"].base_url == "https://graph.example/v1.0"
    assert settings.connections["local"].auth == NoAuth()
    trigger = settings.triggers["leave"]
    assert isinstance(trigger, Trigger)
    assert isinstance(trigger.auth, EntraAuth)
    assert trigger.auth.audience == "https://service.flow.microsoft.com/", "exact, with its slash"


def test_lists(load):
    """Commas in variables, lists in TOML; audiences stay exact."""
    one = load(POSTERN_AUDIENCE="api://x/, https://y", POSTERN_OPERATORS=f"{ADA},{LISA}")
    assert (one.audience, one.operators) == (("api://x/", "https://y"), (ADA, LISA.lower()))
    two = load('audience = ["api://x/", "Y"]\ntrusted_proxies = ["10.0.0.0/8", "::1"]')
    assert (two.audience, two.trusted_proxies) == (("api://x/", "Y"), ("10.0.0.0/8", "::1"))


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("tenant_id", LISA, LISA.lower()),
        ("authority", "https://LOGIN.example:8443/", "https://login.example:8443"),
        ("authority", "http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("authority", "http://[::1]:5000", "http://[::1]:5000"),
        ("key_vault_url", "https://v.vault.azure.net/", "https://v.vault.azure.net"),
        ("public_url", "http://postern.example/base/", "http://postern.example/base"),
        ("database_url", "postgresql+psycopg://u@h/d", "postgresql+psycopg://u@h/d"),
        ("database_url", "postgresql://u:p:1/?#[@h:5432/d", "postgresql://u:p:1/?#[@h:5432/d"),
        ("database_url", "postgresql://u:p@[::1]:5432/d?options=a@b:c", "postgresql://u:p@[::1]:5432/d?options=a@b:c"),
        ("database_url", "postgresql:///d?host=/run/x:y", "postgresql:///d?host=/run/x:y"),
        ("database_url", "sqlite:///x.db?timeout=60", "sqlite:///x.db?timeout=60"),
        ("client_secret_name", "my-secret", "my-secret"),
        ("port", "0", 0),
        ("azure_credential", "developer", "developer"),
    ],
)
def test_good_values(load, name, value, kept):
    """What is kept of a good value."""
    assert getattr(load(**{"POSTERN_" + name.upper(): value}), name) == kept


@table(
    ("name", "value", "wrong"),
    [
        ("tenant_id", "contoso", "'contoso' is not an id"),
        ("cloud", "moon", "'moon' is not one of 'public', 'usgov' or 'china'"),
        ("authority", "http://login.example", "is not https"),
        ("authority", "http://127.0.0.1.evil.example", "is not https"),
        ("authority", "https://login.example/tenant", "has a path"),
        ("authority", "https://login.example?x=1", "the value has a query"),
        ("authority", f"https://u:{PLANTED}@login.example", "the value has a user name"),
        ("authority", f"u:{PLANTED}@login.example", "the value is not a URL"),
        ("authority", f"login.example/x?sig={PLANTED}", "the value is not a URL"),
        ("public_url", f"//u:{PLANTED}@postern.example", "the value is not a URL"),
        ("authority", "https://login.example#x", "has a fragment"),
        ("authority", "https://a\\b", "is not a URL"),
        ("authority", "https://x:99999", "is not a URL"),
        ("authority", "https://[::1", "is not a URL"),
        ("authority", "ftp://x", "is not a URL"),
        ("key_vault_url", "http://127.0.0.1", "the value is not https"),
        ("client_secret_name", PLANTED, "the value is not the name"),
        ("ca_bundle", "missing.pem", "cannot be read"),
        ("database_url", f"mysql://u:{PLANTED}@h/d", "the value is neither SQLite nor PostgreSQL"),
        ("database_url", f"postgres://u:{PLANTED}@h/d", "begins with postgres://"),
        ("database_url", f"postgresql://u:{PLANTED}@h:notaport/d", "the value has a port that is not a number"),
        ("database_url", "postgresql://h:notaport", "the value has a port that is not a number"),
        ("database_url", "postgresql://h:99999/d", "the value has a port that is not a number"),
        ("database_url", "sqlite:///x.db?nonsense=1", "the value has 'nonsense' after the ?"),
        ("database_url", "sqlite:///x.db?mode=memory", "the value has 'mode' after the ?"),
        ("database_url", "sqlite:///:memory:", "the value names a database in memory"),
        ("database_url", "sqlite:///file:x.db", "the value has a URI in place of a path"),
        ("host", "http://x", "is not a host name"),
        ("port", "65536", "'65536' is out of range"),
        ("port", "-1", "is out of range"),
        ("port", "80_80", "is not a whole number"),
        ("port", "8080.0", "is not a whole number"),
        ("port", "٣", "is not a whole number"),
        ("port", "9" * 5000, "the value is not a whole number"),
        ("clock_leeway", "301", "is out of range"),
        ("keys_cooldown", "0", "the value is out of range"),
        ("max_body_bytes", "0", "is out of range"),
        ("trusted_proxies", "10.0.0.1, *", "'*' trusts all addresses"),
        ("trusted_proxies", "0.0.0.0/0", "trusts all addresses"),
        ("trusted_proxies", "::/0", "trusts all addresses"),
        ("trusted_proxies", "proxy.example", "'proxy.example' is not an address"),
        ("operators", "ada@example.com", "is an e-mail address"),
        ("audience", "a,,b", "has an empty item"),
        ("audience", "a b", "has white space"),
        ("audience", '"api://x"', "has quotes in it"),
        ("audience", "api://y,'api://x'", "has quotes in it"),
        ("audience", "\u201capi://x\u201d", "has quotes in it"),
        ("audience", "api://x/.default", "is a scope"),
        ("audience", "api://y,api://x/user_impersonation", "is a scope"),
        ("audience", "https://service.flow.microsoft.com//.default", "is a scope"),
        ("log_format", "xml", "is not one of"),
        ("azure_credential", "password", "is not one of"),
    ],
)
def test_bad_values(problems, name, value, wrong):
    """Each is refused in plain words, under the name and the place where it was set."""
    (found,) = problems(**{"POSTERN_" + name.upper(): value})
    assert (found.setting, found.source) == ("POSTERN_" + name.upper(), "environment")
    assert wrong in found.wrong
    assert found.fix


def test_ca_bundle_is_a_pem_file(load, problems, tmp_path):
    """It exists and has a certificate."""
    file = tmp_path / "ca.pem"
    file.write_text("nothing")
    assert "no certificate" in problems(POSTERN_CA_BUNDLE=str(file))[0].wrong
    file.write_text("-----BEGIN CERTIFICATE-----\n")
    assert load(POSTERN_CA_BUNDLE=str(file)).ca_bundle == file


def test_all_problems_at_once(problems):
    """Unknown names, syntax and values of all sources are reported together."""
    found = problems(
        "prot = 1\nport = 'x'\n\n[people]\nlisa = 'unknown'",
        "\n\nPOSTERN_CLOUDS=public\nPOSTERN_CLOUD=moon\nA='open\n",
        POSTERN_TENNANT_ID=ADA,
        POSTERN_HOST="a b",
    )
    by_setting = {(each.setting, each.source): each for each in found}
    assert set(by_setting) == {
        ("POSTERN_TENNANT_ID", "environment"),
        ("POSTERN_HOST", "environment"),
        ("POSTERN_CLOUDS", ".env line 3"),
        ("POSTERN_CLOUD", ".env line 4"),
        (".env", ".env line 5"),
        ("prot", "postern.toml line 1"),
        ("port", "postern.toml line 2"),
        ("people.lisa", "postern.toml line 5"),
    }
    assert "Did you mean POSTERN_TENANT_ID?" in str(by_setting["POSTERN_TENNANT_ID", "environment"])
    assert "Did you mean port?" in str(by_setting["prot", "postern.toml line 1"])


@pytest.mark.parametrize("name", ["postern_port", "Postern_Port", "POSTERN_port", "POSTERN_", "POSTERN_PEOPLE"])
def test_names_are_exact(problems, name):
    """A variable that only looks like ours is a problem, not ignored."""
    assert problems(**{name: "1"})[0].wrong == "is not a setting"


def test_variables_of_kubernetes(problems):
    """A service called postern makes variables that look like ours: say how to stop it."""
    found = problems(POSTERN_PORT="tcp://10.0.0.1:80", POSTERN_SERVICE_HOST="10.0.0.1", POSTERN_PORT_80_TCP_ADDR="x")
    assert len(found) == 3
    assert all("enableServiceLinks" in each.fix for each in found)


def test_toml_that_cannot_be_read(problems):
    """The line is named."""
    assert problems("port = 1\nhost = ")[0].source == "postern.toml line 2"
    assert "TOML" in problems("a = " + "[" * 100_000)[0].wrong
    assert "cannot be set here" in problems("config = 'x'")[0].wrong


def test_the_config_file(load, problems, tmp_path):
    """It may be missing, unless it was named."""
    (found,) = problems(POSTERN_CONFIG="other.toml")
    assert (found.setting, found.source) == ("POSTERN_CONFIG", "environment")
    assert "no file" in found.wrong
    (tmp_path / "other.toml").write_text("port = 7")
    assert load(POSTERN_CONFIG="other.toml").port == 7
    assert load(dotenv="POSTERN_CONFIG=other.toml").config == tmp_path / "other.toml"
    (tmp_path / "postern.toml").mkdir()
    assert "cannot be read" in problems(dotenv="")[0].wrong


def test_files_that_are_not_text(problems, tmp_path):
    """Bytes that are no UTF-8 are a problem of the file."""
    (tmp_path / ".env").write_bytes(b"\xff\xfe")
    (tmp_path / "postern.toml").write_bytes(b"\xff\xfe")
    assert [each.setting for each in problems()] == [".env", "postern.toml"]


def test_people(problems):
    """Ids are ids and names are names."""
    found = problems(f'[people]\n"lisa@example.com" = "{ADA}"\nada = "ada@example.com"\nbob = 5')
    assert "is not a valid person name" in found[0].wrong
    assert "can be reassigned" in found[1].wrong
    assert "is not a string" in found[2].wrong
    assert "is not a table" in problems("people = 3", defaults={"people": {"ada": ADA}})[0].wrong
    [problem] = problems('[access]\nanonymous = "hello"')
    assert (problem.wrong, problem.fix) == ("'hello' is not a list", 'Write a list, ["one", "two"]')


@pytest.mark.parametrize("scope", ['scopes = ["https://graph.example/.default"]', 'audience = "https://graph.example"'])
@pytest.mark.parametrize("spelling", ["entra", "oauth2"])
def test_the_two_spellings_of_entra_mean_the_same(load, scope, spelling):
    """The design's oauth2 with identity_provider is the entra type."""
    auth = ENTRA if spelling == "entra" else ENTRA.replace('"entra"', '"oauth2", identity_provider = "entra"')
    settings = load(f'[connections.graph]\nbase_url = "https://graph.example/v1.0"\nauth = {{ {auth}, {scope} }}')
    auth = settings.connections["graph"].auth
    assert isinstance(auth, EntraAuth)
    assert (auth.tenant_id, auth.client_id, auth.client_secret) == (
        None,
        ADA,
        SecretReference(key_vault="graph-secret"),
    )
    assert bool(auth.scopes) != bool(auth.audience)


@pytest.mark.parametrize(
    ("auth", "setting", "wrong"),
    [
        ('{ type = "basic", username = "u", password = "PLANTED" }', "auth.password", "is not a reference"),
        ('{ type = "api_key", header = "k", key = "PLANTED" }', "auth.key", "is not a reference"),
        ('{ type = "oauth2", token_url = "https://x" }', "auth.client_id", "is missing"),
        (f"{{ {ENTRA}, audience='a', certificate='PLANTED' }}", "auth.certificate", "is not a reference"),
        ('{ type = "PLANTED" }', "auth", "has no known type"),
        ('"PLANTED"', "auth", "is not a table"),
        ("{ }", "auth", "has no known type"),
        (f"{{ {ENTRA} }}", "auth", "needs one of scopes and audience"),
        (f"{{ {ENTRA}, scopes = ['a'], audience = 'b' }}", "auth", "needs one of scopes and audience"),
        (f"{{ {ENTRA}, audience = 'api://x/user_impersonation' }}", "auth", "has an audience that is a scope"),
        (f"{{ {ENTRA}, audience = '\"api://x\"' }}", "auth", "has an audience that has quotes"),
        (f"{{ {ENTRA}, audience = 'a', sope = 'PLANTED' }}", "auth.sope", "is not a known key"),
        (
            f"{{ type = 'entra', client_id = '{ADA}', client_secret = 'PLANTED', audience = 'a' }}",
            "auth.client_secret",
            "the value is not a reference",
        ),
        (
            f"{{ type = 'entra', client_id = '{ADA}', client_secret = {{ key_vault = 'PLANTED' }}, audience = 'a' }}",
            "auth.client_secret.key_vault",
            "the value is not the name of a secret",
        ),
        (
            f"{{ type = 'entra', client_id = '{ADA}', client_secret = {{ value = 'PLANTED' }}, audience = 'a' }}",
            "auth.client_secret",
            "is not a reference",
        ),
    ],
)
def test_bad_auth(problems, auth, setting, wrong):
    """Secrets are references, and no value of theirs is ever shown."""
    toml = f'[connections.graph]\nbase_url = "https://g.example"\nauth = {auth.replace("PLANTED", PLANTED)}'
    (found,) = problems(toml)
    assert (found.setting, found.source) == (f"connections.graph.{setting}", "postern.toml line 3")
    assert wrong in found.wrong


def test_bad_entries(problems):
    """Addresses are https, keys are known, nothing is left out."""
    found = problems(
        "[connections.a]\nbase_url = 'http://a.example'\nauth = { type = 'none' }\nheader = 1\n"
        "[connections.b]\n[triggers.c]\n[triggers.d]\nurl = 'http://d.example?sig=x'\n[connections.'e e']\n"
        "base_url = 'https://e'\nauth = { type = 'none' }"
    )
    assert {(each.setting, each.source) for each in found} == {
        ("connections.a.base_url", "postern.toml line 2"),
        ("connections.a.header", "postern.toml line 4"),
        ("connections.b.base_url", "postern.toml line 5"),
        ("connections.b.auth", "postern.toml line 5"),
        ("triggers.c.url", "postern.toml line 6"),
        ("triggers.d.url", "postern.toml line 8"),
        ("connections.'e e'", "postern.toml line 9"),
    }
    assert "sig" not in "".join(map(str, found))


def test_names_cannot_forge_lines(problems):
    """Control characters in names are escaped."""
    (found,) = problems('"a\\u001b\\n" = 1')
    assert found.setting.isprintable()


def test_settings_are_frozen_and_show_no_secret(load):
    """Nothing changes afterwards; what can carry a password or a signature is in no repr."""
    settings = load(
        f"[triggers.t]\nurl = 'https://t.example?sig={PLANTED}'", POSTERN_DATABASE_URL=f"postgresql://u:{PLANTED}@h/d"
    )
    assert PLANTED not in repr(settings) + str(settings)
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1


def test_the_table_of_settings():
    """Every setting of the contract is in the table, with a sentence."""
    table = settings_table()
    assert {name.removeprefix("POSTERN_").lower() for name, _, _ in table} == set(CONTRACT.split())
    assert all(description and "\n" not in description for _, _, description in table)
    assert ("POSTERN_PORT", "8080") in [(name, default) for name, default, _ in table]
    assert ("POSTERN_AUDIENCE", "") in [(name, default) for name, default, _ in table]
