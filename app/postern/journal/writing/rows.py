"""A run as a row of the journal: how much of its bodies is recorded, and in which form. Pure."""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from postern.journal.body_form import WITH_FILES, Form
from postern.journal.run import Outcome, Run, State, Step
from postern.journal.schema import runs
from postern.journal.search_text import search_form
from postern.journal.secured import keeps_reply, keeps_request, kept_error
from postern.journal.shares import ANONYMOUS
from postern.journal.through import NOT_THROUGH, through_columns
from postern.journal.writing.request_headers import is_credential, packed, written_headers
from postern.redaction import (
    NOT_RECORDED,
    REDACTED,
    beginning,
    body_without_secrets,
    first_sign,
    is_secret_name,
    may_tell,
    redacted_query,
    without_secret_values,
)

if TYPE_CHECKING:  # the writer's process loads no workflow
    from postern.authoring.call_result import Call
    from postern.authoring.workflow import Workflow

MAX_KEPT_BYTES = 64 * 1024
"""Bytes of inputs and of outputs that are recorded; the rest is cut off."""
MAX_MESSAGE = 1000
"""Characters of an error's message that are recorded."""
MAX_TRACEBACK = 8000
"""Characters of a traceback that are recorded: its beginning and its end."""
MAX_NAME = 200
"""Characters of the name of a called trigger that are recorded."""

RUN_BYTES = 1024
"""What a run without bodies counts for in the storage: about what its row and its places in indexes take."""

PLAIN_BYTES = 512
"""What the other facts of a run take in a message to the writer."""

_QUEUED_BYTES = MAX_KEPT_BYTES + 1
"""Bytes of a body that are queued and sent to the writer: one more shows that the body is longer."""


COLUMNS = tuple(column.name for column in runs.columns if column.name != "cancel_requested_at")
JSON_HEADERS = ((b"content-type", b"application/json"),)


def facts(run: Run) -> tuple[Any, ...]:
    """The values for the row of a run, as the run is now. They are cheap to collect and to send, because the event loop
    does it. What a secured workflow keeps out is not among them. Of long texts only as much is queued as can be
    recorded, from their beginning: their end may be the rest of a secret whose name is cut off."""
    caller, request, workflow = run.caller, run.request, run.workflow
    keeps = keeps_request(workflow)
    kind, body = (request.content_type, request.body) if (form := request._form) is None else form.recorded
    ended = ending = None
    if run.ended_at:
        ended, ending = run.ended_at, _ending(run.outcome, workflow)
    return (
        run.id,
        workflow.name,
        (caller.kind, caller.object_id, caller.tenant_id, caller.client_id, caller.name),
        (request.client_address, kind, body[:_QUEUED_BYTES] if keeps else None),
        _unusual_request(run, kind) if keeps else None,
        run.started_at,
        ended,
        ending,
        run.parent_run_id,
        run.resubmitted_from,
        run.trace_id,
        run.cancelled_by,
        run.resubmitted_by,
        None if (via := request._via) is None and caller.agent is None else (via, caller.agent),
        packed(request, secured=workflow.secures) if keeps else None,
    )


def _ending(outcome: Outcome, workflow: "Workflow") -> tuple[Any, ...]:
    kind, message = kept_error(workflow, outcome) if workflow.secures else (outcome.error_type, outcome.error_message)
    keeps = keeps_reply(workflow, outcome)
    return (
        outcome.state._value_,
        outcome.status,
        outcome.headers if keeps else (),
        outcome.content[:_QUEUED_BYTES] if keeps else None,
        kind,
        message and beginning(message, MAX_KEPT_BYTES),
        outcome.shown,
        outcome.error_traceback and beginning(outcome.error_traceback, MAX_KEPT_BYTES),
        outcome.stream is not None,
    )


def kept_bytes(facts: tuple[Any, ...]) -> int:
    """Bytes of bodies and headers in the `facts` of a run."""
    body, outcome, headers = facts[3][2], facts[7], facts[-1]
    content = outcome[3] if outcome is not None else None
    return len(body or b"") + len(content or b"") + len(headers or b"")


def run_row(facts: tuple[Any, ...], node: str) -> Sequence[Any]:
    """The values of COLUMNS for a run, from its `facts`."""
    run_id, workflow, caller, request, unusual, started_at, ended_at, outcome, *origin = facts
    parent, original, trace_id, cancelled_by, resubmitted_by, through, sent = origin
    address, content_type, body = request
    inputs, inputs_form = kept(body, "application/json" if content_type == WITH_FILES else content_type)
    state, status, outputs, outputs_form, headers = State.RUNNING._value_, None, None, None, None
    error_type = error_message = error_shown = error_traceback = None
    if outcome is not None:
        state, status, reply_headers, content, kind, message, shown, trace, streamed = outcome
        plain = reply_headers == JSON_HEADERS
        outputs, form = kept(content, "application/json" if plain else _content_type(reply_headers))
        outputs_form = (Form.CUT if streamed and content is not None else form)._value_
        headers = None if plain or content is None else _written_headers(reply_headers)
        if kind:
            error_type, error_shown = kind, int(shown)
            error_message = without_secret_values(_plain(message))[:MAX_MESSAGE] or None
            error_traceback = _middle_cut(without_secret_values(_plain(trace))) or None if trace else None
    searched, searched_error = search_form(caller[-1], inputs, outputs, error_type), search_form(error_message)
    written_request = None if sent is None else written_headers(sent)
    size = None
    if caller[0] == ANONYMOUS:
        size = _size(
            inputs, outputs, headers, error_message, error_traceback, written_request, searched, searched_error
        )
    return (
        run_id,
        workflow,
        state,
        status,
        *(value or None for value in caller),
        address,
        started_at,
        ended_at,
        None if unusual is None else _written_request(*unusual),
        inputs_form._value_,
        outputs_form,
        headers,
        error_type,
        error_message,
        error_shown,
        parent or None,
        original or None,
        trace_id or None,
        node,
        error_traceback,
        cancelled_by or None,
        resubmitted_by or None,
        size,
        *(NOT_THROUGH if through is None else through_columns(*through)),
        inputs,
        outputs,
        written_request,
        searched,
        searched_error,
    )


def _size(*texts: str | None) -> int:
    """Bytes that a run with these texts takes in the database."""
    return RUN_BYTES + sum(len(text) if text.isascii() else len(text.encode()) for text in texts if text)


def step_row(run_id: str, step: Step) -> Sequence[Any]:
    """The values of the columns of `schema.steps`."""
    attempts = json.dumps([(attempt.started_at, attempt.ended_at, attempt.error) for attempt in step.attempts])
    return (run_id, step.number, _plain(step.name), int(step.succeeded), attempts)


def call_row(run_id: str, call: "Call") -> Sequence[Any]:
    """The values of the columns of `schema.calls`."""
    return (
        run_id,
        call.number,
        call.step,
        _plain(call.name)[:MAX_NAME],
        _plain(call.run_id) or None,
        _plain(call.url) or None,
        call.status,
        call.started_at,
        call.ended_at,
        call.error or None,
        call.gateway or None,
        call.agent or None,
        call.requests,
    )


def kept(content: bytes | None, content_type: str) -> tuple[str | None, Form]:
    """The recorded text of a body, and its form; None means a secured body."""
    if content is None:
        return None, Form.SECURED
    if not content:
        return None, Form.NONE
    if len(content) > MAX_KEPT_BYTES:
        return _cut(content), Form.CUT
    clean = body_without_secrets(content, content_type)
    if clean is not None:
        return _plain(clean), Form.REDACTED
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return b64encode(content).decode("ascii"), Form.BASE64
    if "\x00" in text:  # PostgreSQL's text cannot hold it
        return b64encode(content).decode("ascii"), Form.BASE64
    return text, Form.JSON if "json" in content_type else Form.TEXT


def _cut(content: bytes) -> str:
    """The beginning of a long body, up to the first sign of a secret: half of a document cannot be parsed to find the
    value of each name."""
    text = content[:MAX_KEPT_BYTES].decode("utf-8", "replace")
    if "\x00" in text:
        return NOT_RECORDED
    return _plain(text[: first_sign(text)] if may_tell(text) else text)


def _unusual_request(run: Run, content_type: str) -> tuple[Any, ...] | None:
    """What is needed to run it again, besides its inputs; None for a POST of JSON to the workflow's own URL."""
    request = run.request
    path_parameters, query = request.path_parameters, request.query_string
    if (
        request.method == "POST"
        and not path_parameters
        and not query
        and (not request.body or content_type == "application/json")
        and request._form is None
    ):
        return None
    return request.method, request.path, dict(path_parameters), query, content_type


def _written_request(
    method: str, path: str, path_parameters: Mapping[str, str], query: bytes, content_type: str
) -> str:
    """The same as JSON, without values that look like secrets. `redacted` says that it is not the same any more."""
    shown = _plain(redacted_query(query))
    clean = {name: _part(name, value) for name, value in path_parameters.items()}
    bare_path, bare_type = without_secret_values(path), without_secret_values(content_type)
    if clean != path_parameters:
        bare_path = f"{'/'.join(path.split('/')[:3])}/{REDACTED}"  # `/triggers/NAME/[redacted]`
    same = (
        clean == path_parameters and (bare_path, bare_type) == (path, content_type) and shown == query.decode("latin-1")
    )
    return json.dumps(
        {
            "method": method,
            "path": bare_path,
            "path_parameters": clean,
            "query": shown,
            "redacted": not same,
            "content_type": bare_type,
        }
    )


def _part(name: str, value: str) -> str:
    """A part of the path."""
    return REDACTED if value and is_secret_name(name) else without_secret_values(value)


def _written_headers(headers: Sequence[tuple[bytes, bytes]]) -> str:
    """A reply's headers as JSON, without those that are secrets."""
    pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
    return json.dumps([(name, without_secret_values(value)) for name, value in pairs if not is_credential(name)])


def _content_type(headers: Sequence[tuple[bytes, bytes]]) -> str:
    return next((value.decode("latin-1") for name, value in headers if name == b"content-type"), "")


def _middle_cut(text: str) -> str:
    """The text without its middle if it is long: a traceback says at its end what failed."""
    half = MAX_TRACEBACK // 2
    return text if len(text) <= MAX_TRACEBACK else f"{text[:half]}\n  […]\n{text[-half:]}"


def _plain(text: str) -> str:
    """The text without NUL, which PostgreSQL cannot store, and without halves of surrogate pairs."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
