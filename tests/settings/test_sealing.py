"""What sealing durable runs needs of the settings."""

from pathlib import Path

import pytest

from postern.settings import SettingsFault, load_settings
from postern.settings.references import secret_references
from postern.settings.sealing import check_durable_key

NAMED = {"POSTERN_DURABLE_KEY_NAME": "durable-key"}
VAULT = {"POSTERN_KEY_VAULT_URL": "https://v.vault.azure.net"}


def test_a_key_for_durable_runs_needs_a_vault(tmp_path: Path):
    for complete in ({}, VAULT, NAMED | VAULT):
        check_durable_key(load_settings(complete, folder=tmp_path))
    with pytest.raises(SettingsFault, match=r"POSTERN_KEY_VAULT_URL is not set, and POSTERN_DURABLE_KEY_NAME, .*needs"):
        check_durable_key(load_settings(NAMED, folder=tmp_path))


def test_the_key_is_among_the_secrets_of_the_settings(tmp_path: Path):
    settings = load_settings(NAMED | VAULT, folder=tmp_path)
    assert secret_references(settings) == {"durable-key": ("POSTERN_DURABLE_KEY_NAME",)}
