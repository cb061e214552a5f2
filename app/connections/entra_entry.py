"""What signing in at Entra needs of an entry of `postern.toml`, and of what the entry is used with."""

from pathlib import Path
from typing import Protocol

from app.connections.secrets import Secrets


class Reference(Protocol):
    """Where a secret is."""

    @property
    def key_vault(self) -> str:
        """Its name in the Key Vault."""


class EntraEntry(Protocol):
    """An entry of type `entra`: one of `client_secret`, `certificate`, `managed_identity`, `federated` is set, and one
    of `audience` and `scopes`. `client_id` is None for the system-assigned managed identity only."""

    @property
    def tenant_id(self) -> str | None:
        """The tenant; ours where it is None."""

    @property
    def client_id(self) -> str | None:
        """The application, or the user-assigned managed identity."""

    @property
    def client_secret(self) -> Reference | None:
        """By a client secret."""

    @property
    def certificate(self) -> Reference | None:
        """By a certificate with its key."""

    @property
    def managed_identity(self) -> bool:
        """As the identity of this machine or container."""

    @property
    def federated(self) -> bool:
        """By a token of that identity, or of the cluster's service account."""

    @property
    def audience(self) -> str:
        """What the token is for."""

    @property
    def scopes(self) -> tuple[str, ...]:
        """The same, as Entra writes it."""


class Surroundings(Protocol):
    """What an entry is used with."""

    @property
    def secrets(self) -> Secrets:
        """The vault."""

    @property
    def authority(self) -> str:
        """Entra's address, as `https://login.microsoftonline.com`."""

    @property
    def tenant_id(self) -> str | None:
        """Our tenant."""

    @property
    def ca_bundle(self) -> Path | None:
        """POSTERN_CA_BUNDLE."""

    @property
    def azure_credential(self) -> str | None:
        """POSTERN_AZURE_CREDENTIAL."""
