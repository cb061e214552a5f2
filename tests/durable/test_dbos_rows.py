"""The rows of a run's first execution are those that DBOS would write itself, and are written under the same
conditions."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from dbos import error as dbos_errors
from sqlalchemy import select

from postern.durable.checkpoint_writer import CheckpointWriter
from postern.durable.dbos_engine import DbosEngine
from postern.durable.dbos_rows import Begins, Checkpoint, Ends, Row
from postern.ids import new_id

pytestmark = [pytest.mark.anyio, pytest.mark.process]

CONFLICT = dbos_errors.DBOSWorkflowConflictIDError
OWN = {
    *("creator_xid", "owner_xid", "created_at", "updated_at", "completed_at"),
    *("started_at_epoch_ms", "completed_at_epoch_ms", "retention_timestamp"),
}
"""The columns in which each row has its own value: ids, tokens and times."""


class Made:
    """The tables that DBOS has made, and what writes them here."""

    def __init__(self, engine: DbosEngine) -> None:
        self.engine = engine
        self.rows: Any = engine._writer._write_all.__self__  # type: ignore[union-attr]
        self.system = self.rows._system

    def read(self, run_id: str) -> dict[str, list[dict[str, Any]]]:
        """The rows of a run, by their tables."""
        with self.system.engine.connect() as connection:

            def of(table: Any) -> list[dict[str, Any]]:
                found = connection.execute(select(table).where(table.c.workflow_uuid == run_id))
                return [dict(each._mapping) for each in found]

            tables = self.system.tables
            return {
                each.name: of(each)
                for each in (tables.workflow_status, tables.workflow_input, tables.operation_outputs)
            }

    def write(self, *rows: Row) -> list[Any]:
        """What these rows say when they are written in one transaction: a value, or the type of an error."""
        with self.system.engine.begin() as connection:
            return [value if error is None else type(error) for value, error in self.rows.write(connection, rows)]


async def one_step(run_id: str, checkpoints: Any) -> bool:
    async def body(_: int) -> str:
        return f"text of {run_id}"

    assert await checkpoints.step("step one", body) == (1, f"text of {run_id}")
    return False


@pytest.fixture
async def made(new_database_url: str) -> AsyncIterator[Made]:
    engine = DbosEngine(new_database_url, "process", one_step)
    await engine.start()
    yield Made(engine)
    await engine.stop()


def first(run_id: str, token: str = "token", ended: int = 2_000) -> Checkpoint:
    return Checkpoint(run_id, token, 1, "step one", f"text of {run_id}", 1_000, ended)


def alike(rows: dict[str, list[dict[str, Any]]], run_id: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of a run as those of each other one: of its own values it counts whether they are there."""

    def alike(name: str, value: Any) -> Any:
        if isinstance(value, str):
            value = value.replace(run_id, "ID")
        return value is None if name in OWN else value

    return {
        table: [{name: alike(name, value) for name, value in row.items()} for row in its] for table, its in rows.items()
    }


async def test_the_rows_are_those_that_dbos_writes_itself(made: Made) -> None:
    of_dbos, ours = new_id(), new_id()
    await made.engine.begin([of_dbos])
    async with asyncio.timeout(20):
        while not (there := await asyncio.to_thread(made.read, of_dbos))["operation_outputs"]:
            await asyncio.sleep(0.01)
    assert made.write(Begins(ours, "token"), first(ours)) == [True, None]
    assert alike(made.read(ours), ours) == alike(there, of_dbos)


async def test_what_is_written_again_changes_nothing(made: Made) -> None:
    run_id = new_id()
    rows = Begins(run_id, "token"), first(run_id)
    assert made.write(*rows) == [True, None]
    before = made.read(run_id)
    assert made.write(*rows) == [True, None]
    assert made.read(run_id) == before


async def test_a_run_that_is_there_already_does_not_begin_again(made: Made) -> None:
    run_id = new_id()
    assert made.write(Begins(run_id, "one")) == [True]
    assert made.write(Begins(run_id, "another")) == [False]


async def test_a_checkpoint_of_an_execution_that_lost_its_run_is_refused_and_no_other_one(made: Made) -> None:
    lost, mine = new_id(), new_id()
    made.write(Begins(lost, "token"), Begins(mine, "token"))
    made.system.resume_workflows([lost], queue_name="elsewhere")  # a takeover
    assert made.write(first(lost), first(mine), first("unknown")) == [CONFLICT, None, CONFLICT]
    assert [len(made.read(each)["operation_outputs"]) for each in (lost, mine)] == [0, 1]


async def test_another_checkpoint_of_the_same_number_is_refused(made: Made) -> None:
    run_id = new_id()
    assert made.write(Begins(run_id, "token"), first(run_id)) == [True, None]
    assert made.write(first(run_id, ended=3_000)) == [dbos_errors.DBOSStepNondeterminismError]
    assert made.read(run_id)["operation_outputs"][0]["completed_at_epoch_ms"] == 2_000


async def test_an_end_is_that_of_its_own_execution_only(made: Made) -> None:
    run_id = new_id()
    made.write(Begins(run_id, "token"))
    made.write(Ends(run_id, "another"))
    assert made.read(run_id)["workflow_status"][0]["status"] == "PENDING"
    made.write(Ends(run_id, "token"))
    row = made.read(run_id)["workflow_status"][0]
    assert (row["status"], row["owner_xid"], row["completed_at"] is None) == ("SUCCESS", None, False)


async def test_a_run_that_cannot_be_written_stops_no_other_one(made: Made) -> None:
    """One statement writes both."""
    good, bad = new_id(), new_id()
    made.write(Begins(good, "token"), Begins(bad, "token"))
    writer = CheckpointWriter(made.system.engine, asyncio.get_running_loop(), made.rows.write)
    too_large = first(bad)._replace(number=2**70)
    found = await asyncio.gather(writer.write(too_large), writer.write(first(good)), return_exceptions=True)
    await asyncio.to_thread(writer.stop, 20)
    assert (isinstance(found[0], Exception), found[1]) == (True, None)
    assert len(made.read(good)["operation_outputs"]) == 1
