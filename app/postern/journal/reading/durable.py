"""What the journal says of durable runs beside their records."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

from sqlalchemy import Connection, case, or_, select

from postern.journal.durable_limits import waiting_for_key
from postern.journal.durable_runs import NODE, Phase, Reason
from postern.journal.durable_tables import durable_runs
from postern.journal.reading.records import DurableState, RunRecord
from postern.journal.run import State
from postern.journal.schema import runs

_STATE = ("run_id", "phase", "waits_for", "wakes_at", "attempt", "deaths", "resumed_by")
_REASON = case((waiting_for_key(), Reason.CONCURRENCY.value), else_=durable_runs.c.reason).label("reason")
_AT_ONCE = 500


def with_durable(connection: Connection, records: Sequence[RunRecord]) -> list[RunRecord]:
    """The same records; those of durable runs with their state. One that has not ended, and that a process of the
    release before made Interrupted, waits."""
    states = durable_states(connection, [record.id for record in records if record.node == NODE])
    return [_with(record, states.get(record.id)) for record in records] if states else list(records)


def durable_states(connection: Connection, run_ids: Sequence[str]) -> dict[str, DurableState]:
    """The states of durable runs, by their ids."""
    found: dict[str, DurableState] = {}
    for start in range(0, len(run_ids), _AT_ONCE):
        columns = [*(durable_runs.c[name] for name in _STATE), _REASON]
        some = select(*columns).where(durable_runs.c.run_id.in_(run_ids[start : start + _AT_ONCE]))
        for row in connection.execute(some).mappings():
            values = dict(row)
            resumed = len(json.loads(values.pop("resumed_by") or "[]"))
            run_id, phase = values.pop("run_id"), Phase(values.pop("phase"))
            values["wakes_at"] = values["wakes_at"] or None  # what it waits for has come: see `signals.DUE`
            found[run_id] = DurableState(phase, **values, resumed=resumed)
    return found


def ended_of(connection: Connection, run_ids: Iterable[str]) -> list[str]:
    """Those of these runs, of any kind, that have ended."""
    ids = list(run_ids)
    found: list[str] = []
    for start in range(0, len(ids), _AT_ONCE):
        found += _ended_of(connection, ids[start : start + _AT_ONCE])
    return found


def _with(record: RunRecord, state: DurableState | None) -> RunRecord:
    if state is None:
        return record
    if state.phase is not Phase.ENDED:  # its row was read a little earlier than this
        now = State.RUNNING if state.phase is Phase.RUNNING else State.WAITING
        record = replace(record, state=now, ended_at=None)
    return replace(record, durable=state)


def _ended_of(connection: Connection, ids: Sequence[str]) -> list[str]:
    unended = [State.WAITING.value, State.RUNNING.value]
    query = (
        select(runs.c.id)
        .outerjoin(durable_runs, durable_runs.c.run_id == runs.c.id)
        .where(
            runs.c.id.in_(ids),
            runs.c.state.not_in(unended),
            or_(durable_runs.c.phase.is_(None), durable_runs.c.phase == Phase.ENDED.value),
        )
    )
    return list(connection.execute(query).scalars())
