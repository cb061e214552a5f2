"""A database that answers but does not record is not available: no run starts, and what ran is recorded later."""

import asyncio
import os
import re
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import text

from postern import Problem
from postern.journal.database.engine import open_engine
from postern.journal.database.faults import Cause, Kind
from postern.journal.journal import Journal
from postern.journal.writing import watched_writer, writer_process
from postern.journal.writing.pending import MOST_DEATHS
from postern.journal.writing.watched_writer import Gone
from tests.journal.operations import execute, scalar
from tests.journal.test_journal import ended, opened, record, started

pytestmark = [pytest.mark.anyio, pytest.mark.process]

RENAME = "ALTER TABLE runs RENAME TO renamed"
RENAME_BACK = "ALTER TABLE renamed RENAME TO runs"
REJECT = "ALTER TABLE runs ADD COLUMN x INTEGER DEFAULT 1 CHECK (x <> 1)"
FUNCTION = "CREATE FUNCTION no() RETURNS trigger AS $$ BEGIN RAISE 'no'; END $$ LANGUAGE plpgsql"
TRIGGER = "CREATE TRIGGER no BEFORE INSERT ON runs FOR EACH ROW EXECUTE FUNCTION no()"
FAULTS: dict[str, dict[str, tuple[list[str], list[str]]]] = {
    "a table renamed": dict.fromkeys(("sqlite", "postgresql"), ([RENAME], [RENAME_BACK])),
    "a column renamed": dict.fromkeys(
        ("sqlite", "postgresql"),
        (["ALTER TABLE runs RENAME COLUMN node TO x"], ["ALTER TABLE runs RENAME COLUMN x TO node"]),
    ),
    "each row rejected": {
        "sqlite": ([REJECT], ["ALTER TABLE runs DROP COLUMN x"]),
        "postgresql": ([FUNCTION, TRIGGER], ["DROP TRIGGER no ON runs"]),
    },
    "a column that no row has": {
        "postgresql": (["ALTER TABLE runs ADD x INTEGER NOT NULL"], ["ALTER TABLE runs DROP x"]),
    },
}


@pytest.fixture
def logged() -> Any:
    with structlog.testing.capture_logs() as lines:
        yield lines


def change(url: str, *statements: str) -> None:
    """As an operator does it, beside the server."""
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None) as connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()
        return
    engine = open_engine(url, writing=True)
    with engine.begin() as changing:
        for statement in statements:
            changing.execute(text(statement))
    engine.dispose()


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def deaths(logged: Any) -> list[Any]:
    return [line for line in logged if line["event"] == "journal-writer-died"]


async def refused(journal: Journal) -> Any:
    """A run that ended while it could not be recorded: its caller gets a 503, and no other run starts."""
    run = started()
    journal.begin(run)
    with pytest.raises(Problem) as caught:
        await journal.end(ended(run))
    assert (caught.value.code, journal.available) == ("journal-unavailable", False)
    with pytest.raises(Problem):
        journal.begin(started())
    return run


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_database_that_refuses_every_row_is_not_available_and_the_batch_is_kept(fault, database_url, logged):
    """At once: long before the patience of a minute is at an end."""
    broken, corrected = FAULTS[fault].get(database_url.partition(":")[0], ([], []))
    if not broken:
        return
    async with opened(database_url, patience=60.0) as journal:
        await journal.write(partial(scalar, statement="SELECT 1"))
        change(database_url, *broken)
        run = await refused(journal)
        change(database_url, *corrected)
        await until(lambda: journal.available)
        assert (await record(journal, run.id))["state"] == "Succeeded"
    named = [line for line in logged if line["event"] == "journal-unavailable"]
    assert len(named) == 1
    assert named[0].keys() >= {"error", "cause"}
    assert not [line for line in logged if line["event"] == "rows-lost"]


async def test_a_row_that_is_the_cause_itself_is_lost_alone_and_the_database_stays_available(database_url, logged):
    """Although it is all that its batch has."""
    async with opened(database_url) as journal:
        await journal.write(partial(execute, statement="CREATE UNIQUE INDEX one ON runs(client_address)"))
        await journal.end(ended(started()))
        lost = started()
        with pytest.raises(Problem) as caught:
            await journal.end(ended(lost))
        assert (caught.value.code, journal.available) == ("internal-error", True)
        rows = await journal.read(partial(scalar, statement="SELECT count(*) FROM runs"))
    assert rows == 1  # the row that was tried is not kept either
    line = next(line for line in logged if line["event"] == "rows-lost")
    assert line["ids"] == [lost.id]
    assert re.fullmatch("IntegrityError, SQLITE_CONSTRAINT_UNIQUE, .*|UniqueViolation, 23505", line["causes"][0])


async def test_why_a_read_fails_is_for_the_log_with_its_code(database_url):
    async with opened(database_url) as journal:
        with pytest.raises(Problem) as caught:
            await journal.read(partial(scalar, statement="SELECT 1 FROM gone"))
    reason = caught.value.reason
    assert re.fullmatch("OperationalError, SQLITE_ERROR, no such table: gone|UndefinedTable, 42P01, .*gone.*", reason)


async def test_a_right_that_is_revoked_is_named_with_its_sqlstate(postgres_url, database_url, logged):
    if database_url.startswith("sqlite"):
        return
    engine = open_engine(database_url, writing=True)
    role = f"role_{os.urandom(4).hex()}"
    change(
        database_url,
        f"CREATE ROLE {role}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
    )
    url = engine.url.set(drivername="postgresql").update_query_dict({"options": f"-crole={role}"})
    engine.dispose()
    try:
        async with opened(url.render_as_string(hide_password=False), patience=60.0) as journal:
            change(database_url, f"REVOKE INSERT ON runs FROM {role}")
            run = await refused(journal)
            change(database_url, f"GRANT INSERT ON runs TO {role}")
            await until(lambda: journal.available)
            assert (await record(journal, run.id))["state"] == "Succeeded"
    finally:
        change(database_url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")
    named = next(line for line in logged if line["event"] == "journal-unavailable")
    assert (named["code"], named["cause"]) == ("42501", "permission denied for table runs")
    assert "grant" in named["advice"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "runs.db"


@asynccontextmanager
async def on_file(path: Path, **more: Any) -> AsyncIterator[Journal]:
    journal = Journal(f"sqlite:///{path}", patience=60.0, **more)
    await journal.open()
    try:
        yield journal
    finally:
        journal._patience = 0.1
        await journal.aclose()


@pytest.mark.parametrize("writer", ["goes on", "is killed"])
async def test_a_file_that_is_moved_and_comes_back_loses_nothing(writer, path, logged):
    """Nobody makes another one meanwhile, not even a new writer."""
    async with on_file(path) as journal:
        moved = path.rename(path.with_name("moved.db"))
        if writer == "is killed":
            journal._writer._link.kill()  # type: ignore[union-attr]
            await until(lambda: not journal._writer.is_open)
        run = await refused(journal)
        assert not path.exists()
        moved.rename(path)
        await until(lambda: journal.available)
        assert (await record(journal, run.id))["state"] == "Succeeded"
    named = next(line for line in logged if line["event"] == "journal-unavailable")
    assert named["cause"].startswith(f"{path} was deleted or moved away: ")


@pytest.mark.parametrize("there", [None, "another"])
async def test_a_file_that_was_deleted_or_replaced_records_nothing_more(there, path, logged):
    async with on_file(path) as journal:
        path.unlink()
        if there:
            other = open_engine(f"sqlite:///{path}", writing=True)
            other.dispose()
        await refused(journal)
        if there:
            assert path.stat().st_size == 0  # and nothing is written to it
    words = "is another file" if there else "was deleted"
    assert words in next(line for line in logged if line["event"] == "journal-unavailable")["cause"]


@pytest.mark.parametrize("end", ["-wal", "-shm"])
@pytest.mark.parametrize("linked", [False, True])
async def test_a_log_that_was_deleted_loses_no_run_and_no_other_starts(end, linked, path, logged):
    """Commits are in the log before they are in the file. What it had is in the file before anything ends."""
    if linked:
        path.parent.mkdir()
        (path.parent / "link.db").symlink_to(path)
        path.touch()
    async with on_file(path.with_name("link.db") if linked else path) as journal:
        before = ended(started())
        await journal.end(before)
        assert await record(journal, before.id)  # a reader has the log open too
        path.with_name(f"{path.name}{end}").unlink()
        run = await refused(journal)
        copy = path.with_name("copy.db")  # as it is found if all processes are killed now
        copy.write_bytes(path.read_bytes())
        with closing(sqlite3.connect(copy)) as found:
            assert found.execute("SELECT id FROM runs ORDER BY id").fetchall() == [(before.id,), (run.id,)]
        assert not journal.available
    named = next(line for line in logged if line["event"] == "journal-unavailable")
    assert "stop all servers" in named["cause"]


async def test_a_log_that_sqlite_itself_made_anew_is_its_own(path):
    """The last connection that is closed deletes it."""
    async with on_file(path) as journal:
        await journal.end(ended(started()))
        journal._writer._link.kill()  # type: ignore[union-attr]
        await until(lambda: not journal._writer.is_open)
        with closing(sqlite3.connect(path)) as other:
            other.execute("SELECT count(*) FROM runs").fetchall()
        assert not path.with_name(f"{path.name}-wal").exists()
        await journal.end(ended(started()))


@pytest.mark.usefixtures("own_writers")
@pytest.mark.parametrize("fault", ["does not import", "ends", "cannot be started"])
async def test_a_writer_that_does_not_start_loses_no_run(fault, path, logged, monkeypatch):
    """As with a module of the same name in its way, or with no memory for a process."""
    monkeypatch.setattr(watched_writer, "RESTART_PAUSE", 0.01)
    monkeypatch.setattr(watched_writer, "LONGEST_PAUSE", 0.01)
    real = writer_process.start_writer

    def no_memory(*_: int) -> Any:
        raise OSError(12, "Cannot allocate memory")

    with monkeypatch.context() as patch:
        if fault == "cannot be started":
            patch.setattr(writer_process, "start_writer", no_memory)
        else:
            program = "import no_such_module" if fault == "does not import" else "pass"
            patch.setattr(writer_process, "PROGRAM", program)
        async with on_file(path) as journal:
            assert not journal.available
            with pytest.raises(Problem):
                journal.begin(started())
            run = ended(started())
            with pytest.raises(Problem):
                await journal.end(run)
            await until(lambda: len(deaths(logged)) > 4)
            patch.undo()
            assert writer_process.start_writer is real
            await until(lambda: journal.available)
            await journal.write(partial(scalar, statement="SELECT 1"))
            assert (await record(journal, run.id))["state"] == "Succeeded"
    cause = {"does not import": "ModuleNotFoundError: No module named 'no_such_module'", "ends": None}
    assert deaths(logged)[0].get("cause") == cause.get(fault, "OSError: Cannot allocate memory")


async def test_a_run_that_cannot_be_made_a_row_is_lost_alone(database_url, logged):
    """Else three writers would die of its batch, and all that is in it would be dropped."""
    async with opened(database_url) as journal:
        await journal.write(partial(scalar, statement="SELECT 1"))
        poison, other = ended(started()), ended(started())
        poison.outcome.error_type = "\ud800"
        waiters = [journal.end(run) for run in (poison, other)]
        found = await asyncio.gather(*waiters, return_exceptions=True)
        assert [getattr(each, "code", each) for each in found] == ["internal-error", None]
        assert (await record(journal, other.id))["state"] == "Succeeded"
        assert not deaths(logged)
    lost = next(line for line in logged if line["event"] == "rows-lost")
    assert (lost["ids"], lost["causes"]) == ([poison.id], ["UnicodeEncodeError"])


async def test_a_writer_that_hangs_is_replaced_and_its_batch_sent_again(path, logged):
    async with on_file(path) as journal:
        journal._patience = 0.05
        os.kill(journal._writer._link._process.pid, signal.SIGSTOP)  # type: ignore[union-attr]
        run = started()
        journal.begin(run)
        waiter = journal.end(ended(run))
        journal._writer._most_silence = 0.2
        await until(lambda: deaths(logged))
        journal._writer._most_silence = 60.0  # the next one takes its time to start
        with pytest.raises(Problem):
            await waiter
        await until(lambda: journal.available)
        assert (await record(journal, run.id))["state"] == "Succeeded"
    assert [line["cause"] for line in deaths(logged)] == ["no word for 0.2 s"]


async def test_writers_that_die_while_the_database_is_away_are_no_sign_of_the_batch(path):
    async with on_file(path) as journal:
        journal._writer.is_open = False
        waiter = journal.end(ended(started()))
        journal._submit()
        for _ in range(2 * MOST_DEATHS):
            journal._writer_gone(Gone(had_opened=True, hung=False, cause="Killed"))
            journal._troubled(Cause(Kind.AWAY, "OperationalError"), 2)
        journal._writer_opened()
        journal._writer.is_open = True
        await waiter


@pytest.mark.parametrize(
    ("gone", "kept"),
    [
        (Gone(had_opened=True, hung=False, cause="Killed"), False),
        (Gone(had_opened=True, hung=True, cause="no word"), True),
        (Gone(had_opened=False, hung=False, cause="ImportError"), True),
    ],
)
async def test_only_what_writers_die_of_is_dropped(gone, kept, path, logged):
    """Not what they hang with, and not what none of them has got."""
    async with on_file(path) as journal:
        journal._writer.is_open = False  # it gets no batch
        run = started()
        journal.begin(run)
        waiter = journal.end(ended(run))
        journal._submit()
        for _ in range(MOST_DEATHS):
            journal._writer_gone(gone)
        assert (journal._sent is not None) is kept
        if gone.had_opened and not kept:
            with pytest.raises(Problem) as caught:
                await waiter
            assert caught.value.code == "internal-error"
        journal._writer_opened()
        journal._writer.is_open = True
        await until(lambda: journal.available)
        if kept:
            await until(lambda: not journal.queued)
            assert await record(journal, run.id)
        with suppress(Problem):
            await waiter
    lost = [line for line in logged if line["event"] == "rows-lost"]
    assert [line["causes"] for line in lost] == ([] if kept else [["Killed"]])
