"""`postern runs follow`: runs as they come, and the end of one."""

from typing import Any

import pytest

from postern.cli import follow as following
from postern.ids import new_id
from tests.cli.conftest import Postern
from tests.cli.keeper import Keeper, run_record
from tests.cli.test_runs import ids

pytestmark = pytest.mark.slow


@pytest.fixture
def follow(postern: Postern, keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> Postern:
    """The command, with short intervals: `follow ARGUMENTS …`."""
    monkeypatch.setattr(following, "INTERVAL", 0.01)
    return lambda *arguments, **more: postern("runs", "follow", *arguments, **{**keeper.environ, **more})


@pytest.fixture
def then(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Do each of these things between two looks; afterwards, the time is over or Ctrl-C comes."""

    def plan(*things: Any, last: Any = None) -> None:
        left = list(things)

        async def pause(_: float) -> bool:
            if left:
                left.pop(0)()
                return True
            if last is not None:
                raise last
            return False

        monkeypatch.setattr(following, "_pause", pause)

    return plan


def at(second: int, **members: Any) -> dict[str, Any]:
    return run_record(started_at=f"2026-01-31T10:00:{second:02}.000Z", **members)


def test_each_new_run_is_shown_once_in_order(follow: Postern, keeper: Keeper, then: Any):
    """Also one that started before the newest that is known, and was recorded after it."""
    keeper.runs = [at(1)]
    new = [at(10), at(12), at(11), at(20)]
    then(
        lambda: keeper.runs.insert(0, new[0]),
        lambda: keeper.runs.insert(0, new[1]),
        lambda: keeper.runs.insert(1, new[2]),
        lambda: None,
        lambda: keeper.runs.insert(0, new[3]),
    )
    result = follow()
    assert (result.exit_code, ids(result.stdout)) == (0, [run["id"] for run in new])
    assert keeper.requests[-1][1]["since"] == "2026-01-31T10:00:07.000Z"


def test_the_first_run_of_all_is_new(follow: Postern, keeper: Keeper, then: Any):
    then(lambda: None, lambda: keeper.runs.insert(0, at(1)))
    assert len(ids(follow().stdout)) == 1


def test_more_new_runs_than_are_shown_are_reported(
    follow: Postern, keeper: Keeper, then: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(following, "_AT_MOST", 2)
    keeper.runs = [at(1)]
    then(lambda: keeper.runs.__setitem__(slice(0, 0), [at(4), at(3), at(2)]))
    result = follow()
    assert ids(result.stdout) == [keeper.runs[1]["id"], keeper.runs[0]["id"]]
    assert "More than 2 new runs" in result.stderr


def test_only_those_of_a_workflow_or_caller_when_that_is_said(follow: Postern, keeper: Keeper, then: Any):
    other = at(3, workflow="hello")
    then(lambda: keeper.runs.extend([other, at(2)]))
    assert ids(follow("--workflow", "hello").stdout) == [other["id"]]


def test_ctrl_c_ends_it_in_peace(follow: Postern, keeper: Keeper, then: Any):
    then(lambda: keeper.runs.insert(0, at(1)), last=KeyboardInterrupt())
    result = follow()
    assert (result.exit_code, len(ids(result.stdout))) == (0, 1)


def test_it_ends_when_the_time_is_over(follow: Postern):
    assert follow("--for", "0.05").exit_code == 0


@pytest.mark.parametrize(("end", "exit_code"), [("Succeeded", 0), ("Failed", 1), ("Interrupted", 1)])
def test_a_run_is_shown_when_it_has_ended(follow: Postern, keeper: Keeper, then: Any, end: str, exit_code: int):
    run = run_record(state="Running", status=None, ended_at=None, duration_ms=None)
    keeper.runs = [run]
    then(lambda: None, lambda: run.update(state=end))
    result = follow(run["id"])
    assert (result.exit_code, f"state               {end}" in result.stdout) == (exit_code, True)
    assert len(keeper.requests) == 3


def test_a_run_that_does_not_end_in_time_is_reported(follow: Postern, keeper: Keeper):
    keeper.runs = [run_record(state="Running", status=None, ended_at=None, duration_ms=None)]
    result = follow(keeper.runs[0]["id"], "--for", "0.02")
    assert (result.exit_code, "Running" in result.stdout) == (1, True)
    assert "the run has not ended within 0.02 seconds" in result.stderr


def test_filters_are_for_new_runs(follow: Postern):
    assert follow(new_id(), "--workflow", "hello").exit_code == 2


def test_a_token_that_is_read_is_read_once(follow: Postern, keeper: Keeper, then: Any):
    then(lambda: None, lambda: None)
    assert follow("--token-file", "-", stdin=keeper.tenant.token("ada")).exit_code == 0
    assert len(keeper.requests) == 3
