"""What the audit log needs of the settings. Pure, but for a look at a folder."""

from collections.abc import Iterator

from postern.settings.settings import Settings
from postern.settings.sources import SettingProblem, SettingsFault


def check_audit(settings: Settings) -> None:
    """Raise SettingsFault if checkpoints of the audit log could not be signed, or not be written to their file."""
    if problems := tuple(_problems(settings)):
        raise SettingsFault(problems)


def _problems(settings: Settings) -> Iterator[SettingProblem]:
    if settings.audit_key_name and not settings.key_vault_url:
        needed = "is not set, and POSTERN_AUDIT_KEY_NAME, which names a secret in it, needs it"
        yield SettingProblem("POSTERN_KEY_VAULT_URL", "", needed, "Set it to the address of the Key Vault")
    file = settings.audit_file
    if file is not None and file.is_dir():
        yield SettingProblem("POSTERN_AUDIT_FILE", "", f"{file} is a folder", "Name a file in it")
    elif file is not None and not file.absolute().parent.is_dir():
        yield SettingProblem(
            "POSTERN_AUDIT_FILE", "", f"{file} is in a folder that does not exist", "Create the folder first"
        )
