"""What an operator decides: POSTERN_ variables, `.env` and `postern.toml`."""

from app.settings.settings import Settings, load_settings, settings_table
from app.settings.sources import DatabaseFault, SettingProblem, SettingsFault
from app.settings.types import Connection, EntraAuth, NoAuth, SecretReference, Trigger

__all__ = [
    "Connection",
    "DatabaseFault",
    "EntraAuth",
    "NoAuth",
    "SecretReference",
    "SettingProblem",
    "Settings",
    "SettingsFault",
    "Trigger",
    "load_settings",
    "settings_table",
]
