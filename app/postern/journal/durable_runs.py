"""Durable runs in the journal: who runs which, and in which phase each is. Operations for the journal's writer.

The journal alone decides: a server process runs a durable run only while it is its `owner` in its current `attempt`.
What it writes for an earlier attempt, or for a run that another process has taken over, changes nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, bindparam, select, text, update

from postern.journal.durable_limits import UNENDED, begun, claimable, may_count
from postern.journal.durable_tables import durable_runs
from postern.journal.run import State, before
from postern.journal.schema import runs

NODE = "durable"
"""The row of `nodes` that all durable runs have in `runs.node`. Every server process of this release keeps its beat, so
that no process, of the release before either, takes them for runs of one that is gone."""

DEATHS = 5
"""So many server processes may die while a run's code runs. Then the run has failed."""
SUSPECT = DEATHS - 1
"""After so many deaths a run is a suspect. Suspects are taken one at a time, so that only those fail that are to blame,
and not those that ran beside them."""

_CLAIMED = (
    *("run_id", "workflow", "attempt", "digest", "key_version", "request", "deaths", "repeat_from", "repeats"),
    "checkpoints",
)
STATE_PLACE = 2
"""The place of the state in a row of runs."""


class Phase(StrEnum):
    """Where a durable run is: `ready` to be claimed, `running` or `waiting` in its owner, `waiting` without an owner,
    `parked` until someone or something else changes, or `ended`."""

    READY = "ready"
    RUNNING = "running"
    WAITING = "waiting"
    PARKED = "parked"
    ENDED = "ended"


class Reason(StrEnum):
    """Why a run waits, or is parked."""

    SLEEP = "sleeping"
    SIGNAL = "signal"
    APPROVAL = "approval"
    MISSING = "workflow-missing"
    CHANGED = "workflow-changed"
    KEY = "key-unavailable"
    RESTORED = "restored"
    """The database is of a backup: what the run did since then is not known."""
    UNVERIFIED = "decision-not-verified"
    """A decision is in the database that Postern did not write."""
    INTERNAL = "internal-error"
    """A mistake of Postern's own: it would happen again."""
    LOST = "checkpoints-missing"
    """Checkpoints that the journal knows of are not there: they are older than the journal, or there are none. The run
    would repeat steps."""
    CONCURRENCY = "concurrency"
    """A run that is ready, and whose concurrency key has a run already. It is not stored: see `durable_limits`."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A run that this server process runs from now on, in this attempt. `attempt` is 1 the first time. `deaths` is how
    many server processes died while its code ran. `repeat_from` is set if it was resumed: see
    `journal.durable_ends`. `checkpoints` is how many it is known to have."""

    run_id: str
    workflow: str
    attempt: int
    digest: str
    key_version: str | None
    request: str = field(repr=False)
    deaths: int = 0
    repeat_from: int | None = None
    repeats: int | None = None
    checkpoints: int | None = None


class Hold(NamedTuple):
    """What a server process has of a run that it runs: in this attempt only."""

    run_id: str
    node: str
    attempt: int


class Parked(NamedTuple):
    """A run that is parked, with the digest of the code that it did not fit."""

    run_id: str
    workflow: str
    reason: str
    digest: str


# Taking runs


def claim(
    connection: Connection,
    node: str,
    limits: Mapping[str, int],
    most: int,
    *,
    suspect: bool = True,
    keyed: Collection[str] = (),
) -> list[Claimed]:
    """Take up to `most` runs that are ready: the oldest first, and one of each workflow in turn. `limits` are the
    workflows with `max_concurrency`: so many of their runs have begun and not ended, in all server processes. For those
    that are `keyed` too, it holds for each key. Of the suspects one is taken at most, and none if `suspect` is
    False."""
    wanted: dict[str, Sequence[str]] = {}
    ready = select(durable_runs.c.workflow).where(_is(Phase.READY)).distinct()
    names = list(connection.execute(ready).scalars())
    if any(name in limits for name in names) and not may_count(connection):
        names = [name for name in names if name not in limits]
    for name in names:
        if name in keyed:
            wanted[name] = connection.execute(claimable(name, limits[name], most, SUSPECT)).scalars().all()
            continue
        room = limits[name] - begun(connection, name) if name in limits else most
        oldest = (
            select(durable_runs.c.run_id, durable_runs.c.attempt, durable_runs.c.repeat_from)
            .where(_is(Phase.READY), durable_runs.c.workflow == name, durable_runs.c.deaths < SUSPECT)
            .order_by(durable_runs.c.attempt == 0, durable_runs.c.run_id)
            .limit(most)
            .with_for_update(skip_locked=True)
        )
        found = connection.execute(oldest).all()
        again = [run_id for run_id, attempt, repeat in found if attempt and repeat is None]  # they have their places
        wanted[name] = again + [row.run_id for row in found if row.run_id not in again][: max(0, room)]
    alone = _suspect(connection) if suspect else []
    return _taken(connection, node, [*alone, *in_turn(wanted, most)][:most], (Phase.READY,))


def in_turn(wanted: Mapping[str, Sequence[str]], most: int) -> list[str]:
    """Up to `most` ids: one of each workflow in turn, in their order."""
    longest = max(map(len, wanted.values()), default=0)
    order = [ids[place] for place in range(longest) for ids in wanted.values() if place < len(ids)]
    return order[:most]


def take(connection: Connection, run_id: str, node: str) -> Claimed | None:
    """Take a run that another server process has claimed, and that came here. None if it has ended, or waits."""
    taken = _taken(connection, node, [run_id], (Phase.READY, Phase.RUNNING))
    return taken[0] if taken else None


_OWNED = text(  # ready-made, because it is asked before each step
    "SELECT run_id, owner, attempt FROM durable_runs WHERE run_id IN :ids AND owner IS NOT NULL AND phase <> 'ended'"
).bindparams(bindparam("ids", expanding=True))


def owned_of(connection: Connection, holds: Sequence[Hold]) -> set[Hold]:
    """Those of the runs that are still their process's, in this attempt, and not cancelled."""
    found = connection.execute(_OWNED, {"ids": [hold.run_id for hold in holds]})
    return {Hold(*row) for row in found} & set(holds)


# Waiting


def begin_wait(
    connection: Connection,
    hold: Hold,
    reason: Reason,
    waits_for: str | None,
    wakes_at: float | None,
    checkpoints: int | None = None,
) -> bool:
    """The run waits in its owner's memory. It has so many `checkpoints`, None if some are being made. False if it is
    not its owner's any more."""
    how: dict[str, Any] = {"phase": Phase.WAITING.value, "reason": reason.value}
    how |= {"waits_for": waits_for, "wakes_at": wakes_at}
    if checkpoints is not None:
        how["checkpoints"] = checkpoints
    return _move(connection, _mine(hold), State.WAITING, how)


def end_wait(connection: Connection, hold: Hold) -> bool:
    """The run goes on in its owner. False if it is not its owner's any more."""
    return _move(connection, _mine(hold), State.RUNNING, {"phase": Phase.RUNNING.value, **NO_WAIT})


def let_go(connection: Connection, hold: Hold) -> bool:
    """A run that waits is in no server process's memory any more: `wake` makes it ready when it goes on."""
    mine = (*_mine(hold), _is(Phase.WAITING))
    return connection.execute(update(durable_runs).where(*mine).values(owner=None)).rowcount == 1


def park(connection: Connection, hold: Hold, reason: Reason, digest: str) -> bool:
    """The run cannot go on now, for a reason that is not its own. It never fails by that. `digest` is of the code that
    it does not fit, "" if there is none."""
    how = {"phase": Phase.PARKED.value, "owner": None, **NO_WAIT, "reason": reason.value, "digest": digest}
    return _move(connection, _mine(hold), State.WAITING, how)


def parked(connection: Connection) -> list[Parked]:
    """The runs that are parked."""
    table = durable_runs.c
    found = select(table.run_id, table.workflow, table.reason, table.digest).where(_is(Phase.PARKED))
    return [Parked(*row) for row in connection.execute(found)]


def unpark(connection: Connection, run_ids: Sequence[str]) -> int:
    """Parked runs may go on: they are ready. Returns how many."""
    mine = (durable_runs.c.run_id.in_(run_ids), _is(Phase.PARKED))
    return len(_moved(connection, mine, State.WAITING, _READY))


def wake(connection: Connection, now: float, most: int = 1000) -> int:
    """Runs that no server process has in memory, and that need not wait any longer, are ready: their time is over, or
    what they wait for has come (`signals.come`). Returns how many."""
    evicted = (_is(Phase.WAITING), durable_runs.c.owner.is_(None), durable_runs.c.wakes_at <= now)
    ids = connection.execute(select(durable_runs.c.run_id).where(*evicted).limit(most)).scalars().all()
    return len(_moved(connection, (durable_runs.c.run_id.in_(ids), *evicted), State.WAITING, _READY)) if ids else 0


# Ends


def release(connection: Connection, node: str) -> int:
    """This process ends: its runs are ready for others, and those that wait are in nobody's memory. Returns how many
    were running."""
    mine = durable_runs.c.owner == node
    connection.execute(update(durable_runs).where(mine, _is(Phase.WAITING)).values(owner=None))
    return len(_moved(connection, (mine, _is(Phase.RUNNING)), State.WAITING, _READY))


NO_WAIT: Mapping[str, Any] = {"reason": None, "waits_for": None, "wakes_at": None}
_READY: Mapping[str, Any] = {"phase": Phase.READY.value, "owner": None, **NO_WAIT}


def _is(phase: Phase) -> ColumnElement[bool]:
    """The condition for runs in a phase other than `ended`. Those that wait have an index of their own."""
    its = durable_runs.c.phase == phase.value
    return its if phase is Phase.WAITING else and_(its, UNENDED)


def _mine(hold: Hold) -> tuple[ColumnElement[bool], ...]:
    return (
        durable_runs.c.run_id == hold.run_id,
        durable_runs.c.owner == hold.node,
        durable_runs.c.attempt == hold.attempt,
        durable_runs.c.phase != Phase.ENDED.value,
    )


def _move(connection: Connection, which: tuple[ColumnElement[bool], ...], state: State, how: Mapping[str, Any]) -> bool:
    return len(_moved(connection, which, state, how)) == 1


def _moved(
    connection: Connection, which: tuple[ColumnElement[bool], ...], state: State, how: Mapping[str, Any]
) -> list[str]:
    """Move these runs, and return the ids of those that were moved. What reads Interrupted goes on too: a process of
    the release before may have thought so."""
    changed = update(durable_runs).where(*which).values(dict(how)).returning(durable_runs.c.run_id)
    ids = list(connection.execute(changed).scalars())
    if ids:
        set_state(connection, ids, state)
    return ids


def set_state(connection: Connection, ids: Sequence[str], state: State) -> None:
    """Move the records of runs that have not ended to this state, as the table of moves says."""
    legal = runs.c.state.in_([each.value for each in before(state)])
    connection.execute(update(runs).where(runs.c.id.in_(ids), legal).values(state=state.value, ended_at=None))


def _taken(connection: Connection, node: str, ids: Sequence[str], phases: Sequence[Phase]) -> list[Claimed]:
    if not ids:
        return []
    table = durable_runs.c
    changed = (
        update(durable_runs)
        .where(table.run_id.in_(ids), table.phase.in_([phase.value for phase in phases]))
        .values(phase=Phase.RUNNING.value, owner=node, attempt=table.attempt + 1)
        .returning(*[table[name] for name in _CLAIMED])
    )
    found = {row.run_id: Claimed(*row) for row in connection.execute(changed)}
    if found:
        set_state(connection, list(found), State.RUNNING)
    return [found[run_id] for run_id in ids if run_id in found]


def _suspect(connection: Connection) -> list[str]:
    """The oldest run that has to be taken alone, if there is one. It has begun, so it has its place in any limit."""
    waits = (_is(Phase.READY), durable_runs.c.deaths >= SUSPECT)
    oldest = select(durable_runs.c.run_id).where(*waits).order_by(durable_runs.c.run_id).limit(1)
    return list(connection.execute(oldest.with_for_update(skip_locked=True)).scalars())
