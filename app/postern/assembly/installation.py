"""What the settings say of this installation, for commands and parts of the server."""

from postern.clouds import AUTHORITIES
from postern.settings import Settings
from postern.settings.installation import OWN_ADDRESS, Installation


def installation_of(settings: Settings, server_url: str = "") -> Installation:
    """The installation that the settings describe, at `server_url` in place of the settings' own."""
    return Installation(
        server_url or settings.public_url or OWN_ADDRESS,
        authority(settings),
        settings.tenant_id,
        settings.audience,
        frozenset(settings.operators),
        settings.client_id or "",
        seals_runs=bool(settings.durable_key_name),
    )


def authority(settings: Settings) -> str:
    """The address of Entra: POSTERN_AUTHORITY, or the cloud's."""
    return settings.authority or AUTHORITIES[settings.cloud]


def own_tenants(settings: Settings) -> tuple[str, ...]:
    """The tenant of the settings, if there is one."""
    return (settings.tenant_id,) if settings.tenant_id else ()
