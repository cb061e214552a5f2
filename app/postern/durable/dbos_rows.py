"""Rows of DBOS, as DBOS writes them itself: of runs that begin, of their checkpoints, and of their ends.

DBOS looks for each checkpoint before it is made, in a transaction of its own, and records it in another one, by two
statements each. Nothing is there to be found in a run's first execution, so this writes the same rows for many runs by
the same few statements. `tests/durable/test_dbos_rows.py` compares them with those of DBOS itself.

Seen on DBOS 3.4.0.
"""

from collections.abc import Mapping, Sequence
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple

from dbos import error as dbos_errors
from dbos._serialization import serialize_args, serialize_value
from sqlalchemy import Connection, select, tuple_, update

if TYPE_CHECKING:
    from dbos._sys_db import SystemDatabase

    from postern.durable.checkpoint_writer import Result

PENDING, SUCCESS = "PENDING", "SUCCESS"


class Begins(NamedTuple):
    """A run that begins, in the execution with this token. It is True if the run was not there, or is this execution's
    already."""

    run_id: str
    token: str


class Checkpoint(NamedTuple):
    """A checkpoint of the execution with this token: what its body returned, and when it began and ended, in Unix
    milliseconds. The same one again, with the same times, changes nothing. Its error is DBOSWorkflowConflictIDError if
    the run is another execution's by now."""

    run_id: str
    token: str
    number: int
    name: str
    text: str
    began: int
    ended: int


class Ends(NamedTuple):
    """A run that has ended in the execution with this token. Its outcome is in the journal."""

    run_id: str
    token: str


Row = Begins | Checkpoint | Ends


def now_ms() -> int:
    """Unix milliseconds."""
    return int(time() * 1000)


class DbosRows:
    """Writes rows of the workflow `name` of the server process `node`."""

    def __init__(self, system: "SystemDatabase", name: str, node: str, version: str) -> None:
        self._system = system
        self._of_all: Mapping[str, Any] = {
            "status": PENDING,
            "name": name,
            "executor_id": node,
            "application_version": version,
            "application_id": "",
            "application_name": system.app_name,
            "recovery_attempts": 1,
            "priority": 0,
            "is_debounced": False,
        }

    def write(self, connection: Connection, rows: Sequence[Row]) -> "list[Result]":
        """Write these rows. Returns what each of them says, or its error."""
        found: dict[Row, Result] = {}
        if begins := [each for each in rows if isinstance(each, Begins)]:
            found |= self._begin(connection, begins)
        if checkpoints := [each for each in rows if isinstance(each, Checkpoint)]:
            found |= self._record(connection, checkpoints)
        if ends := [each for each in rows if isinstance(each, Ends)]:
            self._end(connection, ends)
        return [found.get(each, (None, None)) for each in rows]

    def _begin(self, connection: Connection, begins: Sequence[Begins]) -> "dict[Row, Result]":
        system, table = self._system, self._system.tables.workflow_status
        inputs, values = [], []
        for run_id, token in begins:
            text, form = serialize_args((run_id,), {}, None, system.serializer)
            inputs.append({"workflow_uuid": run_id, "inputs": text})
            own = {"workflow_uuid": run_id, "creator_xid": token, "owner_xid": token, "serialization": form}
            values.append({**self._of_all, **own})
        insert = system.dialect.insert(table).on_conflict_do_update(
            index_elements=[table.c.workflow_uuid], set_={"creator_xid": table.c.creator_xid}
        )
        there = dict(
            map(tuple, connection.execute(insert.returning(table.c.workflow_uuid, table.c.creator_xid), values))
        )
        of_inputs = system.dialect.insert(system.tables.workflow_input)
        connection.execute(of_inputs.on_conflict_do_nothing(index_elements=["workflow_uuid"]), inputs)
        return {each: (there[each.run_id] == each.token, None) for each in begins}

    def _record(self, connection: Connection, rows: Sequence[Checkpoint]) -> "dict[Row, Result]":
        system, table = self._system, self._system.tables.operation_outputs
        owners = self._owners(connection, sorted({each.run_id for each in rows}))
        mine = [each for each in rows if owners.get(each.run_id) == each.token]
        insert = (
            system.dialect.insert(table)
            .values(retention_timestamp=system._now_ms_sql(), application_name=system.app_name)
            .on_conflict_do_update(
                index_elements=[table.c.workflow_uuid, table.c.function_id],
                set_={"completed_at_epoch_ms": table.c.completed_at_epoch_ms},
            )
            .returning(table.c.workflow_uuid, table.c.function_id, table.c.completed_at_epoch_ms)
        )
        there: dict[tuple[str, int], int] = {}
        if mine:
            found = connection.execute(insert, [self._values(each) for each in mine])
            there = {(run_id, number): ended for run_id, number, ended in found}
        results: dict[Row, Result] = {}
        for each in rows:
            if owners.get(each.run_id) != each.token:
                results[each] = None, dbos_errors.DBOSWorkflowConflictIDError(each.run_id)
            elif there[each.run_id, each.number] != each.ended:
                results[each] = None, dbos_errors.DBOSStepNondeterminismError(each.run_id, each.number)
        return results

    def _values(self, row: Checkpoint) -> dict[str, Any]:
        text, form = serialize_value(row.text, None, self._system.serializer)
        return {
            "workflow_uuid": row.run_id,
            "function_id": row.number,
            "function_name": row.name,
            "started_at_epoch_ms": row.began,
            "completed_at_epoch_ms": row.ended,
            "output": text,
            "serialization": form,
        }

    def _owners(self, connection: Connection, run_ids: Sequence[str]) -> dict[str, str]:
        """The tokens of runs. Their rows are locked until the commit, so that no takeover lies in between."""
        table = self._system.tables.workflow_status
        its, mine = (table.c.workflow_uuid, table.c.owner_xid), table.c.workflow_uuid.in_(run_ids)
        if connection.dialect.name == "sqlite":  # it locks all by a write
            changed = update(table).where(mine).values(owner_xid=table.c.owner_xid).returning(*its)
            return dict(map(tuple, connection.execute(changed)))
        locked = select(*its).where(mine).order_by(table.c.workflow_uuid).with_for_update(key_share=True)
        return dict(map(tuple, connection.execute(locked)))

    def _end(self, connection: Connection, rows: Sequence[Ends]) -> None:
        table, now = self._system.tables.workflow_status, self._system._now_ms_sql()
        mine = (tuple_(table.c.workflow_uuid, table.c.owner_xid).in_(rows), table.c.status == PENDING)
        ended = {"status": SUCCESS, "owner_xid": None, "updated_at": now, "completed_at": now}
        connection.execute(update(table).where(*mine).values(ended))
