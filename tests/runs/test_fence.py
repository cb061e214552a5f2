"""The end of a run that was interrupted while its process was frozen does not count if its key has another run."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from time import time

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from postern import Problem, Request
from postern.access import ANYONE
from postern.ids import new_id
from postern.journal.idempotency_keys import Claimed
from postern.journal.journal import Journal
from postern.journal.run import Outcome, Run, State
from postern.journal.server_processes import interrupt
from postern.journal.writing.rows import facts
from postern.runs.claims import claim_for_run, record_end
from postern.runs.idempotency import REPLAYED
from postern.runs.runner import Runner
from tests.runs.waiting import KEY, Gate, opened, runner_of, waits

pytestmark = [pytest.mark.anyio, pytest.mark.process]

REQUEST = Request("POST", "/triggers/waits")


@pytest.fixture
async def journal(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Journal]:
    async with opened(database_url, tmp_path, monkeypatch) as journal:
        yield journal


@pytest.fixture
def runner(journal: Journal) -> Runner:
    return runner_of(journal)


async def states(journal: Journal) -> dict[str, str]:
    found = await journal.read(lambda c: c.execute(text("SELECT id, state FROM runs")).all())
    return {row[0]: row[1] for row in found}


async def interrupted(journal: Journal, runner: Runner) -> tuple[str, asyncio.Task[Run]]:
    """A run under way that another process took for dead, and its key for free."""
    run_id = new_id()
    running = asyncio.create_task(runner.start(waits, ANYONE, REQUEST, {}, run_id, KEY))
    while run_id not in await states(journal):
        await asyncio.sleep(0)
    assert await journal.write(partial(interrupt, node_id=journal.node, now=1.0)) == [run_id]
    return run_id, running


async def other_run(journal: Journal) -> Run:
    """Another process claims the key for a run of its own."""
    run = Run(new_id(), waits, ANYONE, REQUEST, time())
    claiming = partial(claim_for_run, key=KEY, run=facts(run), node="other", now=run.started_at)
    assert await journal.write(claiming) == Claimed()
    return run


async def test_a_key_that_nobody_took_is_that_run_s_again(journal, runner):
    run_id, running = await interrupted(journal, runner)
    Gate.event.set()
    assert (await running).outcome.content == b"7"
    assert await states(journal) == {run_id: "Succeeded"}
    again = await runner.start(waits, ANYONE, REQUEST, {}, new_id(), KEY)
    assert (again.id, again.outcome.headers[-1]) == (run_id, REPLAYED)


async def test_the_end_of_a_run_whose_key_has_another_reply_does_not_count(journal, runner):
    """Its caller gets the reply of the key, as every other one that repeats the request."""
    run_id, running = await interrupted(journal, runner)
    other = await other_run(journal)
    other.outcome, other.ended_at = Outcome(State.SUCCEEDED, 200, b"8"), time()
    await record_end(journal, other, KEY)
    with capture_logs() as logs:
        Gate.event.set()
        ended = await running
    assert (ended.id, ended.outcome.content, ended.outcome.headers[-1]) == (other.id, b"8", REPLAYED)
    assert await states(journal) == {run_id: "Interrupted", other.id: "Succeeded"}
    row = await journal.read(
        lambda c: c.execute(text("SELECT status, outputs, ended_at FROM runs WHERE id = :id"), {"id": run_id}).one()
    )
    assert (row.status, row.outputs, row.ended_at is None) == (None, None, False)
    assert [(line["event"], line["run_id"]) for line in logs] == [("run-superseded", run_id)]


async def test_while_the_other_run_goes_on_the_caller_has_to_wait_for_it(journal, runner):
    run_id, running = await interrupted(journal, runner)
    other = await other_run(journal)
    Gate.event.set()
    with pytest.raises(Problem) as caught:
        await running
    assert (caught.value.code, caught.value.headers["X-Run-Id"]) == ("run-in-progress", other.id)
    assert await states(journal) == {run_id: "Interrupted", other.id: "Running"}
