"""The settings as the audit log shows them."""

import json
from pathlib import Path

import pytest

from postern.settings import load_settings
from postern.settings.settings import Settings
from postern.settings.shown import shown_settings

TOML = """
[people]
lisa = "c33a0e11-b6a6-4ce1-b2e0-e5fbe1e362d2"
[connections.crm]
base_url = "https://crm.example/v1"
auth = { type = "api_key", header = "X-Key", key = { key_vault = "crm-key" } }
[triggers.flow]
url = "https://flow.example/invoke?api-version=1"
[limits]
per_caller = "60/minute"
"""


def test_every_setting_is_shown_as_json(tmp_path: Path):
    shown = shown_settings(load_settings({"POSTERN_PORT": "9000"}, folder=tmp_path))
    assert json.loads(json.dumps(shown)) == shown
    assert set(shown) == set(Settings.model_fields) - {"connections", "triggers"}
    assert shown["port"] == 9000
    assert shown["workflows"] == "workflows"


def test_entries_are_shown_by_their_addresses_and_the_names_of_their_secrets(tmp_path: Path):
    (tmp_path / "postern.toml").write_text(TOML)
    vault = {"POSTERN_KEY_VAULT_URL": "https://v.vault.azure.net"}
    shown = shown_settings(load_settings(vault, folder=tmp_path))
    assert shown["people"] == {"lisa": "c33a0e11-b6a6-4ce1-b2e0-e5fbe1e362d2"}
    assert shown["connections.crm"]["secrets"] == {"key": "crm-key"}
    assert shown["triggers.flow"]["address"] == "https://flow.example/invoke"
    assert shown["limits"]["per_caller"] == {"requests": 60, "seconds": 60}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///var/x.db", "sqlite:///var/x.db"),
        (
            "postgresql://user:hunter2@db.example:5432/name?sslmode=require&password=hunter2",
            "postgresql://db.example:5432/name",
        ),
        ("postgresql://db.example/name", "postgresql://db.example/name"),
    ],
)
def test_the_database_is_shown_without_who_signs_in_there(tmp_path: Path, url: str, expected: str):
    shown = shown_settings(load_settings({"POSTERN_DATABASE_URL": url}, folder=tmp_path))
    assert shown["database_url"] == expected
    assert "hunter2" not in str(shown)
