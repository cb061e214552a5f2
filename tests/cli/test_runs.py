"""`postern runs`: list, show, cancel and resubmit, over the API of a server that keeps records."""

import json
import re
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse, RedirectResponse

from postern.cli import follow as following
from postern.http_client import AsyncClient, ReadTimeout
from postern.ids import new_id
from tests.cli.conftest import Postern
from tests.cli.keeper import Keeper, run_record
from tests.cli.test_catalog import REAL
from tests.table import table

pytestmark = pytest.mark.slow

HOSTILE = "\x1b[2J[red]:smile: \u202e\x9b1m\r\nnext"
ADA = "ed1bf663-4183-4555-b113-3ed7e5cc901b"


@pytest.fixture
def runs(postern: Postern, keeper: Keeper) -> Postern:
    """The command beside a server: `runs ARGUMENTS …`."""
    return lambda *arguments, **more: postern("runs", *arguments, **{**keeper.environ, **more})


def ids(output: str) -> list[str]:
    """The runs that are shown, in order."""
    return re.findall(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", output)


def test_alone_it_lists_with_one_line_each(runs: Postern, keeper: Keeper):
    keeper.runs = [run_record(state="Failed", status=500), run_record(duration_ms=12.4)]
    result = runs()
    assert (result.exit_code, result.stderr) == (0, "")
    header, *rows = result.stdout.splitlines()
    assert header.split() == ["started", "(UTC)", "run", "state", "status", "took", "workflow", "caller"]
    assert ids(result.stdout) == [run["id"] for run in keeper.runs]
    assert rows[1].split() == [
        "2026-01-31",
        "10:00:00",
        keeper.runs[1]["id"],
        *["Succeeded", "200", "12", "ms", "payroll", "Lisa"],
    ]
    assert runs("list").stdout == result.stdout


def test_the_options_of_the_list_may_follow_at_once(runs: Postern, keeper: Keeper):
    keeper.runs = [run_record(), run_record(state="Failed")]
    assert ids(runs("--state", "failed").stdout) == [keeper.runs[1]["id"]]
    assert runs("--help").exit_code == 0
    assert "resubmit" in runs("--help").stdout


def test_every_filter_is_sent(runs: Postern, keeper: Keeper):
    parent = new_id()
    options = ["--workflow", "payroll", "--state", "TimedOut", "--caller", "ada", "--text", "a&b", "--parent", parent]
    assert runs("list", *options, "--since", "2026-01-31", "--until", "2026-02-01T01:00+01:00").exit_code == 0
    assert keeper.requests[-1] == (
        "GET /runs",
        {
            "workflow": "payroll",
            "state": "TimedOut",
            "caller": ADA,
            "text": "a&b",
            "parent": parent,
            "since": "2026-01-31T00:00:00.000Z",
            "until": "2026-02-01T00:00:00.000Z",
            "limit": "20",
        },
    )


def test_pages_are_followed_until_the_limit_and_it_says_how_far_back(runs: Postern, keeper: Keeper):
    keeper.most = 2
    keeper.runs = [run_record(started_at=f"2026-01-31T10:00:{9 - number:02}.000Z") for number in range(9)]
    result = runs("--limit", "5")
    assert ids(result.stdout) == [run["id"] for run in keeper.runs[:5]]
    assert [query["limit"] for _, query in keeper.requests] == ["5", "3", "1"]
    assert result.stderr.splitlines() == [
        "searched back to 2026-01-31T10:00:06.000Z, in 2 pages",
        "searched back to 2026-01-31T10:00:05.000Z, in 3 pages",
        "There are more: raise --limit above 5.",
    ]
    assert result.stdout.count("started (UTC)") == 1


def test_json_is_for_programs(runs: Postern, keeper: Keeper):
    keeper.most = 1
    keeper.runs = [run_record(workflow=HOSTILE), run_record(), run_record()]
    result = runs("list", "--json", "--limit", "2")
    document = json.loads(result.stdout)
    assert [run["id"] for run in document["runs"]] == [run["id"] for run in keeper.runs[:2]]
    assert (document["next"], result.stdout.isascii()) == ("2", True)
    assert json.loads(runs("--json", "--workflow", "none").stdout) == {"runs": [], "next": None}


def test_an_empty_list_says_so(runs: Postern):
    result = runs()
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No matching runs.\n")


def test_one_who_is_no_operator_sends_their_own_token(runs: Postern, keeper: Keeper, folder: Path):
    """By default, the caller is the local tenant's operator."""
    keeper.runs = [run_record(), run_record(caller={"kind": "anonymous", "object_id": None})]
    assert len(ids(runs().stdout)) == 2
    assert len(ids(runs("--as", "lisa").stdout)) == 1
    assert len(ids(runs("list", "--token-file", "-", stdin=keeper.tenant.token("lisa")).stdout)) == 1
    lisa = keeper.tenant.people["lisa"]
    assert len(ids(runs(POSTERN_OPERATORS=lisa).stdout)) == 1


def test_show_prints_the_whole_record(runs: Postern, keeper: Keeper):
    attempts = [
        {"started_at": "2026-01-31T10:00:00.000Z", "ended_at": "2026-01-31T10:00:00.050Z", "error": "TimeoutError"},
        {"started_at": "2026-01-31T10:00:01.000Z", "ended_at": "2026-01-31T10:00:01.500Z", "error": None},
    ]
    step = {
        "name": "fetch",
        "succeeded": True,
        "started_at": "2026-01-31T10:00:00.000Z",
        "ended_at": "2026-01-31T10:00:01.500Z",
        "attempts": attempts,
    }
    run = run_record(
        state="Failed",
        status=500,
        error={"type": "ValueError", "message": "no month"},
        steps=[step],
        parent_run_id=new_id(),
        resubmitted_by={"kind": "application", "object_id": ADA, "client_id": "c", "name": None},
        cancelled_by={"kind": "user", "object_id": ADA, "client_id": None, "name": "Ada"},
        inputs=None,
        inputs_note="secured",
    )
    keeper.runs = [run]
    result = runs("show", run["id"].upper())
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"run                 {run['id']}",
        "workflow            payroll",
        "state               Failed, status 500",
        "caller              Lisa, user, c33a0e11-b6a6-4ce1-b2e0-e5fbe1e362d2",
        "from                127.0.0.1",
        "started             2026-01-31 10:00:00.123Z",
        "ended               2026-01-31 10:00:00.456Z, after 333 ms",
        "error               ValueError: no month",
        f"parent run          {run['parent_run_id']}",
        f"trace               {'0' * 32}",
        f"resubmitted by      application, {ADA}, client c",
        f"cancelled by        Ada, user, {ADA}",
        "inputs  (secured)",
        "outputs",
        "  {",
        '    "paid": 12',
        "  }",
        "steps",
        "  ok      fetch  1.5 s, 2 attempts",
        "          1. 2026-01-31 10:00:00.000Z  50 ms  TimeoutError",
        "          2. 2026-01-31 10:00:01.000Z  500 ms  succeeded",
    ]
    assert json.loads(runs("show", run["id"], "--json").stdout) == run


def test_a_run_by_an_agent_shows_the_way_the_client_and_the_agent(runs: Postern, keeper: Keeper):
    agent = {"client_id": ADA, "blueprint": "b1", "kind": "on-behalf-of-user"}
    keeper.runs = [run_record(via="mcp", via_client={"name": HOSTILE, "version": "1.2"}, agent=agent)]
    shown = runs("show", keeper.runs[0]["id"]).stdout
    assert f"agent               on-behalf-of-user, client {ADA}, blueprint b1" in shown
    assert "via                 mcp, " in shown
    assert " 1.2 (unverified)" in shown
    assert not set(shown) & set("\x1b\u202e\x9b\r\x7f")
    assert runs("list", "--via", "mcp").exit_code == 0
    assert keeper.requests[-1][1]["via"] == "mcp"


def test_what_a_caller_sent_cannot_steer_the_terminal(runs: Postern, keeper: Keeper):
    caller = {"kind": "user", "object_id": ADA, "client_id": None, "name": HOSTILE}
    error = {"type": HOSTILE, "message": HOSTILE}
    step = {"name": HOSTILE, "succeeded": False, "started_at": HOSTILE, "ended_at": None, "attempts": []}
    hostile = run_record(
        workflow=HOSTILE,
        caller=caller,
        cancelled_by=caller,
        error=error,
        inputs=HOSTILE,
        outputs=[HOSTILE],
        steps=[step],
    )
    keeper.runs = [hostile]
    for result in (runs(), runs("show", hostile["id"]), runs("show", hostile["id"], "--json"), runs("--json")):
        assert result.exit_code == 0
        assert not set(result.stdout) & set("\x1b\u202e\x9b\r\x7f")
        assert "[red]:smile:" in result.stdout
    assert len(runs().stdout.splitlines()) == 2


def test_a_run_that_waits_is_cancelled_and_shown(runs: Postern, keeper: Keeper):
    keeper.runs = [run_record(state="Waiting", status=None, ended_at=None, duration_ms=None)]
    result = runs("cancel", keeper.runs[0]["id"])
    assert (result.exit_code, "Cancelled" in result.stdout) == (0, True)


def test_where_another_process_runs_it_the_output_says_how_to_wait(runs: Postern, keeper: Keeper):
    keeper.runs = [run_record(state="Running", status=None, ended_at=None, duration_ms=None)]
    result = runs("cancel", keeper.runs[0]["id"])
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"runs follow {keeper.runs[0]['id']}" in result.stderr


def test_resubmit_shows_the_new_run(runs: Postern, keeper: Keeper):
    old = run_record()
    keeper.runs = [old]
    result = runs("resubmit", old["id"])
    assert (result.exit_code, ids(result.stdout)[0]) == (0, keeper.runs[0]["id"])
    assert f"resubmitted from    {old['id']}" in result.stdout


def test_resubmit_prints_the_id_of_a_long_run_and_follows_it(
    runs: Postern, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
):
    """It does not wait for one response: the server sends it when the run has started."""

    async def pause(_: float) -> bool:
        assert keeper.runs[0]["state"] == "Running"
        keeper.runs[0] |= {"state": "Failed", "status": 500}
        return True

    monkeypatch.setattr(following, "_pause", pause)
    keeper.goes_on = True
    old = run_record()
    keeper.runs = [old]
    result = runs("resubmit", old["id"])
    new = keeper.runs[0]["id"]
    assert (result.exit_code, result.stderr) == (1, f"Started the run {new}.\n")
    assert ids(result.stdout)[0] == new
    assert keeper.preferences == ["respond-async"]


def test_a_server_that_takes_too_long_is_not_called_unreachable(runs: Postern, monkeypatch: pytest.MonkeyPatch):
    async def silent(*_: object, **__: object) -> None:
        raise ReadTimeout("")

    monkeypatch.setattr(AsyncClient, "request", silent)
    result = runs("show", new_id())
    assert result.exit_code == 1
    assert "has not answered in time" in result.stderr
    assert "cannot be reached" not in result.stderr


def test_an_impossible_command_is_an_error(runs: Postern, keeper: Keeper):
    keeper.runs = [run_record(inputs="x", inputs_note="cut")]
    for command, expected in (("cancel", "has ended already"), ("resubmit", "cannot be started again")):
        result = runs(command, keeper.runs[0]["id"])
        assert (result.exit_code, result.stdout) == (1, "")
        assert "the server answered 409" in result.stderr
        assert expected in result.stderr


@pytest.mark.parametrize("command", ["show", "cancel", "resubmit", "follow"])
def test_an_unknown_run_and_another_callers_run_are_an_error(runs: Postern, keeper: Keeper, command: str):
    keeper.runs = [run_record(caller={"kind": "user", "object_id": ADA, "client_id": None, "name": "Ada"})]
    for arguments in ([new_id()], [keeper.runs[0]["id"], "--as", "lisa"]):
        result = runs(command, *arguments)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "404: There is no such run, or it is not yours" in result.stderr


@table("command", ["show", "cancel", "resubmit", "follow"])
@table("given", ["x", "..", "../refusals", "", "é", "0" * 36])
def test_an_invalid_id_is_not_requested(runs: Postern, keeper: Keeper, command: str, given: str):
    result = runs(command, given)
    assert (result.exit_code, "is not a run id" in result.stderr, keeper.requests) == (2, True, [])


@table("given", ["yesterday", "15", "15x", "-2h", "2026-13-01", "", "9" * 9 + "w", "0001-01-01T00:00+14"])
@table("option", ["--since", "--until"])
def test_an_invalid_time_is_an_error(runs: Postern, keeper: Keeper, option: str, given: str):
    result = runs("list", f"{option}={given}")
    assert (result.exit_code, keeper.requests) == (2, [])
    assert f"{option} {given}: not a valid time. Use a duration such as 15m, 2h or 3d" in result.stderr


def test_an_impossible_filter_is_an_error_with_the_reason(runs: Postern):
    result = runs("list", "--since", "1h", "--until", "2h")
    assert (result.exit_code, "  since: is later than until" in result.stderr.splitlines()) == (2, True)
    assert runs("list", "--state", "Gone").exit_code == 2
    assert runs("list", "--limit", "0").exit_code == 2


def test_a_rejected_token_is_an_error(runs: Postern, keeper: Keeper):
    result = runs("--token-file", "-", stdin=keeper.tenant.token("ada", expired=True))
    assert result.exit_code == 1
    assert "the server answered 401: A valid access token" in result.stderr
    assert "Send another token with --as or --token-file." in result.stderr


def test_with_a_real_tenant_the_error_says_how_to_get_a_token(postern: Postern):
    for command in (["runs"], ["runs", "show", new_id()], ["refusals"], ["explain", new_id()]):
        result = postern(*command, **REAL)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "az account get-access-token --scope api://real/.default " in result.stderr
    assert "--token-file" in postern("runs", "--as", "ada", **REAL).stderr


def test_an_audience_with_a_slash_gives_the_exact_scope(postern: Postern):
    result = postern("runs", **REAL | {"POSTERN_AUDIENCE": "https://service.flow.microsoft.com/"})
    assert "--scope https://service.flow.microsoft.com//.default " in result.stderr
    none = postern("runs", **REAL | {"POSTERN_AUDIENCE": ""})
    assert (none.exit_code, "POSTERN_AUDIENCE is not set" in none.stderr) == (2, True)


def test_without_a_server_the_error_says_how_to_start_one(postern: Postern):
    result = postern("runs", POSTERN_PORT="1")
    assert result.exit_code == 1
    assert "http://127.0.0.1:1/runs cannot be reached" in result.stderr
    assert "Is the server running?" in result.stderr


@pytest.mark.parametrize(
    "answer",
    [PlainTextResponse("<html>", 502), PlainTextResponse("[]"), RedirectResponse("/x"), PlainTextResponse("{" * 9999)],
    ids=["502", "a list", "redirect", "no JSON"],
)
def test_a_response_of_another_server_is_an_error(runs: Postern, keeper: Keeper, answer: PlainTextResponse):
    keeper.answer = answer
    result = runs()
    assert (result.exit_code, "not as a Postern server does" in result.stderr) == (1, True)
    keeper.answer = PlainTextResponse("{}")
    assert "no list of runs" in runs().stderr


def test_show_prints_calls_with_their_outcome(runs: Postern, keeper: Keeper):
    times = {"started_at": "2026-01-31T10:00:00.000Z", "ended_at": "2026-01-31T10:00:00.050Z"}
    child = new_id()
    there = "https://other.example/runs/1"
    keeper.runs = [
        run_record(
            calls=[
                {"name": "greet", "run_id": child, "url": None, "status": 200, "error": None, **times},
                {"name": "flow", "run_id": None, "url": there, "status": 502, "error": "CallError", **times},
                {"name": HOSTILE, "run_id": None, "url": None, "status": None, "error": "ConnectionFault", **times},
            ]
        )
    ]
    printed = runs("show", keeper.runs[0]["id"]).stdout
    assert [line.split("  ")[1:] for line in printed.splitlines()[-3:]][:2] == [
        ["200", "greet", "50 ms", child],
        ["502", "flow", "50 ms", there],
    ]
    assert printed.splitlines()[-1].startswith("  ConnectionFault  \\x1b[2J[red]:smile:")


def test_show_says_by_which_gateway_and_agent_a_request_was_sent(runs: Postern, keeper: Keeper):
    times = {"started_at": "2026-01-31T10:00:00.000Z", "ended_at": "2026-01-31T10:00:00.050Z"}
    sent = {"name": "connections.erp", "status": 200, "gateway": "madrid", "agent": "madrid-1", **times}
    more = {"name": "requests", "status": None, "gateway": "madrid", "agent": None, "requests": 37, **times}
    keeper.runs = [run_record(calls=[sent, more])]
    printed = runs("show", keeper.runs[0]["id"]).stdout
    assert printed.splitlines()[-2:] == [
        "  200  connections.erp  50 ms  by madrid, madrid-1",
        "  37 further requests  by madrid",
    ]


def test_show_prints_a_chain_as_a_tree(runs: Postern, keeper: Keeper):
    third = {"name": "third", "status": 502, "error": "CallError", "url": "https://other.example/runs/1"}
    second = run_record(workflow="second", state="Failed", calls=[third])
    calls = [{"name": "second", "status": 500, "run": second}, {"name": HOSTILE, "status": None}]
    first = run_record(workflow="first", calls=calls, truncated=True)
    keeper.runs = [first]
    result = runs("show", first["id"], "--tree")
    assert (result.exit_code, keeper.requests[-1][0]) == (0, f"GET /runs/{first['id']}/tree")
    lines = result.stdout.splitlines()
    assert lines[:3] == [
        f"first  Succeeded  333 ms  {first['id']}",
        f"├── second  Failed  333 ms  {second['id']}",
        "│   └── third  502  https://other.example/runs/1",
    ]
    assert lines[3].startswith("├── \\x1b[2J[red]:smile: ")
    assert lines[3].endswith("no response")
    assert lines[4:] == ["└── … more runs are not shown"]
    assert json.loads(runs("show", first["id"], "--tree", "--json").stdout) == first
