"""Calls that take long: progress, clients that leave, idempotency keys, durable runs and tasks."""

import asyncio
from typing import Any

import anyio
import pytest

from postern.local_tenant import LocalTenant
from postern.mcp import handlers
from tests.mcp.installation import ERAS, GATE, LEGACY, Installation, eventually, headed, installation, message

pytestmark = [pytest.mark.anyio, pytest.mark.process]

MODULE = '''
from postern import Context, Reply, anonymous, specific_users, tenant_users, workflow
from tests.mcp.installation import GATE

@workflow(access=tenant_users(), tool=True)
async def waits(ctx: Context, body: str = "") -> str:
    """Wait for the gate."""
    GATE.seen.append(ctx.run_id)
    GATE.begun.set()
    await GATE.open.wait()
    return "gone through"

@workflow(access=tenant_users(), tool=True, durable=True)
async def lasts(ctx: Context, body: str = "") -> dict[str, str]:
    """Wait for the gate, as a durable run."""
    GATE.begun.set()
    await GATE.open.wait()
    return {"at": "the end"}

@workflow(access=tenant_users(), tool=True)
async def counts(ctx: Context, body: str) -> int:
    """Count the runs."""
    GATE.seen.append(body)
    return len(GATE.seen)

@workflow(access=tenant_users(), tool=True)
async def sees(ctx: Context) -> dict[str, str]:
    """Say which header fields came."""
    return dict(ctx.request.headers)

@workflow(access=tenant_users(), tool=True)
async def binary(ctx: Context):
    """Answer with bytes."""
    return Reply(200, bytes(9), {"Content-Type": "image/png"})

@workflow(access=tenant_users(), tool=True)
async def long(ctx: Context):
    """Answer with more than a model reads."""
    return Reply.stream(b"x" * 65536 for _ in range(100))
'''


async def test_a_client_with_a_progress_token_hears_that_the_run_goes_on(
    tools: Installation, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(handlers, "PROGRESS_EVERY", 0.02)
    for era in ERAS:
        GATE.close()
        heard: list[tuple[float, float | None]] = []

        async def progress(done: float, total: float | None, _text: str | None, heard: Any = heard) -> None:
            heard.append((done, total))
            if len(heard) == 3:
                GATE.open.set()

        async with tools.agent("lisa", era) as lisa, asyncio.timeout(20):
            result = await lisa.call_tool("waits", progress_callback=progress)
        assert result.structured_content == {"result": "gone through"}
        assert len(heard) >= 3
        assert {total for _, total in heard} == {120.0}
        assert [done for done, _ in heard] == sorted(done for done, _ in heard)


async def test_who_gives_no_progress_token_hears_nothing_but_the_result(
    tools: Installation, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(handlers, "PROGRESS_EVERY", 0.02)
    async with tools.http("lisa") as http:
        call = asyncio.create_task(
            http.post("/mcp", json=message("tools/call", {"name": "waits"}), headers=headed("tools/call", "waits"))
        )
        await GATE.begun.wait()
        await anyio.sleep(0.1)
        GATE.open.set()
        assert (await call).headers["content-type"] == "application/json"


async def test_a_client_that_leaves_ends_the_run_in_the_new_revision(tools: Installation):
    async with tools.http("lisa") as http:
        call = asyncio.create_task(
            http.post("/mcp", json=message("tools/call", {"name": "waits"}), headers=headed("tools/call", "waits"))
        )
        await GATE.begun.wait()
        call.cancel()
        await asyncio.wait({call})
    run = await ended_run(tools)
    assert run["state"] == "Cancelled"
    assert run["cancelled_by"]["object_id"] == tools.local.people["lisa"]


async def test_a_client_that_leaves_lets_the_run_go_on_in_older_revisions(tools: Installation):
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "waits", "arguments": {}}}
    async with tools.http("lisa") as http:
        call = asyncio.create_task(
            http.post("/mcp", json=body, headers=headed("tools/call") | {"MCP-Protocol-Version": LEGACY})
        )
        await GATE.begun.wait()
        call.cancel()
        await asyncio.wait({call})
    await anyio.sleep(0.1)
    GATE.open.set()
    assert (await ended_run(tools))["state"] == "Succeeded"


async def ended_run(tools: Installation) -> dict[str, Any]:
    """The run that came through the gate, when its end is recorded."""
    with anyio.fail_after(20):
        while not (found := [run for run in await tools.runs("lisa") if run["id"] == GATE.seen[0] and run["ended_at"]]):
            await anyio.sleep(0.02)
    return await tools.run_of("lisa", found[0]["id"])


async def test_an_idempotency_key_of_a_header_or_of_meta_runs_a_call_once(tools: Installation):
    for era in ERAS:
        GATE.close()
        async with tools.agent("lisa", era) as lisa:
            meta: Any = {"postern/idempotency-key": f"key-{era}"}
            first = await lisa.call_tool("counts", {"body": "a"}, meta=meta)
            again = await lisa.call_tool("counts", {"body": "a"}, meta=meta)
            other = await lisa.call_tool("counts", {"body": "b"}, meta=meta)
        assert (first.structured_content, again.structured_content) == ({"result": 1}, {"result": 1})
        assert first.meta["postern/run-id"] == again.meta["postern/run-id"]
        assert other.is_error
        assert "idempotency-key-reused" in other.content[0].text
        assert GATE.seen == ["a"]
        async with tools.agent("lisa", era, **{"Idempotency-Key": f"header-{era}"}) as lisa:
            for _ in range(2):
                await lisa.call_tool("counts", {"body": "c"})
        assert GATE.seen == ["a", "c"]


async def test_a_key_that_is_no_key_is_refused_and_nothing_runs(tools: Installation):
    async with tools.agent("lisa") as lisa:
        for key in ("", 7, "a\nb", "x" * 256, "é", ["a"]):
            result = await lisa.call_tool("counts", {"body": "a"}, meta={"postern/idempotency-key": key})
            assert result.is_error
            assert "bad-idempotency-key" in result.content[0].text
    assert GATE.seen == []


async def test_a_workflow_sees_the_fields_of_the_call_and_not_those_of_the_message(tools: Installation):
    more = {"Cookie": "a=b", "X-Mine": "yes", "Prefer": "respond-async", "Range": "bytes=0-0", "If-None-Match": "*"}
    for era in ERAS:
        async with tools.agent("lisa", era, **more) as lisa:
            seen = (await lisa.call_tool("sees")).structured_content
        assert seen["x-mine"] == "yes"
        assert (
            not {"cookie", "prefer", "range", "if-none-match", "authorization", "accept", "content-length"}
            & seen.keys()
        )
        assert not [name for name in seen if name.startswith("mcp-")]


async def test_what_a_model_cannot_read_becomes_a_link_or_an_error(tools: Installation):
    for era in ERAS:
        async with tools.agent("lisa", era) as lisa:
            result = await lisa.call_tool("binary")
            (link,) = result.content
            assert link.type == "resource_link", result
            assert link.uri == f"https://postern.test/runs/{result.meta['postern/run-id']}/result"
            result = await lisa.call_tool("long")
            assert result.is_error
            assert "longer than 4 MiB" in result.content[0].text
            assert (await tools.run_of("lisa", result.meta["postern/run-id"]))["state"] == "Succeeded"


async def test_a_durable_run_that_takes_long_gives_its_id_and_get_run_its_result(
    tools: Installation, monkeypatch: pytest.MonkeyPatch
):
    for era in ERAS:
        GATE.close()
        monkeypatch.setattr(handlers, "WAIT", 0.05)
        async with tools.agent("lisa", era) as lisa, tools.agent("gil", era) as gil:
            names = [tool.name for tool in (await lisa.list_tools()).tools]
            assert "get-run" in names
            assert names == sorted(names)
            started = await lisa.call_tool("lasts")
            assert started.structured_content.keys() == {"run_id", "state"}
            run = {"run_id": started.structured_content["run_id"]}
            assert "get-run" in started.content[0].text
            assert (await lisa.call_tool("get-run", run)).structured_content["run_id"] == run["run_id"]
            assert "unknown-run" in (await gil.call_tool("get-run", run)).content[0].text
            GATE.open.set()
            monkeypatch.setattr(handlers, "WAIT", 20.0)
            result = await lisa.call_tool("get-run", run)
            assert (result.structured_content, result.is_error) == ({"at": "the end"}, False)
            for wrong in ({"run_id": "none"}, {"run_id": 7}, {}):
                assert "unknown-run" in (await lisa.call_tool("get-run", wrong)).content[0].text


async def test_a_durable_run_that_ends_soon_gives_its_result(tools: Installation):
    GATE.open.set()
    for era in ERAS:
        async with tools.agent("lisa", era) as lisa:
            assert (await lisa.call_tool("lasts")).structured_content == {"at": "the end"}


async def rpc(http: Any, method: str, params: dict[str, Any], *, tasks: bool = True, name: str = "") -> dict[str, Any]:
    """The response to a request of the new revision."""
    capabilities: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}} if tasks else {}
    named = name or params.get("name") or params["taskId"]
    sent = message(method, params, capabilities=capabilities)
    found: dict[str, Any] = (await http.post("/mcp", json=sent, headers=headed(method, named))).json()
    return found


async def test_a_client_that_knows_tasks_gets_a_task_with_the_id_of_its_run(tools: Installation):
    async with tools.http("lisa") as http, tools.http("gil") as other:
        task = (await rpc(http, "tools/call", {"name": "lasts"}))["result"]
        assert (task["resultType"], task["status"]) == ("task", "working")
        known = {"taskId": task["taskId"]}
        assert (await tools.run_of("lisa", task["taskId"]))["workflow"] == "lasts"
        assert (await rpc(other, "tasks/get", known))["error"]["code"] == -32602
        working = (await rpc(http, "tasks/get", known))["result"]
        assert (working["status"], working["resultType"]) == ("working", "complete")
        assert (await rpc(http, "tasks/update", known | {"inputResponses": {}}))["result"]["resultType"] == "complete"
        GATE.open.set()
        with anyio.fail_after(20):
            while (done := (await rpc(http, "tasks/get", known))["result"])["status"] == "working":
                await anyio.sleep(0.02)
        assert done["status"] == "completed"
        assert done["result"]["structuredContent"] == {"at": "the end"}


async def test_a_task_can_be_cancelled_by_who_may_see_its_run(tools: Installation):
    async with tools.http("lisa") as http, tools.http("gil") as other:
        task = (await rpc(http, "tools/call", {"name": "lasts"}))["result"]
        known = {"taskId": task["taskId"]}
        await GATE.begun.wait()
        assert (await rpc(other, "tasks/cancel", known))["error"]["code"] == -32602
        assert "result" in await rpc(http, "tasks/cancel", known)
        with anyio.fail_after(20):
            while (done := (await rpc(http, "tasks/get", known))["result"])["status"] == "working":
                await anyio.sleep(0.02)
        assert done["status"] == "cancelled"
        assert "result" in await rpc(http, "tasks/cancel", known)


async def test_tasks_are_for_clients_that_declare_them_and_name_them_in_the_header(tools: Installation):
    async with tools.http("lisa") as http:
        for method in ("tasks/get", "tasks/cancel", "tasks/update"):
            found = await rpc(http, method, {"taskId": "x", "inputResponses": {}}, tasks=False)
            assert found["error"]["code"] == -32021
            assert found["error"]["data"] == {
                "requiredCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}
            }
            found = await rpc(http, method, {"taskId": "x", "inputResponses": {}}, name="y")
            assert found["error"]["code"] == -32020
            found = await rpc(http, method, {"taskId": "x", "inputResponses": {}})
            assert found["error"]["code"] == -32602


async def test_a_server_that_stops_ends_what_waits_for_durable_runs(
    local_tenant: LocalTenant, tmp_path_factory: pytest.TempPathFactory
):
    async with installation(local_tenant, tmp_path_factory.mktemp("stop"), MODULE) as running:
        async with running.http("lisa") as http:
            call = asyncio.create_task(
                http.post("/mcp", json=message("tools/call", {"name": "lasts"}), headers=headed("tools/call", "lasts"))
            )
            await GATE.begun.wait()
            running.server.handle_exit(2, None)
            result = (await call).json()["result"]
        assert result["structuredContent"]["state"] in ("Running", "Waiting")
    await eventually(lambda: True)
