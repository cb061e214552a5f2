"""Records of durable runs that are gone, although the runs have not ended: the release before deletes records by when
runs began, also of those that it made Interrupted. Operations for the journal's reader and writer."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, exists, select

from postern.journal.durable_bytes import with_bytes
from postern.journal.durable_runs import NODE, STATE_PLACE, Phase
from postern.journal.durable_tables import durable_runs
from postern.journal.run import State
from postern.journal.schema import runs
from postern.journal.writing.rows import COLUMNS, run_row
from postern.journal.writing.statements import insert_rows

MOST = 500
"""Runs that are found at a time."""

_LONE = (
    durable_runs.c.phase != Phase.ENDED.value,
    ~exists(select(1).where(runs.c.id == durable_runs.c.run_id).correlate(durable_runs)),
)


@dataclass(frozen=True, slots=True)
class WithoutRecord:
    """A run that has not ended and has no record. `request` is as it is kept (see `durable.payload`)."""

    run_id: str
    workflow: str
    key_version: str | None
    request: str = field(repr=False)


def without_record(connection: Connection, workflows: Collection[str]) -> list[WithoutRecord]:
    """Runs of these workflows that have not ended and have no record."""
    its = durable_runs.c
    found = (
        select(its.run_id, its.workflow, its.key_version, its.request)
        .where(its.workflow.in_(workflows), its.request.is_not(None), *_LONE)
        .limit(MOST)
    )
    return [WithoutRecord(*row) for row in connection.execute(found)]


def record_again(connection: Connection, found: Sequence[tuple[Any, ...]]) -> int:
    """Record runs that have not ended again, by the `facts` of each. Returns how many: one that has ended meanwhile was
    recorded with its outcome, and another process may have done it."""
    its, rows = durable_runs.c, {facts[0]: list(run_row(facts, NODE)) for facts in found}
    open_ones = select(its.run_id, its.phase).where(its.run_id.in_(rows), *_LONE)
    phases: dict[str, str] = dict(map(tuple, connection.execute(open_ones.with_for_update())))
    for run_id, phase in phases.items():
        rows[run_id][STATE_PLACE] = (State.RUNNING if phase == Phase.RUNNING else State.WAITING).value
    again = with_bytes(connection, [rows[run_id] for run_id in phases])
    insert_rows(connection, runs, COLUMNS, "ON CONFLICT (id) DO NOTHING", again)
    return len(again)
