"""What a server and its agents need as real processes: a local tenant with an application that may be an agent, and
gateway.toml."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from postern.gateway.policy import ROLE
from postern.local_tenant import LocalTenant, serve

AGENT = "nightly-report"
"""The application of the local tenant that agents sign in as."""


@contextmanager
def tenant_with_agent(folder: Path) -> Iterator[LocalTenant]:
    """A local tenant where one application has the role of agents."""
    made = LocalTenant.open(folder)
    applications = dict(made.directory.applications)
    applications[AGENT] = replace(applications[AGENT], roles=(ROLE,))
    directory = replace(made.directory, applications=MappingProxyType(applications))
    with serve(replace(made, directory=directory)) as tenant:
        yield tenant


def write_agent(folder: Path, tenant: LocalTenant, server: str, rows: str, **more: str | int) -> None:
    """gateway.toml in this folder, and the secret that it names. `rows` is in TOML, and `more` replaces keys."""
    folder.mkdir(exist_ok=True)
    secret = folder / "secret"
    secret.unlink(missing_ok=True)
    secret.write_text(tenant.client_secret(AGENT), "utf-8")
    secret.chmod(0o400)
    keys = {
        "name": "madrid",
        "server": server,
        "tenant_id": tenant.tenant_id,
        "audience": tenant.audience,
        "authority": tenant.authority,
        "ca_bundle": str(tenant.ca_bundle),
        "status_port": 0,
        "log_format": "json",
        **more,
    }
    head = "".join(f"{key} = {_toml(value)}\n" for key, value in keys.items())
    client_id = tenant.directory.applications[AGENT].client_id
    sign_in = f'sign_in = {{ client_id = "{client_id}", client_secret_file = "secret" }}\n'
    (folder / "gateway.toml").write_text(head + sign_in + rows, "utf-8")


def _toml(value: str | int) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
