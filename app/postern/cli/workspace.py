"""The installation that a command uses: the real tenant of the settings, or else the local tenant."""

import os
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from postern.cli.serving import readable_folder
from postern.local_tenant import LocalTenant
from postern.local_tenant.defaults import OPERATOR, OWN_APPLICATION, local_defaults
from postern.local_tenant.directory import callback_path
from postern.settings import Settings, load_settings

if TYPE_CHECKING:
    from postern.catalog import Snapshot

__all__ = [
    "OPERATOR",
    "OWN_APPLICATION",
    "STATE_FOLDER",
    "Workspace",
    "connection_callbacks",
    "export_local_credential",
    "local_defaults",
    "local_settings",
    "workspace",
]

STATE_FOLDER = Path("var/local-tenant")
"""Where the local tenant keeps its keys and certificates between starts."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """The effective settings, and the local tenant if no real one is set."""

    settings: Settings
    local: LocalTenant | None

    @property
    def server_url(self) -> str:
        """The base URL of this installation's triggers."""
        if self.settings.public_url:
            return self.settings.public_url
        if self.local and self.local.server_url:
            return self.local.server_url
        return f"http://{self.settings.host}:{self.settings.port}"

    def object_id(self, given: str | None) -> str | None:
        """The object id that a name of the table people stands for, else what was given."""
        return None if given is None else self.settings.people.get(given, given)

    def load(self) -> "Snapshot":
        """The workflows and faults of the folder. Raises FolderFault, and SettingsFault if a workflow needs a setting
        that is not set. What the modules print goes to standard error, away from what a command writes."""
        from postern.assembly import load_catalog

        with readable_folder(), redirect_stdout(sys.stderr):
            return load_catalog(self.settings).snapshot


def workspace() -> Workspace:
    """The real tenant if POSTERN_TENANT_ID is set, else the local one. Raises SettingsFault."""
    settings = load_settings()
    if settings.tenant_id:
        return Workspace(settings, None)
    local = LocalTenant.open(STATE_FOLDER, settings.people, serves=False)
    return Workspace(local_settings(local), local)


def local_settings(local: LocalTenant, public_url: str = "") -> Settings:
    """The settings with the local tenant's values instead of a real tenant's. `public_url` is the server's address, if
    it is known."""
    return load_settings(defaults=local_defaults(local) | ({"public_url": public_url} if public_url else {}))


def connection_callbacks(local: LocalTenant, settings: Settings) -> set[str]:
    """The redirect URIs of the connections that people connect at the local tenant: one for each."""
    from postern.connections.grants.entries import granted_entries

    return {
        (settings.public_url or "").rstrip("/") + callback_path(name)
        for name, each in granted_entries(settings).items()
        if each.auth.client_id == local.client_id
    }


def export_local_credential(local: LocalTenant) -> None:
    """Give the Azure clients of this process and its workers the local tenant's credential, in the variables that
    azure-identity reads."""
    os.environ["AZURE_TENANT_ID"] = local.tenant_id
    os.environ["AZURE_CLIENT_ID"] = local.client_id
    os.environ["AZURE_CLIENT_SECRET"] = local.client_secret(OWN_APPLICATION)
