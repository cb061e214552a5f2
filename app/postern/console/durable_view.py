"""The durable part of a run's page. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from postern.api.run_actions import Seen
from postern.console.durable_words import goes_on_words
from postern.console.run_words import who
from postern.journal.durable_runs import Phase, Reason
from postern.journal.reading.durable_parts import DurableParts
from postern.journal.reading.records import RunRecord
from postern.journal.resumable import RESUMABLE
from postern.plain_text import plain

STATES: Mapping[str, str] = {
    "waiting": "waits for a decision",
    "approved": "approved",
    "rejected": "rejected",
    "timed-out": "nobody decided in time",
    "ended": "the run ended first",
}
"""The states of an approval in words."""


@dataclass(frozen=True, slots=True)
class ApprovalRow:
    """An approval of the run. `by` and `comment` are empty for viewers who do not see who acted on the run."""

    name: str
    state: str
    since: float
    until: float | None
    decided_at: float | None
    by: str
    comment: str


@dataclass(frozen=True, slots=True)
class SignalRow:
    """A signal that was sent to the run."""

    name: str
    sent_at: float
    by: str
    taken: bool


@dataclass(frozen=True, slots=True)
class DurableView:
    """What the page says. `goes_on` says what makes the run go on, `at` when it does so at the latest. `resumable`
    means that operators can resume it, `for_approval` that it waits for one. `signal` is the name of the signal that
    it waits for."""

    parked: bool
    goes_on: str
    at: float | None
    attempt: int
    deaths: int
    resumed_by: tuple[str, ...]
    approvals: list[ApprovalRow]
    signals: list[SignalRow]
    resumable: bool
    for_approval: bool
    signal: str


def durable_view(seen: Seen, parts: DurableParts, now: float) -> DurableView:
    """The durable part as this viewer may see it."""
    state, record = parts.state, seen.record
    waits = state.phase == Phase.WAITING and not record.ended

    def by(actor: Mapping[str, Any] | None) -> str:
        return who(actor) if seen.acts else ""

    return DurableView(
        parked=state.phase is Phase.PARKED and not record.ended,
        goes_on="" if record.ended else goes_on_words(state, record.workflow, now),
        at=state.wakes_at if waits and state.wakes_at is not None and state.wakes_at > now else None,
        attempt=state.attempt,
        deaths=state.deaths,
        resumed_by=tuple(map(plain, parts.resumed_by)) if seen.acts else (),
        approvals=[
            ApprovalRow(
                plain(each.name),
                STATES.get(each.state, plain(each.state)),
                each.since,
                each.until if each.state == "waiting" else None,
                each.decided_at,
                by(each.decided_by),
                plain(each.comment or "", lines=True) if seen.acts else "",
            )
            for each in parts.approvals
        ],
        signals=[SignalRow(plain(each.name), each.sent_at, by(each.sent_by), each.taken) for each in parts.signals],
        resumable=seen.private and resumable(record),
        for_approval=waits and state.reason == Reason.APPROVAL,
        signal=plain(state.waits_for or "") if waits and state.reason == Reason.SIGNAL else "",
    )


def resumable(record: RunRecord) -> bool:
    """Whether a run can be resumed: one that is parked, or that ended without success."""
    if record.durable is None:
        return False
    return record.state in RESUMABLE if record.durable.phase is Phase.ENDED else record.durable.phase is Phase.PARKED
