"""`postern gateways`, and `postern connections test` of an entry by a gateway."""

import json
from pathlib import Path

import pytest
from starlette.responses import JSONResponse

from tests.cli.conftest import Postern
from tests.cli.keeper import Keeper
from tests.cli.test_runs import HOSTILE

pytestmark = pytest.mark.slow

AGENT = {
    "name": "madrid-1",
    "object_id": "c33a0e11-b6a6-4ce1-b2e0-e5fbe1e362d2",
    "version": "0.2.0",
    "since": "2026-01-31T10:00:00.000Z",
    "nodes": ["a"],
    "all_nodes": ["a", "b"],
    "tunnels": 3,
    "draining": False,
    "error": None,
}
MADRID = {"name": "madrid", "agents": [AGENT], "last": None, "error": None}
ROME = {"name": "rome", "agents": [], "last": "rome-1 was connected until 14:02:11 (silent)", "error": HOSTILE}
TABLES = """
[people]
lisa = "c33a0e11-b6a6-4ce1-b2e0-e5fbe1e362d2"
[gateways.madrid]
agents = ["lisa"]
[connections.erp]
base_url = "https://erp.madrid.corp"
gateway = "madrid"
auth = { type = "none" }
"""


@pytest.fixture
def beside(postern: Postern, keeper: Keeper) -> Postern:
    """Commands beside a server."""
    return lambda *arguments, **more: postern(*arguments, **{**keeper.environ, **more})


def test_gateways_are_listed_with_their_agents(beside: Postern, keeper: Keeper):
    keeper.answer = JSONResponse({"gateways": [MADRID], "node": "a"})
    result = beside("gateways")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].split() == [
        *("madrid", "madrid-1", "0.2.0", "2026-01-31", "10:00:00", "1", "of", "2", "3", "connected"),
    ]
    assert keeper.requests[-1] == ("GET /gateways", {})


def test_a_gateway_without_an_agent_is_an_exit_code_and_says_which_one_was_there(beside: Postern, keeper: Keeper):
    keeper.answer = JSONResponse({"gateways": [MADRID, ROME], "node": "a"})
    result = beside("gateways")
    assert result.exit_code == 1
    assert "no agent" in result.stdout
    assert "rome: rome-1 was connected until 14:02:11 (silent)" in result.stderr
    assert "rome: last error: \\x1b[2J[red]:smile:" in result.stderr
    again = beside("gateways", "--json")
    assert (again.exit_code, json.loads(again.stdout)) == (1, {"gateways": [MADRID, ROME], "node": "a"})


def test_without_gateways_the_command_says_so(beside: Postern, keeper: Keeper):
    keeper.answer = JSONResponse({"gateways": [], "node": "a"})
    result = beside("gateways")
    assert (result.exit_code, result.stderr) == (0, "postern.toml has no [gateways.NAME].\n")


def test_who_is_no_operator_sees_nothing(beside: Postern, keeper: Keeper):
    assert beside("gateways", "--as", "lisa").exit_code != 0


@pytest.mark.parametrize("passed", [True, False])
def test_an_entry_by_a_gateway_is_tested_in_the_server(beside: Postern, keeper: Keeper, folder: Path, passed: bool):
    (folder / "postern.toml").write_text(TABLES)
    stages = [
        {"name": "gateway", "passed": True, "detail": "madrid, by agent madrid-1", "fix": ""},
        {"name": "tunnel", "passed": passed, "detail": HOSTILE, "fix": "Look there"},
    ]
    keeper.answer = JSONResponse({"entry": "connections.erp", "stages": stages})
    result = beside("connections", "test", "erp")
    assert keeper.requests[-1] == ("POST /connections/connections.erp/test", {})
    assert result.exit_code == (0 if passed else 1)
    assert [line.split()[1] for line in result.stdout.splitlines()] == ["gateway", "tunnel"]
    assert "\\x1b[2J" in result.stdout
    assert ("fix: Look there" in result.stderr) is not passed
