"""A backup has the checkpoints of its runs, and after a restore no run does anything twice without its being said."""

import asyncio
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from postern import anonymous, workflow
from postern.cli.commands import app
from postern.durable import checkpoint_copies
from postern.errors import DatabaseFault
from postern.journal import durable_restored
from postern.journal.database.engine import open_engine
from postern.journal.durable_ends import resume
from postern.journal.durable_runs import Phase, Reason
from tests.durable.host import Host
from tests.tools import postgres_tools

pytestmark = [pytest.mark.process]

DONE: list[str] = []


async def first() -> str:
    DONE.append("first")
    return "MARKER"


@workflow(access=anonymous(), durable=True)
async def slow(ctx) -> Any:
    await ctx.step(first)
    await ctx.sleep(3600)


def postern(*arguments: str) -> str:
    """What `postern database` says, in this process."""
    result = CliRunner().invoke(app, ["database", *arguments])
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


@pytest.fixture
def environ(request: pytest.FixtureRequest, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the writer imports nothing from there
    monkeypatch.setenv("POSTERN_DATABASE_URL", database_url)
    if database_url.startswith("postgresql"):
        monkeypatch.setenv("PATH", postgres_tools(request.getfixturevalue("postgres_url")))


async def asleep(url: str) -> str:
    """A run that sleeps after its first step when its server process ends."""
    host = Host(url)
    await host.open()
    host.serve(slow)
    run_id = await host.accept(slow)
    await host.phase(run_id, "waiting")
    await host.close()
    return run_id


async def found(url: str, run_id: str) -> tuple[str, str, str]:
    """Where the run is when another server process has started. It is resumed, and sleeps in the end."""
    host = Host(url)
    await host.open()
    host.serve(slow)
    if (row := await host.durable(run_id)).phase == "ready":
        row = await host.phase(run_id, "waiting")
    state = (await host.row(run_id)).state
    await host.journal.write(partial(resume, run_id=run_id, by='["tenant", "lisa"]', from_start=False))
    host.engine.accepted()
    await host.phase(run_id, "waiting")
    await host.close()
    return row.phase, row.reason, state


@pytest.mark.parametrize(
    ("options", "copied", "said", "phase", "reason", "done"),
    [
        ((), True, "1 are parked with the reason restored", "parked", "restored", 1),
        (("--resume",), True, "1 go on when a server starts", "waiting", "sleeping", 1),
        ((), False, "and repeat all their steps if they are resumed", "parked", "checkpoints-missing", 2),
    ],
)
@pytest.mark.usefixtures("environ")
def test_a_restored_run_goes_on_from_its_checkpoints_when_an_operator_says_so(
    database_url: str,
    tmp_path: Path,
    options: tuple[str, ...],
    copied: bool,
    said: str,
    phase: str,
    reason: str,
    done: int,
):
    DONE.clear()
    run_id = asyncio.run(asleep(database_url))
    assert "copy-durable.backup has the checkpoints of durable runs" in postern("backup", "copy.backup")
    if not copied:
        (tmp_path / "copy-durable.backup").unlink()
    text_ = postern("restore", "copy.backup", "--force", *options)
    assert "Durable runs that had not ended: 1." in text_
    assert said in text_
    assert asyncio.run(found(database_url, run_id)) == (phase, reason, "Waiting")
    assert ["first"] * done == DONE


def test_the_words_of_restores_are_those_of_runs():
    words = (durable_restored.READY, durable_restored.PARKED, durable_restored.ENDED)
    assert words == (Phase.READY.value, Phase.PARKED.value, Phase.ENDED.value)
    assert (Reason.RESTORED.value, Reason.LOST.value) == (durable_restored.RESTORED, durable_restored.LOST)


def checked_and_restored(url: str, file: Path) -> None:
    checkpoint_copies.check(url, file)
    checkpoint_copies.restore(url, file, "aside")


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("DROP TABLE operation_outputs", "has no table operation_outputs"),
        ("DROP TABLE workflow_input; CREATE VIEW workflow_input AS SELECT 1", "has no table workflow_input"),
        (
            "DROP TABLE workflow_input; CREATE TABLE workflow_input (workflow_uuid TEXT, x TEXT AS (upper('a')))",
            "has computed columns",
        ),
        ("DROP TABLE workflow_input; CREATE TABLE workflow_input (workflow_uuid TEXT, later TEXT)", "newer Postern"),
    ],
)
def test_what_is_no_backup_of_checkpoints_is_not_restored(tmp_path: Path, statement: str, expected: str):
    url, file = f"sqlite:///{tmp_path}/postern.db", tmp_path / "copy-durable.db"
    checkpoint_copies._make_tables(url)
    checkpoint_copies.back_up(url, file, file)
    kept = (tmp_path / "postern-durable.db").read_bytes()
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(statement)
        connection.execute("INSERT INTO workflow_input (workflow_uuid) VALUES ('a')") if "later" in statement else None
        connection.commit()
    with pytest.raises(DatabaseFault, match=expected):
        checked_and_restored(url, file)
    assert (tmp_path / "postern-durable.db").read_bytes() == kept
    assert sorted(each.name for each in tmp_path.iterdir()) == ["copy-durable.db", "postern-durable.db"]


def test_a_trigger_in_a_backup_never_runs_and_is_not_restored(tmp_path: Path):
    url, file = f"sqlite:///{tmp_path}/postern.db", tmp_path / "copy-durable.db"
    checkpoint_copies._make_tables(url)
    checkpoint_copies.back_up(url, file, file)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TRIGGER bad AFTER INSERT ON workflow_input BEGIN DELETE FROM queues; END")
        connection.execute("INSERT INTO workflow_input (workflow_uuid, inputs) VALUES ('a', 'kept')")
        connection.commit()
    assert checkpoint_copies.restore(url, file, "aside") == str(tmp_path / "postern-durable.db.aside")
    with closing(sqlite3.connect(tmp_path / "postern-durable.db")) as connection:
        assert connection.execute("SELECT inputs FROM workflow_input").fetchall() == [("kept",)]
        assert connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall() == []


def test_without_the_extra_checkpoints_are_not_restored_and_the_fault_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(checkpoint_copies, "find_spec", lambda _: None)
    with pytest.raises(DatabaseFault, match=r"install postern-workflows\[durable\]"):
        checkpoint_copies.restore(f"sqlite:///{tmp_path}/postern.db", tmp_path / "a-durable.db", "aside")
    assert checkpoint_copies.restore(f"sqlite:///{tmp_path}/postern.db", None, "aside") == ""


def test_a_database_knows_whether_it_has_checkpoints(database_url: str):
    assert checkpoint_copies.exist(database_url) is False
    if database_url.startswith("postgresql"):
        engine = open_engine(database_url, writing=True)
        with engine.begin() as connection:
            connection.execute(text("CREATE SCHEMA dbos"))
            connection.execute(text("CREATE TABLE dbos.workflow_status (a int)"))
        engine.dispose()
        assert checkpoint_copies.exist(database_url) is True
