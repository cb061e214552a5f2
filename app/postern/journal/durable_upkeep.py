"""What keeps durable runs going when server processes die. Operations for the journal's writer, each one transaction.

Whoever is killed in the middle of one leaves nothing undone: it was not committed, and the next look does it.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, select, text, update

from postern.errors import TOO_MANY_CRASHES, problem
from postern.journal.durable_ends import write_problem
from postern.journal.durable_limits import OPEN, UNENDED
from postern.journal.durable_runs import DEATHS, NODE, Hold, Phase, set_state
from postern.journal.durable_tables import durable_runs
from postern.journal.run import State
from postern.journal.schema import nodes, runs, steps
from postern.journal.server_processes import NO_ROW, ServerProcess

SILENCE = 10.0
"""Seconds without a beat until a process's durable runs are taken over."""
FRESH = 6.0
"""A server process whose last committed beat is older begins no step, and claims nothing."""
REAP_LOCK = 0x706F7376
"""The advisory lock of PostgreSQL under which runs of dead processes are taken over."""


@dataclass(frozen=True, slots=True)
class Reaped:
    """What became of the durable runs of a process that is gone: how many are `ready`, how many `wait` in no process's
    memory, and the ids of those that `failed`."""

    ready: int = 0
    wait: int = 0
    failed: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.ready or self.wait or self.failed)


def reap(connection: Connection, node: str, seen: int, now: float) -> Reaped:
    """Take the durable runs of a process that is gone from it. Those that were running are ready for others, with one
    death more, or have failed. `seen` is its last known beat: nothing happens if it has beaten since, or while another
    process does the same."""
    if connection.dialect.name == "postgresql":
        free = connection.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": REAP_LOCK}).scalar()
        if not free:
            return Reaped()
    # A process that comes back waits here with its next beat, and begins no step meanwhile.
    beat = connection.execute(select(nodes.c.beat).where(nodes.c.id == node).with_for_update()).scalar()
    if (NO_ROW if beat is None else beat) != seen:
        return Reaped()
    table, mine = durable_runs.c, durable_runs.c.owner == node
    running = and_(mine, table.phase == Phase.RUNNING.value)
    died = {"owner": None, "deaths": table.deaths + 1}
    poison = _moved(connection, and_(running, table.deaths + 1 >= DEATHS), {**died, **_ENDED})
    for run_id in poison:
        write_problem(connection, run_id, State.FAILED, problem(TOO_MANY_CRASHES), now)
    ready = _moved(connection, running, {**died, "phase": Phase.READY.value})
    set_state(connection, ready, State.WAITING)
    wait = _moved(connection, and_(mine, table.phase == Phase.WAITING.value), {"owner": None})
    return Reaped(len(ready), len(wait), poison)


def owners(connection: Connection) -> list[ServerProcess]:
    """The processes without a row that have durable runs all the same."""
    rowless = select(durable_runs.c.owner).where(
        durable_runs.c.owner.is_not(None),
        UNENDED,
        durable_runs.c.owner.not_in(select(nodes.c.id)),
    )
    return [ServerProcess(each, "", "", 0.0, NO_ROW) for each in connection.execute(rowless.distinct()).scalars()]


def owned(connection: Connection, node: str) -> list[Hold]:
    """The runs that this process runs, or has in memory while they wait, as the journal says."""
    table = durable_runs.c
    mine = select(table.run_id, table.owner, table.attempt).where(table.owner == node)
    return [Hold(*row) for row in connection.execute(mine)]


def has_work(connection: Connection, now: float) -> tuple[bool, bool]:
    """Whether runs that nobody has in memory need not wait any longer, and whether runs are ready to be claimed."""
    wakes, ready = (connection.execute(each, {"now": now}).first() is not None for each in _WORK)
    return wakes, ready


_WORK = (
    select(durable_runs.c.run_id)
    .where(
        durable_runs.c.phase == Phase.WAITING.value,
        durable_runs.c.owner.is_(None),
        durable_runs.c.wakes_at <= bindparam("now"),
    )
    .limit(1),
    select(durable_runs.c.run_id).where(durable_runs.c.phase == Phase.READY.value, UNENDED).limit(1),
)
"""Of `has_work`, ready-made, because each server process reads it every second."""


def has_ended(connection: Connection, run_id: str) -> bool:
    """Whether a run has its outcome, or is not known."""
    phase = connection.execute(select(durable_runs.c.phase).where(durable_runs.c.run_id == run_id)).scalar()
    return phase in (None, Phase.ENDED.value)


def steps_of(connection: Connection, run_id: str) -> frozenset[int]:
    """The numbers of the steps that a run has ended, as its record says."""
    return frozenset(connection.execute(select(steps.c.number).where(steps.c.run_id == run_id)).scalars())


def lost(found: Iterable[Hold], here: Collection[str], earlier: Collection[Hold]) -> list[Hold]:
    """Those of `found` that are not `here`, and were found by the `earlier` look too: what was only just claimed may
    not have arrived."""
    return [hold for hold in found if hold.run_id not in here and hold in earlier]


def put_back(connection: Connection, holds: Iterable[Hold]) -> list[str]:
    """This process runs these runs no longer, or never did, each in this attempt only: they are ready again, or wait in
    no process's memory. Returns the ids of those that are ready."""
    table = durable_runs.c
    ready: list[str] = []
    for hold in holds:
        mine = and_(table.run_id == hold.run_id, table.owner == hold.node, table.attempt == hold.attempt)
        running = and_(mine, table.phase == Phase.RUNNING.value)
        ready += _moved(connection, running, {"phase": Phase.READY.value, "owner": None})
        _moved(connection, and_(mine, table.phase == Phase.WAITING.value), {"owner": None})
    set_state(connection, ready, State.WAITING)
    return ready


def take_up_again(connection: Connection) -> int:
    """Durable runs that have not ended, and that a process of the release before made Interrupted, read again as what
    they are. Returns how many."""
    found = connection.execute(
        select(durable_runs.c.run_id, durable_runs.c.phase)
        .join(runs, runs.c.id == durable_runs.c.run_id)
        .where(runs.c.node == NODE, runs.c.state == State.INTERRUPTED.value, UNENDED, OPEN)
    ).all()
    set_state(connection, [row.run_id for row in found], State.WAITING)
    set_state(connection, [row.run_id for row in found if row.phase == Phase.RUNNING.value], State.RUNNING)
    return len(found)


def counts(connection: Connection) -> dict[str, int]:
    """How many durable runs that have not ended are in each phase."""
    phase = durable_runs.c.phase
    found = select(phase, func.count()).where(UNENDED).group_by(phase)
    return {row[0]: row[1] for row in connection.execute(found)}


_ENDED = {"phase": Phase.ENDED.value, "reason": None, "waits_for": None, "wakes_at": None}


def _moved(connection: Connection, which: ColumnElement[bool], how: dict[str, Any]) -> list[str]:
    moving = update(durable_runs).where(which).values(how).returning(durable_runs.c.run_id)
    return list(connection.execute(moving).scalars())
