"""What connections that people connect need of the other settings. Pure."""

from collections.abc import Iterator

from postern.settings.console import missing_for_console
from postern.settings.descriptions import entries
from postern.settings.entries import GrantedAuth
from postern.settings.sealing import MAKES_A_KEY
from postern.settings.settings import Settings
from postern.settings.sources import SettingProblem, SettingsFault

_KEY_FIX = (
    f"Set it to the name of a Key Vault secret whose value is 32 random bytes in base64url, as `{MAKES_A_KEY}` "
    "prints them"
)


def check_grants(settings: Settings) -> None:
    """Raise SettingsFault if there is such an entry, and people could not connect it or its tokens could not be
    sealed."""
    if problems := tuple(_problems(settings)):
        raise SettingsFault(problems)


def _problems(settings: Settings) -> Iterator[SettingProblem]:
    entry = next((name for name, found in entries(settings).items() if isinstance(found.auth, GrantedAuth)), None)
    if entry is None:
        return
    needed = f"is not set, and {entry}, which people connect, needs it"
    if not settings.grants_key_name:
        yield SettingProblem("POSTERN_GRANTS_KEY_NAME", "", needed, _KEY_FIX)
    if not settings.key_vault_url:
        yield SettingProblem("POSTERN_KEY_VAULT_URL", "", needed, "Set it to the address of the Key Vault")
    missing = [text for text in missing_for_console(settings) if not text.startswith("POSTERN_KEY_VAULT_URL")]
    if missing:
        where = "is connected by people in the console, which is off"
        yield SettingProblem(entry, "", where, f"Set what the console needs: {'; '.join(missing)}")
