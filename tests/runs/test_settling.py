"""A run's end and the reply of its key are one transaction, also if the database fails."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

from postern import Problem, Request
from postern.access import ANYONE
from postern.ids import new_id
from postern.journal.journal import Journal
from postern.journal.run import Run
from postern.runs.idempotency import REPLAYED
from postern.runs.runner import Runner
from tests.journal.operations import scalar
from tests.runs.waiting import KEY, Gate, opened, runner_of, waits

pytestmark = [pytest.mark.anyio, pytest.mark.process]


@pytest.fixture
async def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Journal]:
    async with opened(f"sqlite:///{tmp_path}/runs.db", tmp_path, monkeypatch) as journal:
        await journal.write(partial(scalar, statement="PRAGMA busy_timeout = 20"))
        journal._patience = 0.5  # not before: to start takes longer on a busy machine
        yield journal


@pytest.fixture
def runner(journal: Journal) -> Runner:
    return runner_of(journal)


def call(runner: Runner) -> asyncio.Task[Run]:
    return asyncio.create_task(runner.start(waits, ANYONE, Request("POST", "/triggers/waits"), {}, new_id(), KEY))


async def until_claimed(journal: Journal) -> None:
    while not await journal.read(lambda c: c.execute(text("SELECT count(*) FROM idempotency_keys")).scalar()):
        await asyncio.sleep(0)
    while journal._sent is not None:  # on a busy machine the row is there before the writer's answer is
        await asyncio.sleep(0)


async def test_a_run_with_a_key_is_two_commits(journal, runner):
    before = journal.batches.sizes.count
    running = call(runner)
    await until_claimed(journal)
    Gate.event.set()
    await running
    assert journal.batches.sizes.count == before + 2


@contextmanager
def outage(folder: Path) -> Iterator[None]:
    """No write succeeds while the block runs."""
    with closing(sqlite3.connect(folder / "runs.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        yield


async def ends_in_vain(running: asyncio.Task[Run]) -> None:
    """Its caller learns that it has run, and by the id under which its outcome will be found."""
    Gate.event.set()
    with pytest.raises(Problem, match="The run has ended") as caught:
        await running
    assert (caught.value.code, caught.value.headers["Retry-After"]) == ("journal-unavailable", "2")
    assert caught.value.headers["X-Run-Id"] == caught.value.members["run_id"]


async def assert_replayed(journal: Journal, runner: Runner) -> None:
    while not journal.available:
        await asyncio.sleep(0.01)
    again = await call(runner)
    assert (again.outcome.content, again.outcome.headers[-1]) == (b"7", REPLAYED)


async def test_a_run_that_ends_in_an_outage_has_its_reply_afterwards(journal, runner, tmp_path):
    running = call(runner)
    await until_claimed(journal)
    with outage(tmp_path):
        await ends_in_vain(running)
    await assert_replayed(journal, runner)


async def test_so_has_one_that_ends_when_the_outage_is_known_already(journal, runner, tmp_path):
    running = call(runner)
    await until_claimed(journal)
    with outage(tmp_path):
        with pytest.raises(Problem, match="cannot be recorded"):
            await journal.write(partial(scalar, statement="SELECT 1"))
        await ends_in_vain(running)
    await assert_replayed(journal, runner)


async def test_so_has_one_that_ends_behind_a_batch_that_hangs(journal, runner, tmp_path):
    running = call(runner)
    await until_claimed(journal)
    with outage(tmp_path):
        first = asyncio.create_task(journal.write(partial(scalar, statement="SELECT 1")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await ends_in_vain(running)
        with pytest.raises(Problem, match="cannot be recorded"):
            await first
    await assert_replayed(journal, runner)


async def test_without_a_key_nobody_is_asked_to_repeat_a_run_that_has_ended(journal, runner, tmp_path):
    """It would run again. A run that did not start is another matter."""
    run_id = new_id()
    running = asyncio.create_task(runner.start(waits, ANYONE, Request("POST", "/triggers/waits"), {}, run_id))
    await asyncio.sleep(0)
    with outage(tmp_path):
        Gate.event.set()
        with pytest.raises(Problem) as caught:
            await running
        assert caught.value.headers == {"X-Run-Id": run_id}
        with pytest.raises(Problem) as rejected:
            await runner.start(waits, ANYONE, Request("POST", "/triggers/waits"), {}, new_id())
        assert rejected.value.headers == {"Retry-After": "2"}
    while not journal.available:
        await asyncio.sleep(0.01)
    found = await journal.read(lambda c: c.execute(text("SELECT id, state FROM runs")).all())
    assert list(map(tuple, found)) == [(run_id, "Succeeded")]
