"""`GET /gateways`, and the test of an entry in the server."""

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, cast

import pytest
import structlog
from starlette.requests import Request
from structlog.testing import capture_logs

from postern.access import ANYONE, Caller
from postern.api.gateway_handlers import GatewayHandlers
from postern.connections.stage import Stage
from postern.errors import Problem, problem
from postern.gateway.state import AgentState, GatewayState

if TYPE_CHECKING:
    from postern.api.operators import Operators

pytestmark = pytest.mark.anyio

AGENT = AgentState("madrid-1", "an-id", "0.2.0", 1_800_000_000.0, ("a",), ("a", "b"), 3, error="refused once")
STATES = (GatewayState("madrid", (AGENT,)), GatewayState("rome", last="rome-1 until 14:02:11", error="no role"))


def request(query: bytes = b"", name: str = "connections.erp") -> Request:
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": query}
    return Request(scope | {"path_params": {"name": name}})


async def as_operator(_: Request) -> Caller:
    return ANYONE


async def as_other(_: Request) -> Caller:
    raise problem("forbidden")


def handlers(operators: Any = as_operator, stages: Any = None) -> GatewayHandlers:
    return GatewayHandlers(
        cast("Operators", operators),
        lambda: STATES,
        "node-1",
        lambda name: name == "connections.erp",
        stages or passing,
        structlog.get_logger("test"),
    )


async def passing(entry: str) -> AsyncIterator[Stage]:
    yield Stage("entry", True, entry)
    yield Stage("tunnel", False, "refused", "Look there")


async def test_gateways_are_shown_with_their_agents():
    answer = await handlers().index(request())
    assert json.loads(answer.content) == {
        "node": "node-1",
        "gateways": [
            {
                "name": "madrid",
                "last": None,
                "error": None,
                "agents": [
                    {
                        "name": "madrid-1",
                        "object_id": "an-id",
                        "version": "0.2.0",
                        "since": "2027-01-15T08:00:00.000Z",
                        "nodes": ["a"],
                        "all_nodes": ["a", "b"],
                        "tunnels": 3,
                        "draining": False,
                        "error": "refused once",
                    }
                ],
            },
            {"name": "rome", "last": "rome-1 until 14:02:11", "error": "no role", "agents": []},
        ],
    }


async def test_both_are_for_operators_only():
    found = handlers(as_other)
    for page in (found.index, found.test):
        with pytest.raises(Problem) as caught:
            await page(request())
        assert caught.value.code == "forbidden"


async def test_a_parameter_is_rejected():
    for page in (handlers().index, handlers().test):
        with pytest.raises(Problem):
            await page(request(b"x=1"))


async def test_a_test_shows_its_stages():
    with capture_logs() as logs:
        answer = await handlers().test(request())
    assert [(line["event"], line["entry"], line["passed"]) for line in logs] == [
        ("connection-tested", "connections.erp", False)
    ]
    assert json.loads(answer.content) == {
        "entry": "connections.erp",
        "stages": [
            {"name": "entry", "passed": True, "detail": "connections.erp", "fix": ""},
            {"name": "tunnel", "passed": False, "detail": "refused", "fix": "Look there"},
        ],
    }


async def test_an_entry_that_is_not_there_is_not_tested():
    with pytest.raises(Problem) as caught:
        await handlers().test(request(name="connections.other"))
    assert caught.value.code == "not-found"


async def test_an_entry_is_tested_once_at_a_time():
    codes: list[str] = []

    async def stages(entry: str) -> AsyncIterator[Stage]:
        try:
            await found.test(request())
        except Problem as shown:
            codes.append(shown.code)
        yield Stage("entry", True, entry)

    found = handlers(stages=stages)
    await found.test(request())
    await found.test(request())
    assert codes == ["too-many-runs"] * 2
