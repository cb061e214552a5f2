"""`postern runs resubmit` and `resume` for all runs that fit: shown first, asked, paced, and never twice."""

import json
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from postern.cli import bulk
from postern.cli.api_client import Reply
from postern.cli.bulk import Action, Plan, Progress, carry_out
from postern.errors import problem
from postern.ids import new_id
from postern.settings.security import Rate
from tests.cli.conftest import Postern
from tests.cli.keeper import Keeper, run_record


@pytest.fixture
def runs(postern: Postern, keeper: Keeper) -> Postern:
    """The command beside a server: `runs ARGUMENTS …`."""
    return lambda *arguments, **more: postern("runs", *arguments, **{**keeper.environ, **more})


def failed(number: int, **members: Any) -> dict[str, Any]:
    return run_record(state="Failed", status=500, started_at=f"2026-01-31T10:00:{number:02}.000Z", **members)


def put(keeper: Keeper, *records: dict[str, Any]) -> list[str]:
    """Records, the newest first. Returns their ids, the oldest first."""
    keeper.runs = list(reversed(records))
    return [record["id"] for record in records]


def started(keeper: Keeper) -> list[str]:
    """The runs that were resubmitted or resumed, in this order."""
    return [path.split("/")[2] for path, _ in keeper.requests if path.endswith(("/resubmit", "/resume"))]


def answer(code: str, **headers: str) -> Response:
    made = problem(code)
    return JSONResponse(made.document(new_id()), made.status, media_type="application/problem+json", headers=headers)


FAST = ("--rate", "1000/second", "--yes")


def test_all_runs_that_fit_are_resubmitted_the_oldest_first(runs: Postern, keeper: Keeper):
    ids = put(keeper, failed(1), run_record(), failed(2), failed(3, workflow="other"))
    result = runs("resubmit", "--state", "Failed", *FAST)
    assert result.exit_code == 0
    assert started(keeper) == [ids[0], ids[2], ids[3]]
    assert keeper.preferences == ["respond-async"] * 3
    assert keeper.keys == ["postern-runs-resubmit-once"] * 3  # it holds for each run
    lines = result.stdout.splitlines()
    assert [line.split(" as ")[0] for line in lines] == [
        f"[{number}/3] {run_id} resubmitted" for number, run_id in enumerate(started(keeper), 1)
    ]
    assert "3 runs resubmitted." in result.stderr


def test_the_preview_says_how_many_of_which_workflow_and_what_is_left_out(runs: Postern, keeper: Keeper):
    why = "The inputs of the run were redacted."
    earlier = failed(3)
    put(keeper, failed(1), failed(2), earlier, failed(4, why=why), failed(5, workflow="other"))
    keeper.runs.append(run_record(resubmitted_from=earlier["id"]))
    result = runs("resubmit", "--state", "Failed", "--dry-run")
    assert (result.exit_code, started(keeper), result.stdout) == (0, [], "")
    rows = [line.split() for line in result.stderr.splitlines()]
    assert ["payroll", "2", "2026-01-31", "10:00:01", "2026-01-31", "10:00:02"] in rows
    assert ["other", "1", "2026-01-31", "10:00:05", "2026-01-31", "10:00:05"] in rows
    assert "1 run left out: resubmitted already." in result.stderr
    assert f"1 run of payroll left out: {why}" in result.stderr


def test_the_same_command_again_starts_nothing_twice(runs: Postern, keeper: Keeper):
    put(keeper, failed(1), failed(2))
    command = ("resubmit", "--state", "Failed", "--until", "2026-01-31T10:00:30Z", *FAST)
    runs(*command)
    for run in keeper.runs:
        if run["resubmitted_from"]:
            run["state"] = "Succeeded"
    result = runs(*command)
    assert (result.exit_code, len(started(keeper))) == (0, 2)
    assert "2 runs left out: resubmitted already." in result.stderr
    assert "Nothing to do." in result.stderr


def test_with_again_they_are_resubmitted_once_more_under_a_new_key(runs: Postern, keeper: Keeper):
    put(keeper, failed(1))
    for _ in range(2):
        runs("resubmit", "--state", "Failed", "--until", "2026-01-31T10:00:30Z", "--limit", "1", "--again", *FAST)
    assert len(set(keeper.keys)) == 2


@pytest.mark.parametrize(
    ("stdin", "code", "number", "said"),
    [
        ("y\n", 0, 1, "1 run resubmitted."),
        ("n\n", 1, 0, "nothing was done."),
        (None, 2, 0, "To begin without a question, give --yes."),
    ],
)
def test_it_asks_before_it_begins(runs: Postern, keeper: Keeper, stdin: str | None, code: int, number: int, said: str):
    put(keeper, failed(1))
    result = runs("resubmit", "--state", "Failed", stdin=stdin)
    assert (result.exit_code, len(started(keeper))) == (code, number)
    assert "Resubmit 1 run, which takes about 1 s?" in result.stderr
    assert said in result.stderr


def test_the_limit_takes_the_newest_and_says_that_there_are_more(runs: Postern, keeper: Keeper):
    ids = put(keeper, *(failed(number) for number in range(5)))
    result = runs("resubmit", "--state", "Failed", "--limit", "2", *FAST)
    assert started(keeper) == ids[3:]
    oldest = "2026-01-31T10:00:03.000Z"  # a run that fails again is newer
    assert f"There are more: raise --limit above 2, or add --until {oldest} to the same command" in result.stderr


def test_a_run_that_cannot_be_does_not_stop_the_others(runs: Postern, keeper: Keeper):
    ids = put(keeper, failed(1), failed(2))
    keeper.next_answers = [answer("cannot-resubmit")]
    result = runs("resubmit", "--state", "Failed", *FAST)
    assert (result.exit_code, started(keeper)) == (1, ids)
    assert f"[1/2] {ids[0]}: {problem('cannot-resubmit').detail}" in result.stdout
    assert "1 run resubmitted, 1 could not be." in result.stderr


def test_it_waits_as_the_server_asks_and_then_repeats_the_same_run(
    runs: Postern, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bulk, "LONGEST_PAUSE", 0.0)
    ids = put(keeper, failed(1), failed(2))
    keeper.next_answers = [
        answer("too-many-runs", **{"Retry-After": "7"}),
        answer("shutting-down", **{"Retry-After": "5"}),
    ]
    result = runs("resubmit", "--state", "Failed", *FAST)
    assert (result.exit_code, started(keeper)) == (0, [ids[0], ids[0], ids[0], ids[1]])
    assert result.stderr.count("The server asks to wait") == 2


@pytest.mark.parametrize("code", ["internal-error", "unauthenticated", "forbidden", "journal-unavailable"])
def test_any_other_error_stops_it_and_says_how_to_go_on(runs: Postern, keeper: Keeper, code: str):
    ids = put(keeper, failed(1), failed(2), failed(3))
    keeper.next_answers = [answer("cannot-resubmit"), answer(code)]
    result = runs("resubmit", "--state", "Failed", *FAST)
    assert (result.exit_code, started(keeper)) == (1, ids[:2])
    assert "0 runs resubmitted, 1 could not be, 2 left." in result.stderr
    assert "Run the same command again to go on: what is done is left out." in result.stderr


def test_with_again_it_says_from_where_to_go_on(runs: Postern, keeper: Keeper):
    put(keeper, failed(1), failed(2))
    keeper.next_answers = [answer("internal-error")]
    result = runs("resubmit", "--state", "Failed", "--again", *FAST)
    assert "Add --since 2026-01-31T10:00:01.000Z to the same command to go on." in result.stderr


def test_ctrl_c_says_how_far_it_came(runs: Postern, keeper: Keeper, monkeypatch: pytest.MonkeyPatch):
    put(keeper, failed(1), failed(2))

    async def interrupted(*given: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("postern.cli.run_again.carry_out", interrupted)
    result = runs("resubmit", "--state", "Failed", *FAST)
    assert result.exit_code == 1
    assert "0 runs resubmitted, 2 left." in result.stderr


def test_json_is_for_programs(runs: Postern, keeper: Keeper):
    ids = put(keeper, failed(1), failed(2), failed(3, why="no"))
    keeper.next_answers = [answer("cannot-resubmit")]
    document = json.loads(runs("resubmit", "--state", "Failed", "--json", *FAST).stdout)
    new = keeper.runs[0]["id"]
    assert document == {
        "done": [{"run": ids[1], "new_run": new}],
        "failed": [{"run": ids[0], "reason": problem("cannot-resubmit").detail}],
        "left": [],
        "already_resubmitted": 0,
        "left_out": [{"workflow": "payroll", "reason": "no", "runs": 1}],
        "more": False,
    }


def test_runs_are_resumed_likewise(runs: Postern, keeper: Keeper):
    ids = put(keeper, failed(1), failed(2), failed(3, why="Only durable runs can be resumed. Resubmit this one."))
    result = runs("resume", "--state", "Failed", *FAST)
    assert (result.exit_code, started(keeper)) == (0, ids[:2])
    assert [line.split("] ")[1] for line in result.stdout.splitlines()] == [f"{run_id} resumed" for run_id in ids[:2]]
    assert "left out: Only durable runs can be resumed." in result.stderr


WRONG = [
    ((), "which runs? Give the id of one, or a state"),
    (("--workflow", "payroll"), "which runs?"),
    ((new_id(), "--state", "Failed"), "exclude each other"),
    ((new_id(), "--dry-run"), "exclude each other"),
    (("--state", "Failed", "--rate", "fast"), "--rate fast: not a rate. Write it like 5/second"),
    (("--state", "Failed", "--rate", "0/second"), "--rate 0/second:"),
]


@pytest.mark.parametrize("command", ["resubmit", "resume"])
@pytest.mark.parametrize(("options", "said"), WRONG)
def test_options_that_do_not_fit_are_an_error(
    runs: Postern, keeper: Keeper, command: str, options: tuple[str, ...], said: str
):
    result = runs(command, *options)
    assert (result.exit_code, keeper.requests) == (2, [])
    assert said in result.stderr


@pytest.mark.anyio
async def test_the_rate_is_kept_by_the_clock_and_a_slow_server_is_not_caught_up_with() -> None:
    now = [100.0]
    took = iter([0.0, 0.0, 1.0, 0.0])
    times = []

    class Server:
        async def attempt(self, *_: Any, **__: Any) -> Any:
            times.append(round(now[0] - 100, 3))
            now[0] += next(took)
            return Reply(201, {}, {"id": "new"})

    async def sleep(seconds: float) -> None:
        now[0] += seconds

    plan = Plan([run_record() for _ in range(4)])
    action = Action("resubmit", "Resubmit", "resubmitted", lambda _: {})
    server: Any = Server()
    await carry_out(server, plan, action, Rate(5, 1), Progress(), lambda _: None, lambda: now[0], sleep)
    assert times == [0.0, 0.2, 0.4, 1.4]
