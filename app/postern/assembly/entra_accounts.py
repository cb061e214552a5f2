"""Whose accounts people connect at Microsoft Entra, by the authority and the cloud of the settings."""

from postern.http_client import AsyncClient
from postern.identity import Accounts
from postern.settings import Settings


def entra_accounts(settings: Settings, client: AsyncClient) -> Accounts:
    """What `connections.grants.oauth_provider.provider_of` needs for entries for Entra. `client` fetches metadata and
    signing keys."""
    return Accounts(
        client,
        settings.cloud,
        settings.authority,
        leeway=settings.clock_leeway,
        max_age=settings.keys_max_age,
    )
