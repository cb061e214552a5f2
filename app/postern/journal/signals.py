"""Signals to durable runs: what was sent, and which wait took it. Operations for the journal's writer and reader."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import Connection, Select, func, select, update

from postern.journal.durable_hold import holds
from postern.journal.durable_runs import Hold, Phase, Reason
from postern.journal.durable_tables import durable_runs, signals
from postern.journal.writing.statements import insert_rows

MOST = 100
"""Signals that a run takes in its life."""
MOST_BYTES = 1024 * 1024
"""Bytes of their bodies together, as they were sent."""
RESERVED = 50
RESERVED_BYTES = 512 * 1024
"""Beyond these, so many more are for senders of whom the run has few."""
FEW = 10
FEW_BYTES = 64 * 1024
"""What each of them may send then, as long as there is some left."""
DUE = 0.0
"""`wakes_at` of a run for which something has come: it need not wait any longer."""

_COLUMNS = tuple(column.name for column in signals.columns)
_ONCE = "ON CONFLICT (run_id, id) DO NOTHING"
_TICK = 1e-6


class Arrival(StrEnum):
    """What became of a signal."""

    ARRIVED = "arrived"
    KNOWN = "known"
    """It has arrived before: its sender repeats it."""
    ANOTHER = "another"
    """Its sender used the idempotency key for another signal of this run."""
    ENDED = "ended"
    """The run has ended."""
    EARLY = "early"
    """Another signal of the run was sent at that time, or later by its sender's clock: it is to be sent again as one of
    the time that is returned, so that their order is clear."""
    FULL = "full"
    """The run has as many as it takes."""
    NOT_DURABLE = "not-durable"
    """The run is not durable, so it waits for none."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A signal as it was sent. `id` is new, or made of its idempotency key, `print` says which signal that was.
    `sent_by` is what `journal.run.actor` writes. `size` is in bytes. `body` is sealed if `key_version` is set."""

    run_id: str
    id: str
    name: str
    sent_at: float
    sent_by: str
    size: int
    body: str = field(repr=False)
    key_version: str | None = None
    print: str = ""


class Taken(NamedTuple):
    """A signal that a wait has taken."""

    id: str
    name: str
    sent_at: float
    sent_by: str
    body: str
    key_version: str | None


def send(connection: Connection, sent: Sent) -> tuple[Arrival, float]:
    """Keep a signal, and let its run go on if it waits for it. Returns what became of it, and when it was sent."""
    mine = durable_runs.c.run_id == sent.run_id
    run = connection.execute(select(durable_runs.c.phase).where(mine).with_for_update()).one_or_none()
    if run is None:
        return Arrival.NOT_DURABLE, sent.sent_at
    known = select(signals.c.sent_at, signals.c.print).where(signals.c.run_id == sent.run_id, signals.c.id == sent.id)
    earlier = connection.execute(known).one_or_none()
    if earlier is not None:
        return Arrival.KNOWN if (earlier.print or "") == sent.print else Arrival.ANOTHER, earlier.sent_at
    if run.phase == Phase.ENDED.value:
        return Arrival.ENDED, sent.sent_at
    sums = select(func.count(), func.sum(signals.c.size), func.max(signals.c.sent_at))
    count, size, last = connection.execute(sums.where(signals.c.run_id == sent.run_id)).one()
    if not has_room(count, size or 0, sent.size) and not _is_few(connection, sent, count, size or 0):
        return Arrival.FULL, sent.sent_at
    if last is not None and sent.sent_at <= last:
        return Arrival.EARLY, last + _TICK
    values = {"run_id": sent.run_id, "id": sent.id, "name": sent.name, "sent_at": sent.sent_at, "sent_by": sent.sent_by}
    values |= {"size": sent.size, "key_version": sent.key_version, "body": sent.body, "print": sent.print or None}
    insert_rows(connection, signals, _COLUMNS, _ONCE, [tuple(values.get(name) for name in _COLUMNS)])
    come(connection, sent.run_id, Reason.SIGNAL, sent.name)
    return Arrival.ARRIVED, sent.sent_at


def has_room(count: int, size: int, more: int) -> bool:
    """Whether a run with so many signals of `size` bytes takes one more of `more` bytes from any sender."""
    return count < MOST and size + more <= MOST_BYTES


def has_reserve(count: int, size: int, own: int, own_size: int, more: int) -> bool:
    """Whether a run that is full takes one more from a sender who has sent it `own` signals of `own_size` bytes: one
    sender alone cannot keep all others out."""
    few = own < FEW and own_size + more <= FEW_BYTES
    return few and count < MOST + RESERVED and size + more <= MOST_BYTES + RESERVED_BYTES


def _is_few(connection: Connection, sent: Sent, count: int, size: int) -> bool:
    mine = signals.c.run_id == sent.run_id, signals.c.sent_by == sent.sent_by
    own, own_size = connection.execute(select(func.count(), func.sum(signals.c.size)).where(*mine)).one()
    return has_reserve(count, size, own, own_size or 0, sent.size)


def come(connection: Connection, run_id: str, reason: Reason, name: str) -> None:
    """What a run waits for has come: it is due."""
    waits = (durable_runs.c.run_id == run_id, durable_runs.c.phase == Phase.WAITING.value)
    its = (durable_runs.c.reason == reason.value, durable_runs.c.waits_for == name)
    connection.execute(update(durable_runs).where(*waits, *its).values(wakes_at=DUE))


def has_come(connection: Connection, run_id: str, name: str, number: int) -> bool:
    """Whether there is a signal for the wait of this checkpoint."""
    mine, free = _of(run_id, name)
    taken = mine.where(signals.c.taken_by == number)
    return connection.execute(taken).first() is not None or connection.execute(free).first() is not None


def take(connection: Connection, hold: Hold, name: str, number: int) -> Taken | None:
    """The signal that the wait of this checkpoint has taken, or takes now: the oldest one. None if there is none, or if
    another server process runs the run. It is one transaction with the look at who runs it: a process that stood still
    takes nothing from the one that goes on."""
    if not holds(connection, hold):
        return None
    mine, free = _of(hold.run_id, name)
    found = connection.execute(mine.where(signals.c.taken_by == number)).one_or_none()
    if found is None:
        found = connection.execute(free.limit(1).with_for_update()).one_or_none()
        if found is None:
            return None
        taking = update(signals).where(signals.c.run_id == hold.run_id, signals.c.id == found.id)
        connection.execute(taking.values(taken_by=number))
    return Taken._make(found)


def due_here(connection: Connection, node: str, now: float) -> list[str]:
    """Runs that this process has in memory, and for which something has come."""
    table = durable_runs.c
    due = select(table.run_id, table.owner).where(table.phase == Phase.WAITING.value, table.wakes_at <= now)
    # By the owner SQLite would read all that waits here, instead of what is due.
    return [row.run_id for row in connection.execute(due) if row.owner == node]


def _of(run_id: str, name: str) -> tuple[Select[tuple[str, str, float, str, str, str | None]], ...]:
    """The signals of this name to the run, and those that no wait has taken, the oldest first."""
    table = signals.c
    columns = select(table.id, table.name, table.sent_at, table.sent_by, table.body, table.key_version)
    mine = columns.where(table.run_id == run_id, table.name == name, table.body.is_not(None))
    return mine, mine.where(table.taken_by.is_(None)).order_by(table.sent_at, table.id)
