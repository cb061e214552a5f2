"""What sealing needs of the settings. Pure."""

from postern.settings.settings import Settings
from postern.settings.sources import SettingProblem, SettingsFault

MAKES_A_KEY = "python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
"""A command that prints the value of a secret that seals."""


def check_durable_key(settings: Settings) -> None:
    """Raise SettingsFault if durable runs are to be sealed, and there is no vault with the key."""
    if settings.durable_key_name and not settings.key_vault_url:
        needed = "is not set, and POSTERN_DURABLE_KEY_NAME, which names a secret in it, needs it"
        fix = "Set it to the address of the Key Vault"
        raise SettingsFault([SettingProblem("POSTERN_KEY_VAULT_URL", "", needed, fix)])
