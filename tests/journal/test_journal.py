"""Runs are on disk before their replies are sent, with any fault of the database."""

import asyncio
import sqlite3
import stat
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import Connection, select, text

from postern import Caller, Problem, Request, Workflow, workflow
from postern.access import ANYONE
from postern.authoring.call_result import Call
from postern.errors import DatabaseFault
from postern.ids import new_id
from postern.journal import migrations
from postern.journal.database.engine import check_database, migrate, open_engine
from postern.journal.database.revisions import HEAD, MIGRATIONS
from postern.journal.journal import LONGEST_TICK, Journal
from postern.journal.reading.queries import request_cancel
from postern.journal.run import MOVES, Attempt, Outcome, Run, State, Step
from postern.journal.schema import metadata, runs, steps
from postern.journal.shares import ANONYMOUS
from postern.journal.writing.pending import Operation
from postern.journal.writing.rows import facts, run_row
from postern.journal.writing.statements import write_runs
from tests.journal.operations import delete_and_fail, die, execute, scalar
from tests.table import table

pytestmark = [pytest.mark.anyio, pytest.mark.process]

NODE = "INSERT INTO nodes VALUES ('x', 'm', 'p', 1.0, 1)"
JSON = ((b"content-type", b"application/json"),)


@workflow
async def greet(ctx) -> None: ...


def started(of: Workflow = greet, body: bytes = b'{"a":1}', caller: Caller = ANYONE) -> Run:
    request = Request("POST", f"/triggers/{of.name}", client_address="192.0.2.1", body=body)
    request.content_type = "application/json"
    return Run(new_id(), of, caller, request, time.time())


def ended(run: Run, state: State = State.SUCCEEDED, status: int = 200, content: bytes = b'{"b":2}') -> Run:
    run.outcome = Outcome(state, status, content, JSON)
    run.ended_at = run.started_at + 0.5
    return run


@asynccontextmanager
async def opened(url: str, patience: float = 5.0) -> AsyncIterator[Journal]:
    journal = Journal(url, patience=patience)
    await journal.open()
    try:
        yield journal
    finally:
        await journal.aclose()


async def idle(journal: Journal) -> None:
    """Until the journal does not wake any more."""
    async with asyncio.timeout(10):
        while journal._ticks.timer is not None:
            await asyncio.sleep(0.005)


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/var/runs.db"


async def record(journal: Journal, run_id: str) -> dict[str, Any]:
    def query(connection: Connection) -> dict[str, Any]:
        row = connection.execute(select(runs).where(runs.c.id == run_id)).mappings().one_or_none()
        return dict(row) if row else {}

    return await journal.read(query)


async def test_a_run_that_has_ended_is_one_row_with_all_that_the_record_has(url):
    async with opened(url) as journal:
        caller = Caller("user", object_id="o", tenant_id="t", client_id="c", name="Ada")
        run = started(caller=caller)
        journal.begin(run)
        await journal.end(ended(run))
        found = await record(journal, run.id)
    assert found["workflow"] == "greet"
    assert (found["state"], found["status"], found["inputs"], found["outputs"]) == (
        "Succeeded",
        200,
        '{"a":1}',
        '{"b":2}',
    )
    assert (found["object_id"], found["tenant_id"], found["client_id"], found["caller_name"]) == ("o", "t", "c", "Ada")
    assert (found["started_at"], found["ended_at"]) == (run.started_at, run.ended_at)
    assert found["node"] == journal.node


async def test_a_run_that_goes_on_is_on_record_as_running_and_then_as_it_ended(url):
    async with opened(url) as journal:
        run = started()
        journal.begin(run)
        while not (found := await record(journal, run.id)):
            await asyncio.sleep(0)
        assert (found["state"], found["ended_at"], found["outputs"]) == ("Running", None, None)
        await journal.end(ended(run, State.FAILED, 500, b"{}"))
        assert (await record(journal, run.id))["state"] == "Failed"


async def test_many_runs_that_end_together_are_few_commits(url):
    async with opened(url) as journal:
        many = [started() for _ in range(300)]
        for run in many:
            journal.begin(run)
        await asyncio.gather(*(journal.end(ended(run)) for run in many))
        assert await journal.read(lambda c: c.execute(text("SELECT count(*) FROM runs")).scalar()) == 300


@pytest.mark.parametrize("after", [State.SUCCEEDED, State.FAILED, State.CANCELLED, State.TIMED_OUT, State.INTERRUPTED])
def test_a_record_makes_legal_moves_only(url, after):
    engine = open_engine(url, writing=True)
    migrate(engine)
    with engine.begin() as connection:
        for before in State:
            run = ended(started())
            write_runs(connection, [run_row(facts(run), "node")])
            connection.execute(runs.update().where(runs.c.id == run.id).values(state=before.value))
            write_runs(connection, [run_row(facts(ended(run, after, 500)), "node")])
            found = connection.execute(select(runs.c.state).where(runs.c.id == run.id)).scalar()
            assert found == (after if after in MOVES[before] else before), before
    engine.dispose()


@pytest.mark.parametrize(("requested", "here", "kept"), [("a", "", "a"), ("", "b", "b"), ("a", "b", "a"), ("", "", "")])
def test_who_asked_first_to_cancel_stays_on_the_record(url, requested, here, kept):
    """By another process, which has recorded it with the request, or by the run's own."""
    engine = open_engine(url, writing=True)
    migrate(engine)
    run = started()
    with engine.begin() as connection:
        write_runs(connection, [run_row(facts(run), "node")])
        if requested:
            assert request_cancel(connection, run.id, 1.0, requested)
        run.cancelled_by = here
        write_runs(connection, [run_row(facts(ended(run, State.CANCELLED, 409)), "node")])
        found = connection.execute(select(runs.c.cancelled_by).where(runs.c.id == run.id)).scalar()
    engine.dispose()
    assert (found or "") == kept


async def test_a_batch_that_is_written_twice_changes_nothing(url):
    async with opened(url) as journal:
        run = started()
        await journal.end(ended(run))
        first = await record(journal, run.id)
        await journal.end(ended(run, State.FAILED, 500, b"other"))
        assert await record(journal, run.id) == first


async def test_steps_are_on_record_with_their_attempts(url):
    async with opened(url) as journal:
        run = started()
        journal.begin(run)
        journal.note_step(run.id, Step(1, "fetch", True, [Attempt(1.0, 2.0, "ReadTimeout"), Attempt(3.0, 4.0)]))
        await journal.end(ended(run))
        found = await journal.read(lambda c: c.execute(select(steps)).one())
    assert found == (run.id, 1, "fetch", 1, '[[1.0, 2.0, "ReadTimeout"], [3.0, 4.0, ""]]')


async def test_what_an_operation_does_is_committed_when_it_returns_and_its_error_is_its_own(url):
    async with opened(url) as journal:
        run = started()
        journal.begin(run)
        await journal.end(ended(run))

        with pytest.raises(RuntimeError, match="LookupError"):
            await journal.write(delete_and_fail)
        assert await record(journal, run.id)
        assert await journal.write(partial(execute, statement="DELETE FROM runs")) == 1


async def test_a_row_that_cannot_be_written_takes_no_other_with_it(url):
    async with opened(url) as journal:
        await journal.write(partial(execute, statement="CREATE UNIQUE INDEX one ON runs(client_address)"))
        first, second = started(), started()
        second.request.client_address = "192.0.2.2"
        third = started()
        results = await asyncio.gather(
            *(journal.end(ended(run)) for run in (first, second, third)), return_exceptions=True
        )
        assert results[1] is None
        assert await record(journal, second.id)
        lost, kept = (first, third) if results[0] is not None else (third, first)
        assert {type(results[0]), type(results[2])} == {Problem, type(None)}
        assert await record(journal, kept.id)
        assert not await record(journal, lost.id)


async def test_while_the_database_is_away_nothing_starts_and_what_had_started_is_written_afterwards(file_url, tmp_path):
    async with opened(file_url) as journal:
        run, other = started(), started()
        journal.begin(run)
        holder = sqlite3.connect(tmp_path / "var" / "runs.db", isolation_level=None)
        await journal.write(partial(scalar, statement="PRAGMA busy_timeout = 20"))
        journal._patience = 0.2
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(Problem) as caught:
            await journal.end(ended(run))
        assert (caught.value.code, caught.value.headers["Retry-After"]) == ("journal-unavailable", "2")
        with pytest.raises(Problem):
            journal.begin(other)
        with pytest.raises(Problem):
            await journal.write(partial(scalar, statement="SELECT 1"))
        holder.execute("ROLLBACK")
        holder.close()
        journal._patience = 5.0
        while not journal.available:
            await asyncio.sleep(0.01)
        await journal.write(partial(scalar, statement="SELECT 1"))  # with what was queued, or after it
        assert (await record(journal, run.id))["state"] == "Succeeded"
        journal.begin(other)
        await journal.end(ended(other))


@pytest.mark.parametrize(("ticks", "available"), [([60.0], True), ([0.02, 60.0, 0.02], True), ([0.02] * 300, False)])
async def test_an_event_loop_that_was_held_up_is_no_sign_of_a_database_that_is_away(
    ticks, available, file_url, monkeypatch
):
    """The clock of the ticks; each of them finds the same batch unanswered."""
    clock = iter(accumulate(ticks, initial=1000.0))
    async with opened(file_url) as journal:
        monkeypatch.setattr("postern.journal.journal.monotonic", lambda: next(clock))
        with monkeypatch.context() as patch:
            patch.setattr(journal._writer, "send", lambda data: None)
            journal._ticks.stop()
            written = journal.end(ended(started()))
            journal._submit()
            for _ in ticks:
                journal._tick()
        assert journal.available is available
        monkeypatch.setattr("postern.journal.journal.monotonic", time.monotonic)
        journal._writer.send(journal._sent.data)  # type: ignore[union-attr]
        if available:
            await written
        else:
            with pytest.raises(Problem):
                await written


@pytest.mark.usefixtures("own_writers")
async def test_a_writer_that_takes_its_time_to_start_is_no_sign_of_a_database_that_is_away(file_url, monkeypatch):
    """A run that a server takes just after its start waits for the writer's first word longer than PATIENCE."""
    journal = Journal(file_url)
    heard: list[object] = []
    listen = journal._on_message
    journal._writer._received = heard.append
    await journal.start()
    journal._ticks.stop()
    clock = accumulate([LONGEST_TICK] * 60, initial=1000.0)
    monkeypatch.setattr("postern.journal.journal.monotonic", lambda: next(clock))
    written = journal.end(ended(started()))
    journal._submit()
    for _ in range(55):  # 5.5 s
        journal._tick()
    monkeypatch.setattr("postern.journal.journal.monotonic", time.monotonic)
    assert journal.available
    while not heard:
        await asyncio.sleep(0.01)
    journal._writer._received = listen
    listen(heard[0])
    journal._tick()
    await written
    await journal.aclose()


@pytest.mark.parametrize("slow", [False, True])
async def test_nothing_reads_from_tables_that_are_not_there_yet(slow, file_url, monkeypatch):
    """The server's own reads wait for a slow start without an error in the log. A caller's read waits, too."""
    with structlog.testing.capture_logs() as logged:
        journal = Journal(file_url, patience=0.01)
        heard: list[object] = []
        listen = journal._on_message
        journal._writer._received = heard.append
        await journal.start()
        try:
            count = partial(scalar, statement="SELECT count(*) FROM runs")
            reads = [asyncio.create_task(journal.read(count, caller)) for caller in (None, (ANONYMOUS, "192.0.2.1"))]
            await asyncio.sleep(0)
            if slow:
                written = journal.end(ended(started()))
                monkeypatch.setattr("postern.journal.journal.START_SECONDS", 0.0)
                with pytest.raises(Problem):
                    await written
            while not heard:
                await asyncio.sleep(0.01)
            assert not any(read.done() for read in reads)
            journal._patience = 60.0
            journal._writer._received = listen
            listen(heard[0])
            assert set(await asyncio.gather(*reads)) <= {0, 1}, "the run may be written between the two reads"
        finally:
            await journal.aclose()
    assert [line["log_level"] for line in logged if line["event"] == "journal-unavailable"] == ["warning"] * slow


async def test_tables_that_are_there_already_are_read_before_the_writer_has_opened_the_database(url):
    async with opened(url):
        pass
    journal = Journal(url, readable=check_database(url))
    journal._writer._received = lambda _message: None
    await journal.start()
    try:
        assert await journal.read(partial(scalar, statement="SELECT count(*) FROM runs")) == 0
        assert journal._is_opening
    finally:
        await journal.aclose()


@table("late", [False, True])
async def test_what_is_committed_for_a_task_that_is_cancelled_is_undone(file_url, monkeypatch, late):
    """Cancelled while it waits for its result, or when it was set and the task has not woken."""
    settle = Operation.settle
    async with opened(file_url) as journal:
        inserted, deleted = partial(execute, statement=NODE), partial(execute, statement="DELETE FROM nodes")
        writing = asyncio.create_task(journal.write(inserted, deleted))

        def settled(operation: Operation, result: Any, error: Exception | None) -> Any:
            if not late:
                writing.cancel()
            undo = settle(operation, result, error)
            if late:
                writing.cancel()
            return undo

        with monkeypatch.context() as patched:
            patched.setattr(Operation, "settle", settled)
            await asyncio.wait([writing])
        assert writing.cancelled()
        await journal.write(partial(scalar, statement="SELECT 1"))
        assert await journal.read(partial(scalar, statement="SELECT count(*) FROM nodes")) == 0


async def test_what_was_given_up_and_is_committed_all_the_same_is_undone(file_url, tmp_path):
    async with opened(file_url) as journal:
        await journal.end(ended(started()))
        await journal.write(partial(scalar, statement="PRAGMA busy_timeout = 20"))
        journal._patience = 0.2
        holder = sqlite3.connect(tmp_path / "var" / "runs.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(Problem):
            await journal.write(partial(execute, statement=NODE), partial(execute, statement="DELETE FROM nodes"))
        holder.execute("ROLLBACK")
        holder.close()
        journal._patience = 5.0
        while not journal.available:
            await asyncio.sleep(0.01)
        await journal.write(partial(scalar, statement="SELECT 1"))
        assert await journal.read(lambda c: c.execute(text("SELECT count(*) FROM nodes")).scalar()) == 0


@pytest.mark.usefixtures("own_writers")
async def test_a_writer_that_is_killed_is_followed_by_another_and_no_run_is_lost(url):
    async with opened(url) as journal:
        many = [started() for _ in range(200)]
        results = []
        for number, run in enumerate(many):
            journal.begin(run)
            results.append(journal.end(ended(run)))
            if number in (50, 120):
                await asyncio.sleep(0)
                kill_writer(journal)
        await asyncio.gather(*results)
        assert await journal.read(lambda c: c.execute(text("SELECT count(*) FROM runs")).scalar()) == 200


@pytest.mark.usefixtures("own_writers")
async def test_what_each_writer_dies_of_is_given_up_and_the_others_are_written(file_url):
    async with opened(file_url, patience=30.0) as journal:
        with pytest.raises(Problem) as caught:
            await journal.write(die)
        assert caught.value.code == "internal-error"
        run = started()
        await journal.end(ended(run))
        assert await record(journal, run.id)


def kill_writer(journal: Journal) -> None:
    process = journal._writer._link._process  # type: ignore[union-attr]
    assert process is not None
    process.kill()


@pytest.mark.usefixtures("own_writers")
async def test_the_writer_ends_with_the_journal(url):
    async with opened(url) as journal:
        process = journal._writer._link._process  # type: ignore[union-attr]
        assert process is not None
        assert process.poll() is None
    assert process.returncode == 0


async def test_the_file_is_for_its_owner_only(file_url, tmp_path):
    async with opened(file_url) as journal:
        await journal.end(ended(started()))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "var").iterdir()}
    assert set(modes) >= {"runs.db", "runs.db-wal", "runs.db-shm"}
    assert set(modes.values()) == {0o600}


async def test_commits_are_on_disk_and_readers_do_not_wait(file_url):
    async with opened(file_url) as journal:
        assert await journal.write(partial(scalar, statement="PRAGMA synchronous")) == 2  # FULL
        assert await journal.read(lambda c: c.execute(text("PRAGMA journal_mode")).scalar()) == "wal"


def test_migrations_make_the_tables_that_the_program_knows(new_database_url):
    url = new_database_url
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    engine = open_engine(url, writing=True)
    migrate(engine)
    migrate(engine)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == HEAD
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert differences == []


def test_the_program_knows_every_migration_that_is_there():
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    there = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(there)) == MIGRATIONS


async def test_a_database_of_a_newer_program_is_rejected(url):
    engine = open_engine(url, writing=True)
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(DatabaseFault, match="newer Postern"):
        check_database(url)
    journal = Journal(url)
    with pytest.raises(DatabaseFault, match="newer Postern"):
        await journal.open()
    await journal.aclose()


@pytest.mark.parametrize("wrong", ["sqlite://", "sqlite:///:memory:", "sqlite:////proc/nothing/x.db"])
def test_a_database_that_cannot_be_had_is_said_by_the_name_of_its_setting(wrong):
    with pytest.raises(DatabaseFault, match="POSTERN_DATABASE_URL"):
        open_engine(wrong, writing=True)


async def test_an_idle_journal_does_not_wake(file_url):
    async with opened(file_url) as journal:
        await idle(journal)
        journal.begin(run := started())
        assert journal._ticks.timer is not None
        await journal.end(ended(run))
        await idle(journal)


@pytest.mark.parametrize("what", ["begin", "step", "call", "write soon"])
async def test_what_waits_for_the_next_tick_wakes_an_idle_journal(what, file_url):
    async with opened(file_url) as journal:
        journal.begin(run := started())
        await journal.write(partial(scalar, statement="SELECT 1"))
        await idle(journal)
        match what:
            case "begin":
                journal.begin(other := started())
            case "step":
                journal.note_step(run.id, Step(1, "fetch", succeeded=True, attempts=[]))
            case "call":
                journal.note_call(run.id, Call(1, None, "fetch", time.time()))
            case "write soon":
                journal.write_soon(partial(scalar, statement="SELECT 1"))
        assert journal.queue.waits
        await idle(journal)
        assert not journal.queue.waits
        if what == "begin":
            assert (await record(journal, other.id))["state"] == "Running"
            await journal.end(ended(other))
        await journal.end(ended(run))
