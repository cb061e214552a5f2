"""`postern doctor`: what it prints, and its exit code."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Postern
from tests.cli.test_catalog import REAL

pytestmark = pytest.mark.slow


def test_settings_that_cannot_be_used_are_said_and_nothing_else_is_checked(postern: Postern):
    result = postern("doctor", "--json", POSTERN_PORT="x", POSTERN_CLIENT_ID="y")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["ok"]) == (1, False)
    assert {each["check"] for each in found["checks"]} == {"settings"}
    assert ["POSTERN_CLIENT_ID" in each["detail"] for each in found["checks"]].count(True) == 1
    assert all(each["state"] == "failed" and each["fix"] for each in found["checks"])


def test_without_its_server_a_local_tenant_has_failed_and_the_fix_is_to_start_it(postern: Postern, folder: Path):
    result = postern("doctor", "--json", POSTERN_PORT="0")
    found = {each["check"]: each for each in reversed(json.loads(result.stdout)["checks"])}
    assert result.exit_code == 1
    assert set(found) == {
        *("settings", "workflows", "tenant", "signing keys", "clock", "vault", "grants key"),
        *("durable key", "audit key"),
        *("database", "server", "certificate", "public URL"),
    }
    assert (found["workflows"]["state"], found["tenant"]["state"]) == ("ok", "failed")
    assert found["tenant"]["fix"] == "It answers only while `postern dev` runs: start it"
    assert found["database"]["state"] == "warning"
    assert not (folder / "var" / "postern.db").exists()


def test_a_table_has_a_line_for_each_and_what_to_do(postern: Postern, folder: Path):
    (folder / "workflows" / "broken.py").write_text("from nowhere import nothing\n", encoding="utf-8")
    result = postern("doctor", POSTERN_PORT="0")
    assert "FAILED   workflows" in result.stdout
    assert "fix:" in result.stdout
    assert "failed" in result.stderr


def test_a_folder_or_a_grant_that_cannot_be_used_is_said(postern: Postern, folder: Path):
    result = postern("doctor", "--json", POSTERN_PORT="0", POSTERN_WORKFLOWS="nowhere")
    found = [each for each in json.loads(result.stdout)["checks"] if each["check"] == "workflows"]
    assert [each["state"] for each in found] == ["failed"]
    (folder / "postern.toml").write_text(
        '[connections.t]\nbase_url = "https://t.example"\n[connections.t.auth]\ntype = "oauth2"\n'
        'flow = "authorization_code"\nidentity_provider = "entra"\nclient_id = "x"\nscopes = ["a"]\n'
        'client_secret = { key_vault = "s" }\nper_user = true\n',
        encoding="utf-8",
    )
    result = postern("doctor", "--json", **REAL)
    assert {each["check"] for each in json.loads(result.stdout)["checks"]} == {"settings"}


def test_what_keeps_the_server_from_starting_or_an_alert_from_being_sent_has_failed(postern: Postern, folder: Path):
    result = postern("doctor", "--json", POSTERN_PORT="0", POSTERN_AUDIT_FILE="nowhere/audit.jsonl")
    found = json.loads(result.stdout)["checks"]
    assert [(each["check"], each["state"], "POSTERN_AUDIT_FILE" in each["detail"]) for each in found] == [
        ("settings", "failed", True)
    ]
    (folder / "postern.toml").write_text('[findings]\nrun = "nowhere"\n', encoding="utf-8")
    found = json.loads(postern("doctor", "--json", POSTERN_PORT="0").stdout)["checks"]
    failures = [each["detail"] for each in found if (each["check"], each["state"]) == ("settings", "failed")]
    assert ['[findings] run = "nowhere"' in each for each in failures] == [True]
