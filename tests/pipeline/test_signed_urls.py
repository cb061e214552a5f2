"""Signed URLs through a whole server: who is let in, what operators do with them, and where a signature never gets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import pytest
from httpx2 import ASGITransport

from postern.assembly import create_app
from postern.assembly.application import Application
from postern.cli.workspace import local_defaults
from postern.http_client import AsyncClient, Response, http_client
from postern.local_tenant import LocalTenant
from postern.settings import load_settings
from tests.databases import put_sqlite

pytestmark = [pytest.mark.anyio, pytest.mark.process]

MODULE = """
from postern import Context, anonymous, tenant_users, workflow

@workflow(access=anonymous(signed=True), methods=("GET", "POST"))
async def orders(ctx: Context, body=None):
    request = ctx.request
    return {"query": request.query.multi_items(), "caller": ctx.caller.name, "kind": ctx.caller.kind}

@workflow(access=anonymous(signed=True), path="/rooms/{room}", methods=("GET",))
async def rooms(ctx: Context, room: str):
    return room

@workflow(access=anonymous(), methods=("GET",))
async def open_to_all(ctx: Context):
    return "came in"

@workflow(access=tenant_users(), methods=("GET",))
async def guarded(ctx: Context):
    return "came in"

@workflow(access=anonymous(signed=True), secure_inputs=True)
async def secured(ctx: Context, body=None):
    raise RuntimeError(str(ctx.request.query))

@workflow(access=anonymous(signed=True))
async def fails(ctx: Context, body=None):
    raise RuntimeError(ctx.request.query_string.decode() + str(ctx.request.headers))

@workflow(access=tenant_users())
async def calls(ctx: Context, body=None):
    await ctx.call("orders", {})
"""


@dataclass(frozen=True)
class Server:
    """A running application. `send` is a sender without a token, and `operator` the API as ada sees it."""

    app: Application
    client: AsyncClient
    local: LocalTenant
    folder: Path

    def headers(self, who: str) -> dict[str, str]:
        """The Authorization header of a person."""
        return {"Authorization": f"Bearer {self.local.token(who)}"}

    async def operator(self, method: str, path: str, body: Any = None, who: str = "ada") -> Response:
        """One request to the API."""
        return await self.client.request(method, path, headers=self.headers(who), json=body)

    async def link(self, workflow: str, **wish: Any) -> str:
        """The path and the query of a new signed URL."""
        made = await self.operator("POST", f"/workflows/{workflow}/signed-urls", wish)
        assert made.status_code == 201, made.text
        parts = urlsplit(made.json()["url"])
        return f"{parts.path}?{parts.query}"

    async def refusal(self) -> dict[str, Any]:
        """The last refusal."""
        await asyncio.sleep(0)
        found = (await self.operator("GET", "/refusals?limit=1")).json()["refusals"]
        return dict(found[0])


@asynccontextmanager
async def serving(local: LocalTenant, patch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    patch.setenv("AZURE_TENANT_ID", local.tenant_id)
    patch.setenv("AZURE_CLIENT_ID", local.applications["postern"].client_id)
    patch.setenv("AZURE_CLIENT_SECRET", local.client_secret("postern"))
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "module.py").write_text(MODULE, encoding="utf-8")
        mine = {
            "workflows": str(folder),
            "database_url": put_sqlite(folder / ".journal.db"),
            "public_url": "http://127.0.0.1:8000",
        }
        settings = load_settings({}, folder=folder, defaults={**local_defaults(local), **mine})
        app = create_app(settings, make_secret=lambda secret: local.vault.make(secret, 1_700_000_000))
        assert not app.catalog.snapshot.faults
        async with (
            app.router.lifespan_context(app),
            http_client(base_url="http://127.0.0.1:8000", transport=ASGITransport(app)) as client,
        ):
            yield Server(app, client, local, folder)


@pytest.fixture(scope="module")
async def server(local_tenant: LocalTenant) -> AsyncIterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        async with serving(local_tenant, patch) as opened:
            yield opened


async def test_a_link_opens_its_trigger_and_the_workflow_sees_by_which_link_and_not_how(server: Server):
    """The workflow gets the fixed and the appended parameters, and none of those that every signed URL has."""
    url = await server.link("orders", id="partner-x", **{"with": {"customer": "Åse & Co", "n": "1"}})
    answer = await server.client.post(f"{url}&validationToken=a%20b")
    assert answer.status_code == 200
    assert answer.json() == {
        "query": [["customer", "Åse & Co"], ["n", "1"], ["validationToken", "a b"]],
        "caller": "link partner-x",
        "kind": "anonymous",
    }


async def test_without_a_link_nobody_comes_in_whoever_it_is(server: Server):
    url = await server.link("orders")
    bare = urlsplit(url).path
    assert (await server.client.post(bare)).status_code == 401
    assert (await server.client.post(bare, headers=server.headers("ada"))).status_code == 401
    refused = await server.client.post(url, headers=server.headers("ada"))
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Signed-URL"
