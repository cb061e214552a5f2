"""`postern runs logs`: the lines of a run, once or until it has ended."""

from typing import Any

import pytest

from postern.cli import run_logs
from postern.ids import new_id
from tests.cli.conftest import Postern
from tests.cli.keeper import Keeper

PRINTED = {"at": "2026-01-31T10:00:00.123Z", "attempt": 1, "source": "stdout", "level": None, "logger": None}
LOGGED = PRINTED | {"source": "log", "level": "warning", "logger": "of.mine"}
HOSTILE = "\x1b[2J[red]:smile: \u202e"


@pytest.fixture
def runs(postern: Postern, keeper: Keeper) -> Postern:
    """The command beside a server: `runs ARGUMENTS …`."""
    return lambda *arguments, **more: postern("runs", *arguments, **{**keeper.environ, **more})


def log(*lines: dict[str, Any], state: str = "Succeeded", left_out: int = 0, secured: int = 0) -> dict[str, Any]:
    count = len(lines) + left_out + secured
    return {"state": state, "lines": list(lines), "count": count, "left_out": left_out, "secured": secured}


def test_each_line_has_its_time_and_its_source_or_its_level_and_logger(runs: Postern, keeper: Keeper):
    run_id = new_id()
    keeper.logs = [log(PRINTED | {"text": "3 seats"}, LOGGED | {"text": "twice"})]
    result = runs("logs", run_id)
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["2026-01-31", "10:00:00.123Z", "stdout", "3", "seats"],
        ["2026-01-31", "10:00:00.123Z", "warning", "of.mine", "twice"],
    ]
    assert (result.exit_code, result.stderr) == (0, "")
    assert keeper.requests[-1][0] == f"GET /runs/{run_id}/logs"


def test_follow_shows_each_line_once_until_the_run_has_ended(
    runs: Postern, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run_logs, "INTERVAL", 0.0)
    first, second = PRINTED | {"text": "first"}, PRINTED | {"text": "second"}
    keeper.logs = [log(first, state="Running"), log(first, second, state="Waiting"), log(first, second, left_out=7)]
    result = runs("logs", new_id(), "--follow")
    assert [line.split()[-1] for line in result.stdout.splitlines()] == ["first", "second"]
    assert result.stderr == "7 more lines are not recorded: a run keeps the first 1,000 lines and 64 KiB.\n"


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (log(), "The run has printed and logged nothing."),
        (log(secured=1200), "1,200 lines are not recorded: the workflow has secure_inputs or secure_outputs."),
    ],
)
def test_where_there_are_no_lines_it_says_why(runs: Postern, keeper: Keeper, found: dict[str, Any], says: str):
    keeper.logs = [found]
    result = runs("logs", new_id())
    assert (result.stdout, result.stderr) == ("", f"{says}\n")


def test_json_is_the_servers_response_and_does_not_follow(runs: Postern, keeper: Keeper):
    keeper.logs = [log(PRINTED | {"text": HOSTILE})]
    result = runs("logs", new_id(), "--json")
    assert '"source": "stdout"' in result.stdout
    assert "\x1b" not in result.stdout
    assert runs("logs", new_id(), "--json", "--follow").exit_code == 2


def test_what_a_run_printed_controls_no_terminal(runs: Postern, keeper: Keeper):
    keeper.logs = [log(PRINTED | {"text": HOSTILE}, LOGGED | {"logger": HOSTILE, "level": HOSTILE, "text": ""})]
    shown = runs("logs", new_id()).stdout
    assert shown.count("\\x1b[2J[red]:smile: \\u202e") == 3
    assert not {"\x1b", "\u202e"} & set(shown)


def test_it_is_for_operators(runs: Postern, keeper: Keeper):
    keeper.logs = [log(PRINTED | {"text": "3 seats"})]
    result = runs("logs", new_id(), "--as", "lisa")
    assert result.exit_code == 1
    assert "3 seats" not in result.stdout + result.stderr
