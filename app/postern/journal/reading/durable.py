"""What the journal says of durable runs beside their records: why they wait, what was sent to them, and who decided."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, select

from postern.journal.durable_runs import Phase
from postern.journal.durable_tables import approvals, durable_runs, signals

MOST_SHOWN = 100
"""Approvals of a run that are read, the newest ones. It takes no more signals than that."""


@dataclass(frozen=True, slots=True)
class DurableState:
    """Where a durable run is: `phase` and `reason` are those of `journal.durable_runs`. `attempt` counts how often a
    server process took it, `deaths` how many of them died while its code ran. `wakes_at` is in Unix seconds, None if it
    waits without a limit."""

    run_id: str
    phase: str
    reason: str | None
    waits_for: str | None
    wakes_at: float | None
    attempt: int
    deaths: int

    @property
    def parked(self) -> bool:
        """Whether it goes on only when something changes."""
        return self.phase == Phase.PARKED


@dataclass(frozen=True, slots=True)
class SignalRecord:
    """A signal that was sent to a run, without its body. `taken` says that the run has got it."""

    name: str
    sent_at: float
    sent_by: Mapping[str, Any]
    taken: bool


@dataclass(frozen=True, slots=True)
class ApprovalRecord:
    """An approval that a run asked for, without what the approver sees."""

    name: str
    state: str
    since: float
    until: float | None
    decided_at: float | None
    decided_by: Mapping[str, Any] | None
    comment: str | None = field(default=None, repr=False)


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
    found = connection.execute(select(*_STATE, durable_runs.c.resumed_by).where(durable_runs.c.run_id == run_id))
    row = found.one_or_none()
    if row is None:
        return None
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
        _state(row),
        tuple(
            SignalRecord(each.name, each.sent_at, json.loads(each.sent_by), each.taken_by is not None) for each in sent
        ),
        tuple(_approval(each) for each in asked),
        tuple(object_id for _, object_id in json.loads(row.resumed_by or "[]")),
    )


def states_of(connection: Connection, run_ids: Collection[str]) -> dict[str, DurableState]:
    """Where these runs are: those of them that are durable, by id."""
    if not run_ids:
        return {}
    rows = connection.execute(select(*_STATE).where(durable_runs.c.run_id.in_(run_ids)))
    return {row.run_id: _state(row) for row in rows}


_STATE_NAMES = ("run_id", "phase", "reason", "waits_for", "wakes_at", "attempt", "deaths")
_STATE = tuple(durable_runs.c[name] for name in _STATE_NAMES)
_APPROVAL = tuple(
    approvals.c[name] for name in ("name", "state", "since", "until", "decided_at", "decided_by", "comment")
)


def _state(row: Any) -> DurableState:
    return DurableState(**{name: getattr(row, name) for name in _STATE_NAMES})


def _approval(row: Row[Any]) -> ApprovalRecord:
    values = dict(row._mapping)
    values["decided_by"] = json.loads(row.decided_by) if row.decided_by else None
    return ApprovalRecord(**values)
