"""Decisions of people that durable runs wait for. Operations for the journal's writer and reader.

The first decision stands: it is written with the one who gave it while the approval waits, and never again.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, func, select, tuple_, update

from postern.journal.durable_hold import holds
from postern.journal.durable_runs import Hold, Phase, Reason
from postern.journal.durable_tables import approvals, durable_runs
from postern.journal.signals import come
from postern.journal.writing.statements import insert_rows

LONGEST_COMMENT = 1000
"""Characters."""

_COLUMNS = tuple(column.name for column in approvals.columns)
_ASKED = (approvals.c.name, approvals.c.who, approvals.c.until, approvals.c.barred)
_ONCE = "ON CONFLICT (run_id, number) DO NOTHING"


class ApprovalState(StrEnum):
    """What became of an approval. `ended` says that its run ended first."""

    WAITING = "waiting"
    APPROVED = "approved"
    REJECTED = "rejected"
    TIMED_OUT = "timed-out"
    ENDED = "ended"


DECIDED = frozenset({ApprovalState.APPROVED, ApprovalState.REJECTED})


@dataclass(frozen=True, slots=True)
class Approval:
    """An approval. `number` is the checkpoint that asked for it. `who` is the access mode of those who may decide, as
    JSON. `barred` are the object ids of people who may not; without any, those who resumed the run may too. `elsewhere`
    says that nobody knows which person began the chain of calls that led to it. Times are Unix seconds. `decided_by` is
    what `journal.run.actor` writes. `data` is sealed if `key_version` is set, and `decision` is the sealed
    decision, if there is a key."""

    run_id: str
    number: int
    name: str
    workflow: str
    who: str
    barred: frozenset[str]
    elsewhere: bool
    since: float
    until: float | None
    state: ApprovalState = ApprovalState.WAITING
    decided_at: float | None = None
    decided_by: str | None = None
    comment: str | None = field(default=None, repr=False)
    key_version: str | None = None
    data: str = field(default="null", repr=False)
    decision: str | None = field(default=None, repr=False)
    decision_key_version: str | None = None


class Decided(NamedTuple):
    """A decision. `by` is what `journal.run.actor` writes of the person whose object id is `object_id`. `sealed` is all
    of it by the key `key_version`, None without a key."""

    approved: bool
    comment: str
    at: float
    by: str
    object_id: str
    sealed: str | None = None
    key_version: str | None = None


class Verdict(StrEnum):
    """What became of a decision."""

    STANDS = "stands"
    LATE = "late"
    """Another decision stands, or the time was over."""
    ENDED = "ended"
    """The run has ended."""
    UNKNOWN = "unknown"
    """The run does not wait for it."""
    BARRED = "barred"
    """The person resumed the run."""


class Begun(NamedTuple):
    """Until when an approval waits, None for no limit, and who may not decide."""

    until: float | None
    barred: frozenset[str]


def begin(connection: Connection, hold: Hold, asked: Approval) -> Begun | None:
    """Ask for an approval; asked again after a crash, it stays what it was. None if another server process runs the
    run."""
    if not holds(connection, hold):
        return None
    mine = _one(asked.run_id, asked.number)
    found = connection.execute(select(*_ASKED).where(*mine)).one_or_none()
    if found is not None and (found.name, found.who) == (asked.name, asked.who):
        return Begun(found.until, frozenset(json.loads(found.barred)))
    if found is not None:  # of other code, which asked for something else
        set_aside(connection, asked.run_id, [asked.number])
    values = {name: getattr(asked, name) for name in _COLUMNS}
    values |= {
        "barred": json.dumps(sorted(asked.barred)),
        "elsewhere": int(asked.elsewhere),
        "state": asked.state.value,
    }
    insert_rows(connection, approvals, _COLUMNS, _ONCE, [tuple(values[name] for name in _COLUMNS)])
    return Begun(asked.until, asked.barred)


def set_aside(connection: Connection, run_id: str, numbers: Iterable[int]) -> None:
    """Approvals of an earlier beginning of the run answer nothing any more: they are on its record only."""
    lowest = select(func.min(approvals.c.number)).where(approvals.c.run_id == run_id)
    place = min(connection.execute(lowest).scalar() or 0, 0)
    for number in numbers:
        place -= 1
        connection.execute(update(approvals).where(*_waits(run_id, number)).values(state=ApprovalState.ENDED.value))
        connection.execute(update(approvals).where(*_one(run_id, number)).values(number=place))


def set_aside_from(connection: Connection, run_id: str, first: int) -> None:
    """The run is repeated from this checkpoint: it asks for all later approvals again."""
    asked = select(approvals.c.number).where(approvals.c.run_id == run_id, approvals.c.number >= max(first, 0))
    set_aside(connection, run_id, connection.execute(asked).scalars().all())


def decision(connection: Connection, run_id: str, number: int) -> Approval | None:
    """The approval, once a person has decided."""
    found = connection.execute(select(approvals).where(*_one(run_id, number))).one_or_none()
    approval = approval_of(found) if found is not None else None
    return approval if approval is not None and approval.state in DECIDED else None


def time_out(connection: Connection, hold: Hold, number: int) -> bool:
    """The time of an approval is over, also if it was before: a process may die between this and its checkpoint. False
    if a person has decided, or another server process runs the run."""
    if not holds(connection, hold):
        return False
    over = update(approvals).where(*_waits(hold.run_id, number)).values(state=ApprovalState.TIMED_OUT.value)
    if connection.execute(over).rowcount == 1:
        return True
    state = connection.execute(select(approvals.c.state).where(*_one(hold.run_id, number))).scalar()
    return state == ApprovalState.TIMED_OUT.value


def decide(connection: Connection, approval: Approval, decided: Decided) -> Verdict:
    """Write a decision, and let the run go on. The first one stands. It is of what was asked then: a run that was
    repeated may ask for something else under the same name and number."""
    table = durable_runs.c
    its_run = select(table.phase, table.resumed_by).where(table.run_id == approval.run_id).with_for_update()
    run = connection.execute(its_run).one_or_none()
    if run is None:
        return Verdict.UNKNOWN
    if run.phase == Phase.ENDED.value:
        return Verdict.ENDED
    if approval.barred and decided.object_id in people_of(run.resumed_by):
        return Verdict.BARRED
    state = ApprovalState.APPROVED if decided.approved else ApprovalState.REJECTED
    in_time = approvals.c.until.is_(None) | (approvals.c.until > decided.at)
    deciding = (
        update(approvals)
        .where(*_waits(approval.run_id, approval.number), in_time)
        .where(approvals.c.name == approval.name, approvals.c.since == approval.since)
        .values(state=state.value, decided_at=decided.at, decided_by=decided.by, comment=decided.comment)
        .values(decision=decided.sealed, decision_key_version=decided.key_version)
    )
    if connection.execute(deciding).rowcount != 1:
        return Verdict.LATE
    come(connection, approval.run_id, Reason.APPROVAL, approval.name)
    return Verdict.STANDS


def ask_again(connection: Connection, hold: Hold, asked: Approval) -> bool:
    """What stands in the row of an approval was not written by Postern: it waits again, as it was `asked`. False if
    another server process runs the run."""
    if not holds(connection, hold):
        return False
    again = {"name": asked.name, "who": asked.who, "barred": json.dumps(sorted(asked.barred)), "until": asked.until}
    undone = dict.fromkeys(("decided_at", "decided_by", "comment", "decision", "decision_key_version"))
    values = again | undone | {"state": ApprovalState.WAITING.value}
    connection.execute(update(approvals).where(*_one(asked.run_id, asked.number)).values(values))
    return True


def people_of(resumed_by: str | None) -> frozenset[str]:
    """The object ids in `resumed_by` of a run."""
    return frozenset(object_id for _, object_id in json.loads(resumed_by)) if resumed_by else frozenset()


def find(connection: Connection, run_id: str, name: str) -> Approval | None:
    """The newest approval of this name that a run asked for, None if it asked for none."""
    mine = select(approvals).where(approvals.c.run_id == run_id, approvals.c.number >= 0, approvals.c.name == name)
    found = connection.execute(mine.order_by(approvals.c.number.desc()).limit(1)).one_or_none()
    return approval_of(found) if found is not None else None


Place = tuple[float, str, int]
"""Where an approval is in the list: since when it waits, its run, and its number."""


def place_of(approval: Approval) -> Place:
    """Its place in the list."""
    return approval.since, approval.run_id, approval.number


_LISTED = tuple(column for column in approvals.c if column.name not in ("data", "comment", "decision"))


def waiting(connection: Connection, now: float, after: Place | None, most: int) -> list[Approval]:
    """Up to `most` approvals that wait for a decision, the oldest first, without their data."""
    key = tuple_(approvals.c.since, approvals.c.run_id, approvals.c.number)
    query = select(*_LISTED).where(approvals.c.state == ApprovalState.WAITING.value)
    query = query.where(approvals.c.until.is_(None) | (approvals.c.until > now))
    if after is not None:
        # The first condition is the one that the index is used for.
        query = query.where(approvals.c.since >= after[0], key > tuple_(*after))
    ordered = query.order_by(approvals.c.since, approvals.c.run_id, approvals.c.number)
    return [approval_of(row) for row in connection.execute(ordered.limit(most))]


def data_of(connection: Connection, places: Iterable[Place]) -> dict[tuple[str, int], str]:
    """What the approvers see of these approvals, by run and number, as it is kept."""
    keys = [(run_id, number) for _, run_id, number in places]
    if not keys:
        return {}
    query = select(approvals.c.run_id, approvals.c.number, approvals.c.data)
    rows = connection.execute(query.where(tuple_(approvals.c.run_id, approvals.c.number).in_(keys)))
    return {(row.run_id, row.number): row.data or "null" for row in rows}


def column_of(number: int) -> str:
    """Where the data of an approval is sealed for (see `durable.seals`)."""
    return f"approval {number}"


def approval_of(row: Row[Any]) -> Approval:
    """The approval of a row."""
    values = dict(row._mapping)
    values["barred"] = frozenset(json.loads(values["barred"]))
    values["elsewhere"] = bool(values["elsewhere"])
    values["state"] = ApprovalState(values["state"])
    values["data"] = values.get("data") or "null"
    return Approval(**values)


def _one(run_id: str, number: int) -> tuple[Any, ...]:
    return approvals.c.run_id == run_id, approvals.c.number == number


def _waits(run_id: str, number: int) -> tuple[Any, ...]:
    return *_one(run_id, number), approvals.c.state == ApprovalState.WAITING.value
