"""`[gateways.NAME]`, and the keys of entries that use one."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import trustme

from postern.settings import Gateway, SettingsFault, gateways, load_settings
from postern.settings.descriptions import described, entries
from postern.settings.shown import shown_settings
from postern.settings.warnings import warnings
from tests.table import table

LISA = "c33a0e11-b6a6-4ce1-b2e0-e5fbe1e362d2"
AGENT = "AAAAAAAA-0000-4000-8000-000000000001"
HEAD = f'[people]\nmadrid-1 = "{LISA}"\n[gateways.madrid]\nagents = ["madrid-1", "{AGENT}"]\n'
ERP = HEAD + '[connections.erp]\nauth = { type = "none" }\n'
BY = 'gateway = "madrid"\n'


@cache
def _authority() -> bytes:
    return trustme.CA().cert_pem.bytes()


def load(folder: Path, text: str) -> Any:
    (folder / "postern.toml").write_text(text, "utf-8")
    (folder / "madrid-ca.pem").write_bytes(_authority())
    (folder / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    return load_settings({}, folder=folder)


def test_agents_are_names_of_people_or_object_ids(tmp_path: Path):
    settings = load(tmp_path, HEAD)
    assert settings.gateways == {"madrid": Gateway(agents=("madrid-1", AGENT))}
    assert settings.gateways["madrid"].object_ids(settings.people) == {LISA: "madrid-1", AGENT.lower(): ""}


def test_the_file_of_authorities_is_beside_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir("/")
    settings = load(tmp_path, ERP + BY + 'base_url = "https://erp.corp"\nca_bundle = "madrid-ca.pem"')
    assert settings.connections["erp"].ca_bundle == tmp_path / "madrid-ca.pem"
    absolute = load(tmp_path, ERP + f'base_url = "https://erp.corp"\nca_bundle = "{tmp_path}/madrid-ca.pem"')
    assert absolute.connections["erp"].ca_bundle == tmp_path / "madrid-ca.pem"


def test_an_address_may_be_http_behind_an_agent_that_ends_tls_and_check_warns(tmp_path: Path):
    settings = load(tmp_path, ERP + BY + 'base_url = "http://erp.corp:8080"\ntls = "gateway"')
    [warning] = warnings(settings)
    assert warning.startswith("postern.toml, connections.erp: ")
    assert "in the clear" in warning
    trigger = f'{HEAD}[triggers.book]\n{BY}url = "http://erp.corp:8080/book?sig=planted"\ntls = "gateway"'
    assert [text for text in warnings(load(tmp_path, trigger)) if "planted" in text] == []
    https = load(tmp_path, ERP + BY + 'base_url = "https://erp.corp"\ntls = "gateway"')
    assert warnings(https) == []


@table(
    ("text", "setting", "parts"),
    [
        ("[gateways.madrid]\nagents = []", "gateways.madrid.agents", ["has no agent", "Write agents ="]),
        ("[gateways.madrid]", "gateways.madrid.agents", ["is missing"]),
        ('[gateways.madrid]\nagents = ["a@b.example"]', "gateways.madrid.agents", ["e-mail address", "object id"]),
        ('[gateways.madrid]\nagents = ["lisa"]', "gateways.madrid.agents", ["names lisa", "Add lisa =", "[people]"]),
        ('[gateways.madrid]\nagents = ["x"]\nroles = []', "gateways.madrid.roles", ["not a known key"]),
        (f'[gateways."a/b"]\nagents = ["{LISA}"]', "gateways.", ["not a valid entry name"]),
        (ERP + 'gateway = "madird"\nbase_url = "https://x"', "connections.erp.gateway", ["Did you mean madrid?"]),
        (ERP + 'gateway = "rome"\nbase_url = "https://x"', "connections.erp.gateway", ["Add [gateways.rome]"]),
        (ERP + 'tls = "gateway"\nbase_url = "https://x"', "connections.erp", ["no gateway", 'gateway = "NAME"']),
        (ERP + 'tls = "off"\nbase_url = "https://x"', "connections.erp.tls", ["'server' or 'gateway'"]),
        (ERP + BY + 'base_url = "http://erp.corp"', "connections.erp", ["plain http", 'tls = "gateway"']),
        (ERP + BY + 'base_url = "http://127.0.0.1"', "connections.erp", ["plain http", 'tls = "gateway"']),
        (ERP + 'base_url = "http://erp.corp"', "connections.erp.base_url", ["is not https"]),
        (ERP + 'ca_bundle = "none.pem"\nbase_url = "https://x"', "connections.erp.ca_bundle", ["cannot be read"]),
        (ERP + 'ca_bundle = "postern.toml"\nbase_url = "https://x"', "connections.erp.ca_bundle", ["no certificate"]),
        (ERP + 'ca_bundle = "broken.pem"\nbase_url = "https://x"', "connections.erp.ca_bundle", ["cannot be read"]),
        (
            HEAD + '[connections.a]\nbase_url = "https://x"\n'
            'auth = { type = "oauth2", token_url = "http://127.0.0.1/token", client_id = "c", '
            'client_secret = { key_vault = "s" }, gateway = "madrid" }',
            "connections.a.auth",
            ["plain http", "leave gateway out"],
        ),
        (
            HEAD + '[connections.a]\nbase_url = "https://x"\n'
            'auth = { type = "oauth2", flow = "authorization_code", authorization_url = "https://x/a", '
            'token_url = "http://127.0.0.1/token", client_id = "c", client_secret = { key_vault = "s" }, '
            'gateway = "madrid" }',
            "connections.a.auth",
            ["plain http", "leave gateway out"],
        ),
        (
            ERP + BY + 'tls = "gateway"\nca_bundle = "madrid-ca.pem"\nbase_url = "https://x"',
            "connections.erp",
            ["ca_bundle beside", "gateway.toml"],
        ),
        (HEAD + '[triggers.t]\nurl = "https://x"\ngateway = "rome"', "triggers.t.gateway", ["Add [gateways.rome]"]),
        (
            HEAD + '[connections.a]\nbase_url = "https://x"\n'
            'auth = { type = "oauth2", token_url = "https://t", client_id = "c", '
            'client_secret = { key_vault = "s" }, gateway = "rome" }',
            "connections.a.auth.gateway",
            ["names rome"],
        ),
    ],
)
def test_what_cannot_be_used_is_named_with_its_fix(text: str, setting: str, parts: list[str], tmp_path: Path):
    with pytest.raises(SettingsFault) as caught:
        load(tmp_path, text)
    [problem] = caught.value.problems
    assert problem.setting.startswith(setting)
    assert "postern.toml" in problem.source
    assert [part for part in parts if part not in str(problem)] == []


def test_all_problems_of_gateways_are_named_at_once(tmp_path: Path):
    text = '[gateways.a]\nagents = ["x", "y"]\n[triggers.t]\nurl = "https://x"\ngateway = "b"'
    with pytest.raises(SettingsFault) as caught:
        load(tmp_path, text)
    assert [each.setting for each in caught.value.problems] == ["gateways.a.agents"] * 2 + ["triggers.t.gateway"]


def test_an_entry_with_a_gateway_needs_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gateways, "NEEDED", ("h2", "there_is_no_such_package"))
    assert load(tmp_path, HEAD).gateways
    with pytest.raises(SettingsFault) as caught:
        load(tmp_path, ERP + BY + 'base_url = "https://erp.corp"')
    [problem] = caught.value.problems
    assert problem.setting == "connections.erp.gateway"
    assert "postern-workflows[gateway]" in problem.fix


def test_the_way_of_an_entry_is_shown(tmp_path: Path):
    settings = load(tmp_path, ERP + BY + 'base_url = "https://erp.corp"\nca_bundle = "madrid-ca.pem"')
    shown = described("connections.erp", entries(settings)["connections.erp"])
    assert (shown["gateway"], shown["tls"], shown["ca_bundle"]) == ("madrid", "server", str(tmp_path / "madrid-ca.pem"))
    assert shown_settings(settings)["gateways"] == {"madrid": {"agents": ["madrid-1", AGENT]}}
    plain = load(tmp_path, ERP + 'base_url = "https://erp.corp"')
    assert {"gateway", "tls", "ca_bundle"}.isdisjoint(described("connections.erp", entries(plain)["connections.erp"]))
