"""What a durable run waits for beside its record: what was sent to it, and who decided."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, select

from postern.journal.durable_tables import approvals, durable_runs, signals
from postern.journal.reading.durable import durable_states
from postern.journal.reading.records import DurableState

MOST_SHOWN = 100
"""Approvals of a run that are read, the newest ones. It takes no more signals than that."""


@dataclass(frozen=True, slots=True)
class SignalRecord:
    """A signal that was sent to a run, without its body. `taken` says that the run has got it."""

    name: str
    sent_at: float
    sent_by: Mapping[str, Any]
    taken: bool


@dataclass(frozen=True, slots=True)
class ApprovalRecord:
    """An approval that a run asked for, without what the approver sees. `elsewhere` says that nobody knows which person
    began the run."""

    name: str
    state: str
    since: float
    until: float | None
    decided_at: float | None
    decided_by: Mapping[str, Any] | None
    comment: str | None = field(default=None, repr=False)
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class DurableParts:
    """A durable run, what was sent to it in the order of its taking, and its approvals, the newest first. `resumed_by`
    has the object ids of those who resumed it."""

    state: DurableState
    signals: tuple[SignalRecord, ...]
    approvals: tuple[ApprovalRecord, ...]
    resumed_by: tuple[str, ...] = ()


def durable_parts(connection: Connection, run_id: str) -> DurableParts | None:
    """What there is of a durable run; None of another run."""
    state = durable_states(connection, [run_id]).get(run_id)
    if state is None:
        return None
    resumed_by = connection.execute(select(durable_runs.c.resumed_by).where(durable_runs.c.run_id == run_id)).scalar()
    sent = connection.execute(
        select(signals.c.name, signals.c.sent_at, signals.c.sent_by, signals.c.taken_by)
        .where(signals.c.run_id == run_id)
        .order_by(signals.c.sent_at, signals.c.id)
        .limit(MOST_SHOWN)
    )
    asked = connection.execute(
        select(*_APPROVAL)
        .where(approvals.c.run_id == run_id)
        .order_by(approvals.c.since.desc(), approvals.c.number.desc())
        .limit(MOST_SHOWN)
    )
    return DurableParts(
        state,
        tuple(
            SignalRecord(each.name, each.sent_at, json.loads(each.sent_by), each.taken_by is not None) for each in sent
        ),
        tuple(_approval(each) for each in asked),
        tuple(object_id for _, object_id in json.loads(resumed_by or "[]")),
    )


_APPROVAL = tuple(
    approvals.c[name]
    for name in ("name", "state", "since", "until", "decided_at", "decided_by", "comment", "elsewhere")
)


def _approval(row: Row[Any]) -> ApprovalRecord:
    values = dict(row._mapping)
    values["decided_by"] = json.loads(row.decided_by) if row.decided_by else None
    values["elsewhere"] = bool(row.elsewhere)
    return ApprovalRecord(**values)
