"""The rows of the list of runs. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from postern.console.charts import percent
from postern.console.durable_words import reason_words
from postern.console.run_words import caller_words, error_line
from postern.console.words import day_words, time_words
from postern.journal.reading.records import RunRecord
from postern.journal.run import State
from postern.plain_text import plain


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run in the list. `day` is set in the first row of each day. `called` and `again` mark a run that another run
    called, and one that was resubmitted. `meter` shows how long it took beside the others of the page. `waits` says
    what a durable run waits for."""

    id: str
    state: State
    workflow: str
    error: str
    waits: str
    day: str
    started_at: float
    time: str
    took: float | None
    meter: Markup
    caller: str
    status: str
    called: bool
    again: bool


def run_rows(records: Sequence[RunRecord], now: float, *, private: bool) -> list[RunRow]:
    """The rows of these runs, newest first. `private` shows the messages of errors that only operators see."""
    longest = max(_seconds(records), default=0.0)
    rows = []
    before = ""
    for record in records:
        day = day_words(record.started_at)
        took = record.ended_at - record.started_at if record.ended_at is not None else None
        rows.append(
            RunRow(
                id=record.id,
                state=record.state,
                workflow=plain(record.workflow),
                error=error_line(record, private=private),
                waits=_waits(record, now),
                day=day if day != before else "",
                started_at=record.started_at,
                time=time_words(record.started_at),
                took=took,
                meter=_meter(took, longest),
                caller=caller_words(record),
                status="" if record.status is None else str(record.status),
                called=record.parent_run_id is not None,
                again=record.resubmitted_from is not None,
            )
        )
        before = day
    return rows


def _waits(record: RunRecord, now: float) -> str:
    if record.durable is None or record.state is not State.WAITING:
        return ""
    return reason_words(record.durable, now)


def _seconds(records: Iterable[RunRecord]) -> list[float]:
    return [record.ended_at - record.started_at for record in records if record.ended_at is not None]


def _meter(took: float | None, longest: float) -> Markup:
    part = percent(min(max(took, 0.0) / longest, 1.0)) if took is not None and longest > 0 else "0%"
    form = Markup('<svg class="meter" aria-hidden="true"><rect class="part" width="{}" height="6" rx="2"/></svg>')
    return form.format(part)
