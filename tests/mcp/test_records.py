"""What is on record of calls, and what is left after many of them."""

import asyncio
import gc
from typing import Any

import anyio
import pytest

from postern.local_tenant import LocalTenant
from tests.garbage import garbage
from tests.mcp.installation import ERAS, GATE, LEGACY, MODERN, Installation, eventually, headed, installation, message

pytestmark = [pytest.mark.anyio, pytest.mark.process]

MODULE = '''
from postern import Context, specific_users, tenant_users, workflow
from tests.mcp.installation import GATE

@workflow(access=tenant_users(), tool=True)
async def echo(ctx: Context, body: str) -> str:
    """Return what came."""
    return body

@workflow(access=tenant_users(), tool=True, stateless=True)
async def quick(ctx: Context) -> str:
    """Answer at once."""
    return "at once"

@workflow(access=specific_users("lisa"), tool=True)
async def hers(ctx: Context) -> str:
    """For Lisa."""
    return "Lisa"

@workflow(access=tenant_users(), tool=True)
async def waits(ctx: Context) -> str:
    """Wait for the gate."""
    GATE.seen.append(ctx.run_id)
    GATE.begun.set()
    await GATE.open.wait()
    return "gone through"
'''


async def test_a_run_and_a_rejection_say_that_they_came_by_mcp(tools: Installation):
    async with tools.agent("ada") as ada:
        result = await ada.call_tool("echo", {"body": "x"})
        assert (await ada.call_tool("hers")).is_error
    run = await tools.run_of("ada", result.meta["postern/run-id"])
    assert run["via"] == "mcp"
    assert run["via_client"]
    async with tools.http() as http:
        assert (await http.post("/mcp", json=message("tools/list"), headers=headed("tools/list"))).status_code == 401
    await tools.refused(lambda each: each["reason"] == "credentials")
    await tools.refused(lambda each: (each["reason"], each["workflow"]) == ("listed", "hers"))
    assert {each["via"] for each in await tools.refusals()} == {"mcp"}


async def test_a_trigger_is_not_recorded_as_a_tool(tools: Installation):
    async with tools.http("ada") as http:
        answer = await http.post("/triggers/echo", json="x")
    assert (await tools.run_of("ada", answer.headers["x-run-id"]))["via"] is None


async def flood(tools: Installation, count: int, era: str, **headers: str) -> list[int]:
    """So many calls at once. Their statuses."""
    body: dict[str, Any] = message("tools/call", {"name": "quick"})
    fields = headed("tools/call", "quick")
    if era == LEGACY:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "quick", "arguments": {}}}
        fields["MCP-Protocol-Version"] = LEGACY
    async with tools.http("lisa" if not headers else None, **headers) as http:
        answers = await asyncio.gather(*(http.post("/mcp", json=body, headers=fields) for _ in range(count)))
    return [answer.status_code for answer in answers]


def alive() -> int:
    """How many objects there are of what is made for a message, by the SDK and here."""
    gc.collect()
    modules = ("mcp.", "postern.mcp.", "sse_starlette.", "starlette.requests", "anyio.streams")
    return sum(type(each).__module__.startswith(modules) for each in gc.get_objects())


async def test_a_flood_leaves_nothing_in_memory(tools: Installation):
    """The SDK makes a task group, streams and a connection for each message."""
    for era in ERAS:
        await flood(tools, 30, era)
        before, tasks = alive(), len(asyncio.all_tasks())
        for _ in range(3):
            assert set(await flood(tools, 30, era)) == {200}
        await eventually(lambda: len(asyncio.all_tasks()) <= tasks)  # noqa: B023
        assert alive() - before < 30, era


BY_THE_SDK = {
    MODERN: {"postern.mcp.endpoint._once.<locals>.once"},
    LEGACY: {
        "postern.mcp.endpoint._once.<locals>.once",
        "postern.server.protocol.GuardedProtocol",
        "postern.server.cycle.Cycle",
        "postern.access.agent.Via",
        "postern.mcp.session.Session",
    },
}
"""What waits for the garbage collector, because the SDK leaves the frames of what watches the client."""


async def test_no_call_leaves_its_arguments_or_its_reply_to_the_garbage_collector(tools: Installation):
    for era in ERAS:
        await flood(tools, 5, era)
        with garbage() as found:
            await flood(tools, 20, era)
        assert set(found) <= BY_THE_SDK[era], (era, found)


async def test_a_flood_without_tokens_is_answered_and_leaves_valid_callers_served(tools: Installation):
    bad = asyncio.create_task(flood(tools, 100, MODERN, Authorization="Bearer garbage"))
    assert set(await flood(tools, 20, MODERN)) == {200}
    assert set(await bad) == {401}


def wait_in(era: str, http: Any) -> "asyncio.Task[Any]":
    """A call of the tool that waits, which has begun."""
    body: dict[str, Any] = message("tools/call", {"name": "waits"})
    fields = headed("tools/call", "waits")
    if era == LEGACY:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "waits", "arguments": {}}}
        fields["MCP-Protocol-Version"] = LEGACY
    return asyncio.create_task(http.post("/mcp", json=body, headers=fields))


async def test_a_server_that_stops_lets_calls_end_and_cuts_off_those_that_do_not(
    local_tenant: LocalTenant, tmp_path_factory: pytest.TempPathFactory
):
    for era in ERAS:
        for ends in (True, False):
            GATE.close()
            folder = tmp_path_factory.mktemp("stop")
            async with installation(local_tenant, folder, MODULE) as running, running.http("lisa") as http:
                call = wait_in(era, http)
                await GATE.begun.wait()
                running.server.grace = 5.0 if ends else 0.2
                with anyio.fail_after(10):
                    running.server.handle_exit(2, None)
                    await anyio.sleep(0.05)
                    if ends:
                        GATE.open.set()
                    await asyncio.wait({call})
                if ends:
                    assert "gone through" in call.result().text
                else:
                    assert call.exception() is not None or "gone through" not in call.result().text
