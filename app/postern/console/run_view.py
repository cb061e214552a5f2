"""A run as its page shows it. Pure."""

import json
from dataclasses import dataclass

from postern.api.run_actions import Seen
from postern.console.bodies import Body, input_of, output_of
from postern.console.run_words import caller_words, sentence, step_that_ended, through_words, who
from postern.journal.reading.records import RunRecord
from postern.journal.reading.step_window import StepWindow
from postern.journal.run import State
from postern.plain_text import plain
from postern.trace import trace_id_of


@dataclass(frozen=True, slots=True)
class RunView:
    """What the page says of a run. `waits` says that a durable run is not executing. `error_message` is None if it is
    not for this viewer, or there is none."""

    id: str
    workflow: str
    state: State
    live: bool
    waits: bool
    sentence: str
    caller: str
    address: str
    started_at: float
    ended_at: float | None
    status: int | None
    error: str
    error_message: str | None
    message_hidden: bool
    traceback: str
    inputs: Body
    outputs: Body
    request: list[tuple[str, str]]
    headers: list[tuple[str, str]]
    trace_id: str
    object_id: str
    parent: str
    resubmitted_from: str
    resubmitted_by: str
    cancelled_by: str
    via: str
    through: list[tuple[str, str]]


def run_view(seen: Seen, window: StepWindow, now: float, *, whole: bool = False) -> RunView:
    """The run as this viewer may see it, by the rules of the run API. `whole` shows long bodies to their end."""
    record, private = seen.record, seen.private
    message = record.error_message if private or record.error_shown else None
    return RunView(
        id=record.id,
        workflow=plain(record.workflow),
        state=record.state,
        live=not record.ended,
        waits=record.state is State.WAITING and record.durable is not None,
        sentence=sentence(record, step_that_ended(record, window), now),
        caller=caller_words(record),
        address=plain(record.client_address),
        started_at=record.started_at,
        ended_at=record.ended_at,
        status=record.status,
        error=plain(record.error_type or ""),
        error_message=None if message is None else plain(message, lines=True),
        message_hidden=bool(record.error_type and not private and not record.error_shown),
        traceback=plain(record.error_traceback or "", lines=True) if private else "",
        inputs=input_of(record, whole=whole),
        outputs=output_of(record, whole=whole),
        request=_request(record),
        headers=_headers(record) if private else [],
        trace_id=plain(record.trace_id or "") or trace_id_of(record.id),
        object_id=record.object_id or "",
        parent=plain(record.parent_run_id or ""),
        resubmitted_from=record.resubmitted_from or "",
        resubmitted_by=who(record.resubmitted_by) if seen.acts else "",
        cancelled_by=who(record.cancelled_by) if seen.acts and _may_be_cancelled(record) else "",
        via=plain(record.via or ""),
        through=through_words(record.via_client, record.agent),
    )


def _may_be_cancelled(record: RunRecord) -> bool:
    """A run that ended in another way has only been requested to be cancelled."""
    return record.state is State.CANCELLED or not record.ended


def _request(record: RunRecord) -> list[tuple[str, str]]:
    """What the request was beside its body, if it was not a plain POST of JSON."""
    if not record.request:
        return []
    known = json.loads(record.request)
    parts = [("Request", f"{known.get('method', 'POST')} {known.get('path', '')}".strip())]
    parts += [("Query", known.get("query", "")), ("Content type", known.get("content_type", ""))]
    return [(name, plain(str(text))) for name, text in parts if text]


def _headers(record: RunRecord) -> list[tuple[str, str]]:
    found = json.loads(record.request_headers or "[]")
    return [(plain(name), "not recorded" if value is None else plain(value)) for name, value in found]
