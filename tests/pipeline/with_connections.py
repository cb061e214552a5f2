"""An application on a port of its own, whose workflows have connections and call each other."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from postern.assembly import create_app
from postern.cli.workspace import local_defaults
from postern.http_client import AsyncClient, http_client
from postern.local_tenant import LocalTenant
from postern.settings import load_settings
from tests.connections.calling import serving


@asynccontextmanager
async def served(
    folder: Path, local: LocalTenant, connections: Mapping[str, Any], patch: pytest.MonkeyPatch, **more: Any
) -> AsyncIterator[AsyncClient]:
    """A client of it while the block runs. The workflows are the modules of the folder, and the application signs in as
    the local tenant's `postern`. `more` are further settings, and `http` the
    protocol."""
    patch.setenv("AZURE_TENANT_ID", local.tenant_id)
    patch.setenv("AZURE_CLIENT_ID", local.applications["postern"].client_id)
    patch.setenv("AZURE_CLIENT_SECRET", local.client_secret("postern"))
    applications: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await applications[0](scope, receive, send)

    async with serving(app, more.pop("http", "auto")) as url:  # the port is known first
        mine = {
            "workflows": str(folder),
            "database_url": f"sqlite:///{folder}/.journal.db",
            "public_url": url,
            "connections": connections,
            **more,
        }
        settings = load_settings({}, folder=folder, defaults={**local_defaults(local), **mine})
        applications.append(create_app(settings))
        assert not applications[0].catalog.snapshot.faults
        async with applications[0].router.lifespan_context(applications[0]), http_client(base_url=url) as client:
            yield client
