"""The operator's settings: POSTERN_ variables, `.env` and `postern.toml`."""

from postern.settings.entries import (
    ApiKeyAuth,
    Auth,
    BasicAuth,
    Connection,
    EntraAuth,
    GrantedAuth,
    NoAuth,
    OAuth2Auth,
    OnBehalfOfAuth,
    SecretReference,
    Trigger,
)
from postern.settings.gateways import Gateway
from postern.settings.settings import Settings, load_address, load_settings, settings_table
from postern.settings.sources import SettingProblem, SettingsFault

__all__ = [
    "ApiKeyAuth",
    "Auth",
    "BasicAuth",
    "Connection",
    "EntraAuth",
    "Gateway",
    "GrantedAuth",
    "NoAuth",
    "OAuth2Auth",
    "OnBehalfOfAuth",
    "SecretReference",
    "SettingProblem",
    "Settings",
    "SettingsFault",
    "Trigger",
    "load_address",
    "load_settings",
    "settings_table",
]
