"""Where `breakpoint()` works, and what time means while a debugger holds code. `tests/process/test_breakpoints.py` sits
at a terminal."""

import re
import sys
from contextvars import copy_context
from time import monotonic
from types import ModuleType
from typing import Any

import pytest

from postern.runs import breakpoints, deadlines
from postern.runs.breakpoints import NO_RUN, NO_TERMINAL, ONLY_IN_DEV, VARIABLE, refuse_breakpoints, use_breakpoints
from postern.runs.deadlines import Deadlines
from postern.runs.pauses import DEBUGGERS, Pauses
from postern.trace import RUN


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    """The hook and the pauses are the process's, and the test runner has a hook, too."""
    pauses = Pauses()
    monkeypatch.setattr(breakpoints, "PAUSES", pauses)
    monkeypatch.setattr(sys, "breakpointhook", sys.breakpointhook)
    monkeypatch.delenv(VARIABLE, raising=False)
    for name in DEBUGGERS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    return pauses


def in_a_run(run_id: str | None = "run-1") -> None:
    """Code of a run with a breakpoint."""

    def code() -> None:
        RUN.set((run_id, None) if run_id is not None else None)
        breakpoint()  # noqa: T100 what is tested

    copy_context().run(code)


def test_in_a_server_it_is_an_error_that_says_where_it_works(monkeypatch: pytest.MonkeyPatch):
    refuse_breakpoints()
    with pytest.raises(RuntimeError, match=re.escape(ONLY_IN_DEV)):
        in_a_run()
    monkeypatch.setenv(VARIABLE, "any.debugger")
    with pytest.raises(RuntimeError, match=re.escape(ONLY_IN_DEV)):
        in_a_run()
    monkeypatch.setenv(VARIABLE, "0")
    in_a_run()


@pytest.mark.parametrize(("run_id", "why"), [("run-1", NO_TERMINAL), (None, NO_RUN)])
def test_under_dev_it_needs_a_run_and_a_terminal(monkeypatch: pytest.MonkeyPatch, run_id: str | None, why: str):
    use_breakpoints()
    with pytest.raises(RuntimeError, match=re.escape(why)):
        in_a_run(run_id)


@pytest.mark.parametrize(("module", "variable"), [("pydevd", ""), ("debugpy", ""), ("", "another.debugger")])
def test_the_debugger_of_an_ide_and_that_of_the_variable_keep_their_way(
    monkeypatch: pytest.MonkeyPatch, pauses: Pauses, module: str, variable: str
):
    before = sys.breakpointhook
    if module:
        monkeypatch.setitem(sys.modules, module, ModuleType(module))
    monkeypatch.setenv(VARIABLE, variable)
    use_breakpoints()
    assert sys.breakpointhook is before
    assert pauses.held is bool(module)


def test_runs_have_no_timeout_while_a_debugger_of_an_ide_is_loaded_under_dev_only(
    monkeypatch: pytest.MonkeyPatch, pauses: Pauses
):
    monkeypatch.setitem(sys.modules, "debugpy", ModuleType("debugpy"))
    assert not pauses.held
    pauses.follows = True
    assert pauses.held
    monkeypatch.delitem(sys.modules, "debugpy")
    assert not pauses.held


@pytest.mark.anyio
async def test_no_time_passes_for_runs_while_a_debugger_holds_code(monkeypatch: pytest.MonkeyPatch):
    now = [0.0]
    pauses = Pauses(lambda: now[0])
    monkeypatch.setattr(deadlines, "PAUSES", pauses)
    limits = Deadlines(lambda _: None)
    task: Any = limits.begin(5.0)
    late = monotonic() + 10
    with pauses.holding():
        now[0] = 100.0
        assert limits._over(late) == []
    assert limits._over(late) == []
    assert 100 < limits.left(task) <= 105
    assert limits._over(late) == []  # the pause counts once
    assert limits.left(task) <= 105
    assert limits._over(monotonic() + 106) == [task]
    limits.end(task)
