"""What the audit log needs of the settings."""

from pathlib import Path

import pytest

from postern.settings import SettingsFault, load_settings
from postern.settings.audit import check_audit
from postern.settings.references import secret_references

VAULT = {"POSTERN_KEY_VAULT_URL": "https://v.vault.azure.net", "POSTERN_AUDIT_KEY_NAME": "audit-key"}


@pytest.mark.parametrize(
    ("environ", "wrong"),
    [
        ({}, None),
        (VAULT, None),
        ({"POSTERN_AUDIT_FILE": "checkpoints.jsonl"}, None),
        ({"POSTERN_AUDIT_KEY_NAME": "audit-key"}, "POSTERN_KEY_VAULT_URL is not set"),
        ({"POSTERN_AUDIT_FILE": "."}, "POSTERN_AUDIT_FILE . is a folder"),
        ({"POSTERN_AUDIT_FILE": "none/file"}, "POSTERN_AUDIT_FILE none/file is in a folder that does not exist"),
    ],
)
def test_a_key_needs_a_vault_and_a_file_its_folder(
    environ: dict[str, str], wrong: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(environ, folder=tmp_path)
    if wrong is None:
        check_audit(settings)
        return
    with pytest.raises(SettingsFault) as fault:
        check_audit(settings)
    assert wrong in str(fault.value)


def test_the_key_is_among_the_secrets_of_the_settings(tmp_path: Path) -> None:
    settings = load_settings(VAULT, folder=tmp_path)
    assert secret_references(settings) == {"audit-key": ("POSTERN_AUDIT_KEY_NAME",)}
