"""The project that is tested: its folder, and the settings that its tests have."""

import os
from pathlib import Path
from typing import Any

from postern.local_tenant import LocalTenant
from postern.local_tenant.defaults import local_defaults
from postern.local_tenant.state import prepare_folder, state_at, write_state
from postern.settings import Settings, load_settings
from postern.settings.sources import PREFIX

ADDRESS = "https://postern.test"
"""The server's own address in tests. The top level domain is reserved for them (RFC 6761)."""

DATABASE = "postern.db"

PORT = 9
"""In the addresses of the local tenant, which nothing serves in a test."""

PASSED_ON = ("POSTERN_WORKFLOWS", "POSTERN_CONFIG")
"""The variables that tests take over from the environment. All others are those of one installation."""


def folder_of(start: Path) -> Path:
    """The nearest folder, from this one upwards, that has a `postern.toml` or a folder `workflows`."""
    for folder in (start, *start.parents):
        if (folder / "postern.toml").is_file() or (folder / "workflows").is_dir():
            return folder
    return start


def open_tenant(folder: Path, people: Settings | None = None) -> LocalTenant:
    """A local tenant that nothing serves, with new keys. `people` are the settings that name some."""
    prepare_folder(folder)
    write_state(folder, state_at(PORT))  # else the tenant looks for a free port
    return LocalTenant.open(folder, people.people if people is not None else {})


def project_settings(project: Path, scratch: Path) -> tuple[Settings, LocalTenant]:
    """The settings of tests: the tables of `postern.toml`, with the local tenant in place of a real one, and a database
    in the folder `scratch`. Raises SettingsFault."""
    environ = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    tenant = open_tenant(scratch / "tenant", load_settings(environ, folder=project))
    defaults = local_defaults(tenant)
    found = load_settings(environ | _forced(tenant, scratch, defaults), folder=project, defaults=defaults)
    workflows = found.workflows if found.workflows.is_absolute() else project / found.workflows
    changed = {
        "workflows": workflows,
        "allowed_networks": (),
        "ca_bundle": None,
        "proxy": None,
        "audit_file": None,
        "console": "off",
    }
    return found.model_copy(update=changed), tenant


def _forced(tenant: LocalTenant, scratch: Path, defaults: dict[str, Any]) -> dict[str, str]:
    """What no file of the project may replace: an installation's own tenant, vault and database are not for tests."""
    names = ("client_id", "client_secret_name", "grants_key_name", "audit_key_name", "durable_key_name")
    values = {name: defaults[name] for name in names} | {
        "tenant_id": tenant.tenant_id,
        "audience": ",".join(tenant.audiences),
        "authority": tenant.authority,
        "key_vault_url": tenant.key_vault_url,
        "azure_credential": "client_secret",
        "public_url": ADDRESS,
        "database_url": f"sqlite:///{scratch / DATABASE}",
    }
    return {PREFIX + name.upper(): value for name, value in values.items()}
