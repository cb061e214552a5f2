"""Uses of a record: the reply as it was sent, and another run with the same inputs. Pure."""

import json
from base64 import b64decode
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote

from postern.access import ANYONE, OPEN, Caller, Guarded, Signed, StartedBy, admit
from postern.api.access import Standing
from postern.authoring.request import Request
from postern.authoring.sent_form import URLENCODED
from postern.authoring.workflow import Workflow
from postern.catalog import Snapshot, Trigger
from postern.catalog.context_changes import apply
from postern.errors import Problem, problem
from postern.journal.body_form import WITH_FILES, Form
from postern.journal.reading.records import RunRecord
from postern.journal.run import Run, State, actor
from postern.journal.shares import holder_of
from postern.runs.idempotency import Key, fingerprint, scope_of, secured_fingerprint
from postern.runs.runner import Read
from postern.triggers.find import find
from postern.triggers.large_bodies import LARGE, LargeBodies
from postern.triggers.read import arguments
from postern.triggers.reply import Answer, recorded_reply

Start = Callable[
    [Workflow, Caller, Request, Mapping[str, Any] | Read, str, Key | None, str, str, StartedBy], Awaitable[Run]
]

_LOST: Mapping[Form, str] = {
    Form.CUT: "were cut",
    Form.SECURED: "are not recorded, because its workflow is secured",
    Form.REDACTED: "were redacted",
}
"""The forms from which a body cannot be restored, and why."""

_OF_THE_BODY = frozenset({"content-length", "content-md5", "content-digest", "repr-digest", "digest"})
"""Headers that hold for the body that was sent, and for no other."""


def reply_again(record: RunRecord, *, console_on: bool = True) -> Answer:
    """The reply of a run that has ended, as its trigger sent it. Raises Problem `reply-not-kept`."""
    if record.state is State.INTERRUPTED or record.status is None:
        raise problem("reply-not-kept", detail="The run ended without a reply.")
    if (lost := _LOST.get(record.outputs_form or Form.NONE)) is not None:
        raise problem("reply-not-kept", detail=f"The outputs of the run {lost}.")
    try:
        content = _content(record.outputs, record.outputs_form)
        pairs = json.loads(record.reply_headers) if record.reply_headers else [["content-type", "application/json"]]
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]
    except (ValueError, TypeError, AttributeError) as error:
        raise problem("reply-not-kept", reason=type(error).__name__) from None
    return recorded_reply(record.id, record.status, headers, content, console_on=console_on)


def check_resubmit(record: RunRecord, trigger: Trigger | None, standing: Standing, caller: Caller) -> None:
    """Raise Problem `cannot-resubmit`, with the reason, if the run cannot be started again from its record. Raise
    Refused if the caller is not an operator and may not call the workflow now."""
    if (why := why_not(record, trigger)) or trigger is None:
        raise problem("cannot-resubmit", detail=why)
    if standing is Standing.BEARER and trigger.policy is not OPEN:
        detail = "The workflow is not anonymous any more."
        if isinstance(trigger.policy, Signed):
            detail = "Only operators resubmit a run of a workflow whose requests are signed."
        raise problem("cannot-resubmit", detail=detail)
    if standing is Standing.OWNER:
        admit(trigger.policy, caller)


def caller_again(record: RunRecord, trigger: Trigger | None, caller: Caller) -> Caller:
    """The caller of the new run. An anonymous workflow looks at no token: an anonymous caller's run stays one, also
    when an operator starts it again. No signature is checked again: the name says by which the first run came."""
    again = record.caller_kind == ANYONE.kind and trigger is not None and not isinstance(trigger.policy, Guarded)
    return replace(ANYONE, name=record.caller_name or "") if again else caller


def key_of_resubmit(record: RunRecord, workflow: Workflow, by: Caller, key: str, body: str | None) -> Key:
    """The idempotency key of a resubmit of this run by this caller, with another `body` if it is edited. It is none of
    the keys of requests to triggers."""
    scope = scope_of(f"resubmit {record.id}", by, key)
    parts = ("POST", f"/runs/{record.id}/resubmit", b"", "", b"" if body is None else b"edited " + body.encode())
    return Key(scope, secured_fingerprint(key, *parts) if workflow.secures else fingerprint(*parts))


def why_not(record: RunRecord, trigger: Trigger | None) -> str:
    """Why a run cannot be started again by any caller; "" if it can."""
    if not record.ended:
        return "The run has not ended."
    if trigger is None:
        return "There is no workflow of this name any more."
    if trigger.workflow.stateless:
        return "The workflow does not record its runs any more."
    if (lost := _LOST.get(record.inputs_form or Form.NONE)) is not None:
        return f"The inputs of the run {lost}."
    if record.request and _is_redacted(record.request):
        return "The query or the path of the run's request was redacted."
    if record.request and json.loads(record.request).get("content_type") == WITH_FILES:
        return "The files of the run's form are not recorded: only their names, types and sizes are."
    if record.request_headers is None:
        return "The run was recorded by a release before 0.2, which did not record the headers of requests."
    if any(value is None for _, value in json.loads(record.request_headers)):
        return "Headers of the run's request are not recorded: they are credentials, or too long."
    return ""


def edited(record: RunRecord, body: str) -> RunRecord:
    """The record as it would be if its caller had sent another body: text where it was text, otherwise JSON. Everything
    else of the request stays, without the headers that describe the body."""
    form = Form.TEXT if record.inputs_form is Form.TEXT else Form.JSON
    request, headers = record.request, json.loads(record.request_headers or "[]")
    if record.inputs is None:  # it had no body, and so no type of one
        kind = "application/json" if body else ""
        request = json.dumps(json.loads(request) | {"content_type": kind}) if request else None
        headers = [pair for pair in headers if pair[0].lower() != "content-type"]
        headers += [["content-type", kind]] if kind else []
    kept = [pair for pair in headers if pair[0].lower() not in _OF_THE_BODY]
    return replace(
        record,
        inputs=body or None,
        inputs_form=form if body else Form.NONE,
        request=request,
        request_headers=None if record.request_headers is None else json.dumps(kept),
    )


def resubmitter(
    snapshot: Callable[[], Snapshot], start: Start, large_bodies: LargeBodies
) -> Callable[[RunRecord, Caller, str, Caller, StartedBy, Key | None], Coroutine[Any, Any, Run]]:
    """A function that runs the current version of a workflow with the inputs of a record, for another caller and under
    another id, until the run's end is recorded. The next arguments are who resubmits it, what decides for whom the run
    may act, and the idempotency key, if there is one. Large inputs take turns with the large bodies of requests."""

    def resubmit(
        record: RunRecord, caller: Caller, run_id: str, by: Caller, started_by: StartedBy, key: Key | None = None
    ) -> Coroutine[Any, Any, Run]:
        # The snapshot by which access was checked: by the time the run begins there may be another one.
        return again(snapshot(), record, caller, run_id, by, started_by, key)

    async def again(
        checked: Snapshot,
        record: RunRecord,
        caller: Caller,
        run_id: str,
        by: Caller,
        started_by: StartedBy,
        key: Key | None,
    ) -> Run:
        recorded = json.loads(record.request) if record.request else {}
        path = recorded.get("path") or f"/triggers/{record.workflow}"
        method, content_type = recorded.get("method", "POST"), recorded.get("content_type", "application/json")
        body = _content(record.inputs, record.inputs_form)
        try:
            trigger, parameters = find(checked.triggers, method, quote(path).encode("ascii"))
        except Problem as unfit:
            raise _no_longer_valid(unfit) from None
        apply(trigger.context)
        kind = content_type.encode("latin-1") if body else None
        query, headers = recorded.get("query", "").encode("latin-1"), _headers(record, content_type if body else "")
        read = partial(_arguments, trigger.workflow, body, kind, parameters, query, headers)
        if trigger.workflow.reads_in_thread:
            given: Mapping[str, Any] | Read = large_bodies.in_thread(read) if len(body) > LARGE else read
        elif len(body) > LARGE:
            who = holder_of(by.kind, by.tenant_id, by.object_id, "")
            given = await large_bodies.read(read, trigger.workflow.name, who, len(body))
        else:
            given = read()
        request = Request(method, path, parameters, "", body, query, headers, content_type=content_type if body else "")
        request._prefer = b",".join(value for name, value in headers if name.lower() == b"prefer")
        return await start(trigger.workflow, caller, request, given, run_id, key, record.id, actor(by), started_by)

    return resubmit


def _arguments(
    workflow: Workflow,
    body: bytes,
    content_type: bytes | None,
    parameters: Mapping[str, str],
    query: bytes,
    headers: list[tuple[bytes, bytes]],
) -> dict[str, Any]:
    try:
        return arguments(workflow, body, content_type, parameters, query, headers)
    except Problem as unfit:
        raise _no_longer_valid(unfit) from None


def _headers(record: RunRecord, content_type: str) -> list[tuple[bytes, bytes]]:
    """The recorded headers. A form of `multipart/form-data` without files is recorded as one of names and values."""
    fields = [(name, value) for name, value in json.loads(record.request_headers or "[]")]
    if content_type == URLENCODED:
        fields = [
            (name, content_type if name.lower() == "content-type" else value)
            for name, value in fields
            if name.lower() not in _OF_THE_BODY
        ]
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]


def _no_longer_valid(unfit: Problem) -> Problem:
    errors = unfit.members.get("errors") or [{"where": "", "message": unfit.detail}]
    detail = "The inputs of the run are not valid for the workflow's current version."
    return problem("cannot-resubmit", detail=detail, reason=unfit.code, errors=errors)


def _content(text: str | None, form: Form | None) -> bytes:
    if text is None:
        return b""
    return b64decode(text, validate=True) if form is Form.BASE64 else text.encode()


def _is_redacted(request: str) -> bool:
    return bool(json.loads(request).get("redacted"))
