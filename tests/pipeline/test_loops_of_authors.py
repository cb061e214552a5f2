"""A `def` workflow that runs an event loop of its own gets what it asks for, and harms no other run."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postern.http_client import AsyncClient
from postern.local_tenant import LocalTenant
from tests.connections.counterparts import Counterpart, always, listening
from tests.pipeline.with_connections import served

pytestmark = [pytest.mark.anyio, pytest.mark.process]

MODULE = """
import asyncio
from postern import CallError, Context, anonymous, workflow

@workflow(access=anonymous())
async def answers(ctx: Context):
    return "answer"

@workflow(access=anonymous())
async def large(ctx: Context):
    return "x" * 100_000

async def everything(ctx):
    found = await ctx.connection("there").get("/x")
    secret = await ctx.secret("postern-client-secret")
    step = await ctx.step(lambda: "step")
    handle = await ctx.call("answers", wait=False)
    sizes = [len(text) for text in await asyncio.gather(*(ctx.call("large") for _ in range(4)))]
    return [found.json(), bool(secret), step, await ctx.call("answers"), await handle.result(), handle.done, sizes]

@workflow(access=anonymous())
def own_loop(ctx: Context):
    return [asyncio.run(everything(ctx)) for _ in range(3)]

@workflow(access=anonymous())
async def servers_loop(ctx: Context):
    return await everything(ctx)

@workflow(access=anonymous())
def streams(ctx: Context):
    async def read():
        async with ctx.connection("there").stream("GET", "/x") as response:
            return await response.aread()
    try:
        asyncio.run(read())
    except Exception as error:
        return str(error)
"""


@pytest.fixture
async def there() -> AsyncIterator[Counterpart]:
    async with listening(always(200, b'{"a":1}', "Content-Type: application/json")) as server:
        yield server


@pytest.fixture
async def server(
    tmp_path: Path, local_tenant: LocalTenant, there: Counterpart, own_modules: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AsyncClient]:
    (tmp_path / "loops.py").write_text(MODULE, encoding="utf-8")
    own = local_tenant.applications["postern"]
    secret = {"key_vault": own.client_secret_name}
    entra = {"type": "entra", "client_id": own.client_id, "client_secret": secret, "audience": own.client_id}
    connections = {"there": {"base_url": there.url, "auth": entra}}
    async with served(tmp_path, local_tenant, connections, monkeypatch) as client:
        yield client


async def test_connections_secrets_steps_and_calls_work_in_a_loop_of_the_author(server: AsyncClient):
    expected = [{"a": 1}, True, "step", "answer", "answer", True, [100_000] * 4]
    mine = [server.post("/triggers/own-loop") for _ in range(3)]
    others = [server.post("/triggers/servers-loop") for _ in range(3)]
    replies = await asyncio.gather(*mine, *others)
    assert [reply.json() for reply in replies] == [[expected] * 3] * 3 + [expected] * 3
    assert (await server.post("/triggers/servers-loop")).json() == expected


async def test_what_is_streamed_there_is_refused_and_harms_nobody(server: AsyncClient):
    assert "in another event loop than the server's" in (await server.post("/triggers/streams")).json()
    assert (await server.post("/triggers/servers-loop")).status_code == 200
