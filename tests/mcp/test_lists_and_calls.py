"""Who sees which tools, and that a call is decided as a request to the trigger is."""

from typing import Any

import pytest
from httpx2 import ASGITransport
from mcp import MCPError

from postern.http_client import http_client
from tests.mcp.installation import ERAS, GATE, Installation, headed, message
from tests.pipeline import test_matrix
from tests.pipeline.pipelines import TRIGGERS
from tests.pipeline.test_matrix import MATRIX, Forge
from tests.table import table

pytestmark = [pytest.mark.anyio, pytest.mark.process]

REVOKED = test_matrix.REVOKED

MODULE = (
    """
from postern import Context, Problem, Reply, anonymous, specific_users, tenant_users, workflow
from tests.mcp.installation import GATE

"""
    + "".join(
        f'''
@workflow(access={access}, name="{name.replace("_", "-")}", tool=True)
async def at_{name}(ctx: Context) -> str:
    """Come in by {name}."""
    GATE.seen.append("{name}")
    return "came in"
'''
        for name, access in TRIGGERS.items()
    )
    + '''
@workflow(access=tenant_users())
async def no_tool(ctx: Context) -> str:
    """It is no tool."""
    return "never"

@workflow(access=tenant_users(), tool=True, networks=["192.0.2.0/24"])
async def elsewhere(ctx: Context) -> str:
    """For another network."""
    return "never"

@workflow(access=tenant_users(), tool=True)
async def fails(ctx: Context, how: str) -> str:
    """Fail in some way."""
    if how == "problem":
        raise Problem(409, "already booked")
    if how == "reply":
        return Reply(418, {"tea": True})
    raise RuntimeError("secret text")
'''
)


def expected_of(row: str) -> set[str]:
    """The triggers that answer 200 to a row of the matrix."""
    return {name.replace("_", "-") for name, status in zip(TRIGGERS, row.split(), strict=True) if status == "200"}


def raw(method: str, name: str = "") -> list[tuple[bytes, bytes]]:
    return [(each.lower().encode(), value.encode()) for each, value in headed(method, name).items()]


async def listed(agent: Any) -> list[str]:
    return [tool.name for tool in (await agent.list_tools()).tools]


async def test_two_callers_get_two_lists_in_the_order_of_names_in_both_eras(tools: Installation):
    for era in ERAS:
        async with tools.agent("lisa", era) as lisa, tools.agent("ada", era) as ada:
            of_lisa, of_ada = await listed(lisa), await listed(ada)
        assert of_lisa == sorted(of_lisa)
        assert set(of_lisa) == {each.replace("_", "-") for each in TRIGGERS} - {"role", "client"} | {"fails"}
        assert set(of_lisa) - set(of_ada) == {"specific"}


async def test_a_list_may_be_kept_for_a_minute_by_its_caller_alone(tools: Installation):
    async with tools.agent("lisa") as lisa:
        found = await lisa.list_tools()
    assert (found.ttl_ms, found.cache_scope) == (60_000, "private")


async def test_a_call_that_is_not_admitted_gets_the_advice_and_is_on_record(tools: Installation):
    for era in ERAS:
        GATE.close()
        async with tools.agent("ada", era) as ada:
            result = await ada.call_tool("specific")
        assert result.is_error
        assert "not on the list" in result.content[0].text.lower() or "may not" in result.content[0].text.lower()
        assert GATE.seen == []
    await tools.refused(lambda each: (each["workflow"], each["reason"]) == ("specific", "listed"))


async def test_what_is_no_tool_cannot_be_called_and_is_not_known(tools: Installation):
    for era in ERAS:
        async with tools.agent("lisa", era) as lisa:
            for name in ("no-tool", "nothing", "get-run", ""):
                with pytest.raises(MCPError) as raised:
                    await lisa.call_tool(name)
                assert raised.value.code == -32602


async def test_a_tool_for_another_network_is_neither_listed_nor_run(tools: Installation):
    for era in ERAS:
        async with tools.agent("lisa", era) as lisa:
            assert "elsewhere" not in await listed(lisa)
            assert (await lisa.call_tool("elsewhere")).is_error


async def test_failures_of_a_workflow_are_results_with_their_problem(tools: Installation):
    for era in ERAS:
        async with tools.agent("lisa", era) as lisa:
            texts = {}
            for how in ("problem", "reply", "error"):
                result = await lisa.call_tool("fails", {"body": how})
                assert result.is_error
                texts[how] = result.content[0].text
            wrong = await lisa.call_tool("fails", {"body": 1})
        assert wrong.is_error
        assert "invalid-body" in wrong.content[0].text
        assert "already booked" in texts["problem"]
        assert '"tea":true' in texts["reply"]
        assert "secret text" not in texts["error"]


@table(("expected", "credential"), [row[1:] for row in MATRIX], ids=[row[0] for row in MATRIX])
async def test_list_and_call_agree_with_triggers(tools: Installation, expected: str, credential: Any):
    """A token that `/triggers` rejects everywhere is rejected before the message is read. Any other one lists exactly
    the tools whose triggers answer it, and calls exactly those."""
    headers, admitted = credential(Forge(tools.local)), expected_of(expected)
    async with http_client(base_url=tools.url, transport=ASGITransport(tools.app)) as http:
        answer = await http.post("/mcp", json=message("tools/list"), headers=[*raw("tools/list"), *headers])
        if admitted == {"anonymous"}:
            assert answer.status_code == 401, answer.text
            assert "resource_metadata=" in answer.headers["www-authenticate"]
            return
        assert answer.status_code == 200, answer.text
        names = {tool["name"] for tool in answer.json()["result"]["tools"]}
        assert names - {"fails"} == admitted
        for name in (each.replace("_", "-") for each in TRIGGERS):
            GATE.close()
            call = message("tools/call", {"name": name})
            answer = await http.post("/mcp", json=call, headers=[*raw("tools/call", name), *headers])
            assert answer.status_code == 200
            assert answer.json()["result"]["isError"] == (name not in admitted), name
            assert GATE.seen == ([name.replace("-", "_")] if name in admitted else [])
