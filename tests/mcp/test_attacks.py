"""What an agent can learn or reach that it should not: by other arguments, other networks, and errors of the server."""

import json
from typing import Any

import pytest

from postern.assembly.mcp_runs import AgentsRuns
from postern.errors import problem
from postern.local_tenant import LocalTenant
from postern.mcp import handlers
from postern.settings.security import Limits
from postern.triggers.find import MAX_TARGET_BYTES
from tests.mcp.installation import ERAS, GATE, MODERN, Installation, headed, installation, message
from tests.table import table

pytestmark = [pytest.mark.anyio, pytest.mark.process]

MODULE = '''
from typing import Annotated
from postern import Context, Query, anonymous, specific_users, tenant_users, workflow
from tests.mcp.installation import GATE

@workflow(access=anonymous(), tool=True)
async def sees(ctx: Context) -> dict[str, int]:
    """Say which header fields came, and how long they are."""
    return {name: len(value) for name, value in ctx.request.headers.items()}

@workflow(access=specific_users("ada"), tool=True, durable=True)
async def lasts(ctx: Context) -> str:
    """Wait for the gate, as a durable run of Ada."""
    await GATE.open.wait()
    return "the end"

@workflow(access=tenant_users(), tool=True, path="/at/{place}")
async def at(ctx: Context, place: str, near: Annotated[str, Query()] = "") -> dict[str, str]:
    """Say which place was named."""
    GATE.seen.append("at")
    return {"place": place, "near": near}

@workflow(access=tenant_users(scopes=["Orders.Read"]), tool=True, networks=["192.0.2.0/24"], path="/at/{place}")
async def elsewhere(ctx: Context, place: str) -> str:
    """For another network."""
    return "never"

'''
TASKS: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}


async def call(
    tools: Installation,
    who: str,
    name: str,
    arguments: dict[str, Any],
    *,
    era: str = MODERN,
    tasks: bool = False,
    **meta: Any,
) -> dict[str, Any]:
    """The response to a call, as JSON."""
    sent = message("tools/call", {"name": name, "arguments": arguments}, **meta)
    fields = headed("tools/call", name) | {"MCP-Protocol-Version": era}
    async with tools.http(who) as http:
        answer = await http.post("/mcp", content=json.dumps(sent).encode(), headers=fields)
    found: dict[str, Any] = json.loads(answer.text.partition("data: ")[2] or answer.text)
    return found


def text_of(found: dict[str, Any]) -> str:
    text: str = found["result"]["content"][0]["text"]
    return text


@table(
    "place",
    ["a/b", "../a", "..", ".", "", "a\r\nHost: evil", "a\0b", "\ud800", "a\\b", None, {}, [], "\u2028", "x" * 9000],
)
async def test_a_part_of_a_path_that_no_url_can_have_runs_nothing(tools: Installation, place: Any):
    found = await call(tools, "lisa", "at", {"place": place})
    assert found["result"]["isError"], found
    assert GATE.seen == []


@table("place", ["a%2Fb", "%2e%2e", ".%2e", "a?near=x#y", "a;b=c", " a ", "a&b", "+", "%00", "%", "é"])
async def test_a_part_of_a_path_arrives_as_it_was_sent(tools: Installation, place: str):
    found = await call(tools, "lisa", "at", {"place": place, "near": place})
    assert found["result"]["structuredContent"] == {"place": place, "near": place}


async def test_a_call_has_no_longer_url_than_a_request(tools: Installation):
    for long in ({"place": "x" * MAX_TARGET_BYTES}, {"place": "x", "near": "/" * (MAX_TARGET_BYTES // 3)}):
        assert "uri-too-long" in text_of(await call(tools, "lisa", "at", long))
    assert GATE.seen == []


async def test_an_anonymous_workflow_does_not_see_the_token_that_is_for_mcp(tools: Installation):
    for era in ERAS:
        seen = (await call(tools, "lisa", "sees", {}, era=era))["result"]["structuredContent"]
        assert "user-agent" in seen
        assert "authorization" not in seen


async def test_a_value_of_meta_that_no_header_can_have_becomes_none(tools: Installation):
    for value in ("x" * 9000, "a\r\nb: c", 7, None):
        seen = (await call(tools, "lisa", "sees", {}, traceparent=value))["result"]["structuredContent"]
        assert seen.get("traceparent") == 0, value


async def test_who_comes_from_another_network_learns_nothing_else_of_a_tool(
    local_tenant: LocalTenant, tmp_path_factory: pytest.TempPathFactory, tools: Installation
):
    wanted = text_of(await call(tools, "lisa", "elsewhere", {"place": "x"}))
    assert "Orders.Read" not in wanted
    for arguments in ({"place": ".."}, {}, {"place": "x", "more": 1}):
        found = text_of(await call(tools, "lisa", "elsewhere", arguments))
        assert without_id(found) == without_id(wanted), arguments
    async with installation(local_tenant, tmp_path_factory.mktemp("named"), MODULE, mcp_scope="Tools.Call") as named:
        for arguments in ({"place": "x"}, {"place": ".."}):
            found = text_of(await call(named, "lisa", "elsewhere", arguments))
            assert without_id(found) == without_id(wanted), arguments


def without_id(document: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(document)
    del found["request_id"]
    return found


async def test_calls_that_make_no_request_count_as_calls(
    local_tenant: LocalTenant, tmp_path_factory: pytest.TempPathFactory
):
    for rate in ("per_caller", "per_address"):
        limits = Limits.model_validate({"workflows": {"at": {rate: "2/hour"}}})
        async with installation(local_tenant, tmp_path_factory.mktemp("limited"), MODULE, limits=limits) as limited:
            found = [text_of(await call(limited, "lisa", "at", {"place": ".."})) for _ in range(3)]
            assert ["rate-limited" in each for each in found] == [False, False, True], rate
            assert "rate-limited" in text_of(await call(limited, "lisa", "at", {"place": "x"}))
            assert "rate-limited" not in str(await call(limited, "lisa", "elsewhere", {"place": ".."}))


async def test_get_run_is_a_tool_of_those_whose_list_has_it(tools: Installation):
    for era in ERAS:
        unknown = await call(tools, "lisa", "no-such-tool", {"run_id": "x"}, era=era)
        assert unknown["error"]["code"] == -32602
        assert (await call(tools, "lisa", "get-run", {"run_id": "x"}, era=era))["error"] == unknown["error"]
        assert "unknown-run" in text_of(await call(tools, "ada", "get-run", {"run_id": "x"}, era=era))


async def test_an_error_of_the_server_is_not_shown_to_an_agent(tools: Installation, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: Any) -> Any:
        raise RuntimeError("password=hunter2")

    for place in ("trigger_scope", "shown_to"):
        monkeypatch.setattr(handlers, place, broken)
    for era in ERAS:
        for name in ("at", "get-run"):
            found = await call(tools, "ada", name, {"place": "x"}, era=era)
            assert found["error"] == {"code": -32603, "message": "Internal server error"}, era
        fields = headed("tools/list") | {"MCP-Protocol-Version": era}
        async with tools.http("ada") as http:
            answer = await http.post("/mcp", json=message("tools/list"), headers=fields)
        assert "Internal server error" in answer.text
        assert "hunter2" not in answer.text


async def test_an_error_of_the_server_is_logged_by_its_type(
    tools: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def broken(*_: Any) -> Any:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(handlers, "trigger_scope", broken)
    for era in ERAS:
        await call(tools, "ada", "at", {"place": "x"}, era=era)
    shown = "".join(capsys.readouterr())
    assert shown.count("mcp-request-failed") == 2
    assert "RuntimeError" in shown
    assert "hunter2" not in shown


async def test_an_accepted_run_gives_its_id_also_if_it_cannot_be_read_then(
    tools: Installation, monkeypatch: pytest.MonkeyPatch
):
    async def unread(*_: Any) -> Any:
        raise problem("journal-unavailable")

    with monkeypatch.context() as broken:
        broken.setattr(AgentsRuns, "_seen", unread)
        found = [await call(tools, "ada", "lasts", {}, era=era) for era in ERAS]
        task = await call(tools, "ada", "lasts", {}, capabilities=TASKS)
    ids = [each["result"]["structuredContent"]["run_id"] for each in found] + [task["result"]["taskId"]]
    assert task["result"]["status"] == "working"
    GATE.open.set()
    for each in ids:
        assert text_of(await call(tools, "ada", "get-run", {"run_id": each})) == '{"result":"the end"}'
