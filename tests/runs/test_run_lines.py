"""The lines of runs on their way to the journal: with the run's end, in between while it goes on, and never twice."""

import asyncio
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import Connection

from postern import Caller, Request, workflow
from postern.access import ANYONE
from postern.journal.run import Run
from postern.journal.run_logs import MOST_LINES, Lines, add_lines
from postern.journal.storage import Growth
from postern.journal.writing.queue import CROWDED_BYTES, Queue
from postern.logs import Said, Source
from postern.runs import run_lines
from postern.runs.run_lines import MOST_OF_A_LINE, RunLines

pytestmark = pytest.mark.anyio


class Journal:
    """What is written."""

    def __init__(self) -> None:
        self.growth = Growth()
        self.queue = Queue()
        self.written: list[Lines] = []

    def write_soon(self, operation: Callable[[Connection], object]) -> None:
        assert isinstance(operation, partial)
        assert operation.func is add_lines
        self.written.append(operation.keywords["lines"])

    @property
    def texts(self) -> list[str]:
        return [line.text for each in self.written for line in each.kept]


class Here:
    """Runs of this process, and their lines."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.runs: dict[str, Run] = {}
        self.lines = RunLines(self.runs.get, self.journal)
        self.lines.open()

    def begin(self, run_id: str = "run-1", caller: Caller = ANYONE, **options: Any) -> Run:
        made = workflow(**options)(hello)
        run = self.runs[run_id] = Run(run_id, made, caller, Request("POST", "/triggers/hello"), 1.0)
        return run

    def say(self, text: str = "", run_id: str = "run-1", hidden: int = 0) -> None:
        self.lines.take(run_id, Said(2.0, Source.STDOUT, text, hidden=hidden))

    def end(self, run: Run) -> None:
        del self.runs[run.id]
        run.ended_at = 3.0
        self.lines.ended(run)


async def hello(ctx: Any) -> None:
    """A workflow."""


@pytest.fixture
async def here() -> Here:
    return Here()


async def test_a_run_without_lines_leaves_nothing(here: Here):
    here.end(here.begin())
    assert (here.journal.written, here.lines.waiting) == ([], {})


async def test_lines_are_written_before_the_end_of_their_run_and_none_afterwards(here: Here):
    run = here.begin()
    here.say("a\nb")
    here.say("c")
    here.end(run)
    here.say("late")
    assert here.journal.texts == ["a", "b", "c"]
    assert here.journal.written[0][:3] == ("run-1", 1, 1)
    assert here.lines.waiting == {}


async def test_lines_of_a_run_that_goes_on_are_written_in_between(here: Here, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run_lines, "WRITE_EVERY", 0.0)
    run = here.begin()
    for text in ("a", "b"):
        thread = Thread(target=here.say, args=(text,))
        thread.start()
        thread.join()
        while text not in here.journal.texts:
            await asyncio.sleep(0)
    here.end(run)
    assert [(each.number, len(each.kept)) for each in here.journal.written] == [(1, 1), (2, 1)]


async def test_lines_of_a_run_that_left_without_an_end_are_not_forgotten(here: Here, monkeypatch: pytest.MonkeyPatch):
    """The server has interrupted it."""
    monkeypatch.setattr(run_lines, "WRITE_EVERY", 0.0)
    here.begin()
    here.say("a")
    here.runs.clear()
    while here.lines.waiting:
        await asyncio.sleep(0)
    assert here.journal.texts == ["a"]


async def test_what_is_too_much_is_counted(here: Here):
    run = here.begin()
    here.say("\n".join(["x"] * (MOST_LINES + 5)))
    here.say("y" * 5)
    here.end(run)
    assert [(len(each.kept), each.left_out) for each in here.journal.written] == [(MOST_LINES, 6)]


async def test_a_long_line_is_cut_with_a_mark(here: Here):
    run = here.begin()
    here.say("x" * (MOST_OF_A_LINE + 1234))
    here.end(run)
    assert here.journal.texts == [f"{'x' * MOST_OF_A_LINE}… (1,234 characters left out)"]


async def test_of_secured_workflows_there_is_a_count_only(here: Here):
    run = here.begin(secure_inputs=True)
    here.say(hidden=2)
    here.say(hidden=1)
    here.end(run)
    assert [(each.kept, each.left_out, each.secured) for each in here.journal.written] == [((), 0, 3)]


async def test_a_stateless_run_and_one_of_another_process_keep_nothing(here: Here):
    run = here.begin(stateless=True)
    here.say("a")
    here.say("b", "run-2")
    here.end(run)
    assert here.journal.written == []


async def test_while_the_journal_is_crowded_lines_are_only_counted(here: Here):
    run = here.begin()
    here.journal.queue.bytes = CROWDED_BYTES + 1
    here.say("a\nb")
    here.end(run)
    assert [(each.kept, each.left_out) for each in here.journal.written] == [((), 2)]


@pytest.mark.parametrize(
    ("caller", "workflow_of_row"), [(ANYONE, "hello"), (Caller("user", "ada", "tenant"), "")], ids=["anonymous", "ada"]
)
async def test_lines_of_anonymous_callers_count_in_their_storage(here: Here, caller: Caller, workflow_of_row: str):
    run = here.begin(caller=caller)
    here.say("abc")
    here.end(run)
    assert here.journal.written[0].workflow == workflow_of_row
    assert (here.journal.growth.runs > 0) is bool(workflow_of_row)


async def test_code_of_a_durable_run_that_runs_again_says_nothing_twice(here: Here):
    """What it says before a checkpoint that is read was said before; from a new one on, all of it is kept."""
    run = here.begin()
    here.say("begins")
    here.lines.fresh("run-1")
    here.say("waits")
    here.lines.left("run-1", run)
    here.lines.begins("run-1", 2)
    here.say("begins")
    here.lines.again("run-1")
    here.say("waits")
    here.lines.again("run-1")
    here.say("goes on")
    here.lines.fresh("run-1")
    here.say("in a step")
    here.lines.again("run-1")
    here.end(run)
    assert here.journal.texts == ["begins", "waits", "goes on", "in a step"]
    assert [each.attempt for each in here.journal.written] == [1, 2]


async def test_lines_wait_while_it_is_not_known_whether_they_are_new(here: Here, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run_lines, "WRITE_EVERY", 0.0)
    run = here.begin()
    here.lines.begins("run-1", 2)
    here.say("perhaps again")
    for _ in range(5):
        await asyncio.sleep(0)
    assert here.journal.written == []
    here.end(run)
    assert here.journal.texts == ["perhaps again"]
