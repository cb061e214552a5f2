"""A durable run from the outside: its 202, its result, how it is cancelled, resumed and started again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from httpx2 import ASGITransport

from postern.assembly import create_app
from postern.http_client import AsyncClient, http_client
from postern.local_tenant import LocalTenant
from tests.pipeline.pipelines import settings_for

pytestmark = [pytest.mark.anyio, pytest.mark.process]

MODULE = """
import asyncio
from postern import Context, Problem, Reply, anonymous, tenant_users, workflow
from tests.pipeline.test_durable_runs import Gate

async def first() -> str:
    Gate.done.append("first")
    return "1"

async def second(before: str) -> str:
    Gate.done.append("second")
    if Gate.fails:
        raise ValueError("not yet")
    return before + "2"

async def waits() -> str:
    Gate.begun.set()
    await Gate.open.wait()
    return "gone through"

@workflow(durable=True)
async def steps(ctx: Context, body: dict | None = None):
    return {"steps": await ctx.step(second, await ctx.step(first)), "body": body}

@workflow(durable=True, access=anonymous())
async def sleeps(ctx: Context):
    await ctx.sleep("30d")

@workflow(durable=True)
async def gated(ctx: Context):
    return await ctx.step(waits)

@workflow
async def inline(ctx: Context):
    return Reply(201, {"for": ctx.caller.name}, {"X-Kept": "yes"})

@workflow(stateless=True)
async def unrecorded(ctx: Context):
    return "at once"

@workflow
async def replies_202(ctx: Context):
    return Reply(202, "mine")

@workflow
async def calls(ctx: Context):
    result = await ctx.call("steps", {"n": 1})
    handle = await ctx.call("inline", wait=False)
    return {"durable": result.body if hasattr(result, "body") else result, "later": await handle.result()}
"""


class Gate:
    """What the workflows do, new in each test's event loop."""

    done: ClassVar[list[str]] = []
    fails = False
    begun: asyncio.Event
    open: asyncio.Event


class Server:
    """A whole application with its callers."""

    def __init__(self, client: AsyncClient, local: LocalTenant) -> None:
        self.client = client
        self.local = local

    async def ask(self, method: str, path: str, who: str = "", prefer: str = "", **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.local.token(who)}"} if who else {}
        headers |= {"Prefer": prefer} if prefer else {}
        headers |= more.pop("headers", {})
        return await self.client.request(method, path, headers=headers, **more)

    async def accepted(self, name: str, who: str = "lisa", prefer: str = "", **more: Any) -> str:
        """The path of a run that was accepted."""
        reply = await self.ask("POST", f"/triggers/{name}", who, prefer, **more)
        assert reply.status_code == 202, reply.text
        return f"/runs/{reply.json()['id']}"

    async def state(self, run: str, state: str, who: str = "ada") -> Any:
        """The record of a run, when it is in this state or phase."""
        async with asyncio.timeout(20):
            while True:
                record = (await self.ask("GET", run, who)).json()
                if state in (record["state"], record["durable"]["phase"]):
                    return record
                await asyncio.sleep(0.02)


@pytest.fixture
async def server(tmp_path: Path, local_tenant: LocalTenant, database_url: str) -> AsyncIterator[Server]:
    (tmp_path / "w.py").write_text(MODULE, encoding="utf-8")
    operators = [local_tenant.people["ada"]]
    app = create_app(settings_for(local_tenant, tmp_path, database_url=database_url, operators=operators))
    assert not app.catalog.snapshot.faults
    Gate.done, Gate.fails, Gate.begun, Gate.open = [], False, asyncio.Event(), asyncio.Event()
    async with (
        app.router.lifespan_context(app),
        http_client(base_url="http://postern.test", transport=ASGITransport(app)) as client,
    ):
        yield Server(client, local_tenant)


async def test_a_202_leads_to_the_result(server: Server):
    reply = await server.ask("POST", "/triggers/steps", "lisa", json={"n": 1})
    assert (reply.status_code, reply.headers["retry-after"]) == (202, "1")
    assert reply.headers["location"] == f"/runs/{reply.headers['x-run-id']}/result"
    result = await server.ask("GET", reply.headers["location"], "lisa", "wait=20")
    assert (result.status_code, result.json()) == (200, {"steps": "12", "body": {"n": 1}})
    assert (result.headers["preference-applied"], result.headers["x-run-id"]) == ("wait=20", reply.headers["x-run-id"])
    assert (await server.ask("GET", reply.headers["location"], "backup-job")).status_code == 404
