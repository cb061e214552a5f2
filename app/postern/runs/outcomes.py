"""How a run ends, and the reply that its caller gets. A `def` workflow's is made in its thread, because it may run code
of the author."""

import re
import traceback
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from postern.access import ANYONE
from postern.authoring.call_result import CallError
from postern.authoring.consent import ConsentRequired
from postern.authoring.plain import plain_bytes, plain_headers, plain_problem, plain_status, text_of, type_name
from postern.authoring.reply import Reply
from postern.authoring.result import NotAwaited, ResultType
from postern.authoring.sign_in_required import SignInRequired
from postern.authoring.stream_makers import note_stream
from postern.authoring.streams import File, Stream
from postern.authoring.workflow import Workflow
from postern.errors import CONSENT_REQUIRED, PROBLEMS, TOO_MANY_CALLS, Problem, header_lines, problem
from postern.journal.run import Outcome, Run, State
from postern.journal.secured import kept_error, kept_type
from postern.media_types import is_json
from postern.runs.hints import note_hint
from postern.runs.tracebacks import traceback_of

NO_CONTENT = (204, 205)
"""Statuses whose responses have no content (RFC 9110, sections 15.3.5 and 15.3.6). A body from the author is left
out."""

JSON = (b"content-type", b"application/json")
JSON_ALONE = (JSON,)
"""The headers of a result that is no Reply. It is this very tuple, so that replies can be told apart by identity."""
PROBLEM_JSON = (b"content-type", b"application/problem+json")

READER_GONE = "reader-gone"
_GONE = "The reader closed the connection before the reply had ended, or read nothing for too long."


class ReaderGone(Exception):
    """The reader of a stream closed the connection, or read nothing for so long that it was closed."""


_CONNECT_PATH = re.compile(r"/connect/[A-Za-z0-9][A-Za-z0-9._-]*")
_OF_ANOTHER_RUN = "A workflow that this one called has a connection that has to be connected by a person first."


def no_thread() -> Problem:
    """The problem of a `def` workflow for which no thread is free."""
    detail = "No thread is free for this workflow: its code did not begin."
    return problem("too-many-runs", detail=detail, headers={"Retry-After": "5"})


def not_begun(run: Run, shown: Problem) -> Outcome:
    """The outcome of a run whose workflow was never called."""
    outcome = failed(State.FAILED, shown, run.id, shown.code, shown.detail, shown=True)
    outcome.begun = False
    return outcome


def cut_off(run: Run, *, by_hand: bool, begun: bool) -> Outcome:
    """The outcome of a run that was cancelled by its timeout, or `by_hand`, whatever its workflow does then."""
    if by_hand:
        state, shown = State.CANCELLED, problem("run-cancelled")
    elif not begun:
        return not_begun(run, no_thread())
    else:
        state, shown = State.TIMED_OUT, problem("timed-out")
    outcome = failed(state, shown, run.id, shown.code, shown.detail, shown=True)
    outcome.begun = begun
    return outcome


def succeeded(value: Any, result: ResultType | None) -> Outcome:
    """The outcome of a workflow that returned, with what its return annotation says. Raises any exception of writing
    the value."""
    if not isinstance(value, Reply):
        if result is not None:
            return Outcome(State.SUCCEEDED, 200, result.written(value), JSON_ALONE)
        return Outcome(State.SUCCEEDED, 200, to_json(value, inf_nan_mode="null"), JSON_ALONE)
    headers = header_lines(plain_headers(value.headers))
    status, body = plain_status(value.status), value.body
    if isinstance(body, Stream | File):
        if status in NO_CONTENT:
            raise ValueError(f"a stream is content, and a reply with status {status} has none")
        return Outcome(State.SUCCEEDED, status, b"", tuple(headers), stream=body)
    own_type = dict(headers).get(b"content-type", b"")
    if status in NO_CONTENT:
        content, media_type = b"", b""
    elif isinstance(body, bytes):
        content, media_type = plain_bytes(body), b"application/octet-stream"
    elif isinstance(body, str) and own_type and not is_json(own_type):
        content, media_type = str.encode(body), own_type
    else:
        content, media_type = to_json(body, inf_nan_mode="null"), b"application/json"
    if content and not own_type:
        headers.append((b"content-type", media_type))
    return Outcome(State.SUCCEEDED, status, content, tuple(headers))


def whole(value: Any, workflow: Workflow) -> Outcome:
    """The same for a run whose reply is kept until its caller asks for it. Raises StreamOfDurableRun and
    StreamOfAcceptedRun."""
    outcome = succeeded(value, workflow.result)
    if outcome.stream is None:
        return outcome
    if workflow.durable:
        raise StreamOfDurableRun
    note_stream(workflow.function)
    raise StreamOfAcceptedRun


class StreamOfDurableRun(TypeError):
    """A durable workflow returned a reply that is sent while its run goes on."""

    def __init__(self) -> None:
        super().__init__(
            "a durable workflow cannot return Reply.file(), Reply.stream() or Reply.events(): its caller gets a 202, "
            "and the result later. Return the content, or a URL of another workflow that sends it"
        )


class StreamOfAcceptedRun(TypeError):
    """A workflow returned such a reply to a request with `Prefer: respond-async`."""

    def __init__(self) -> None:
        super().__init__(
            "the request was sent with Prefer: respond-async and accepted, because the code of the workflow did not "
            "show that it returns Reply.file(), Reply.stream() or Reply.events(). This server process ignores "
            "the preference for this workflow from now on: send the request again. Call Reply's method in the "
            "function itself, so that it never happens"
        )


def raised(error: BaseException, run: Run, pages: str = "") -> Outcome:
    """The outcome of a run whose workflow raised this error. It never raises: what the error's own code raises is one
    more failure of the workflow. `pages` is the address of the pages for people, "" if there are none."""
    try:
        return _raised(error, run, pages)
    except BaseException:
        kind = "Exception" if run.workflow.secures else type_name(error)
        return failed(State.FAILED, problem("workflow-failed"), run.id, kind, "")


def _raised(error: BaseException, run: Run, pages: str) -> Outcome:
    if isinstance(error, ReaderGone):
        return failed(State.CANCELLED, problem("run-cancelled"), run.id, READER_GONE, _GONE, shown=True)
    if isinstance(error, CallError):
        error = _of_call(error, run, pages)
    if isinstance(error, Problem):
        shown = plain_problem(error)
        reason = "" if run.workflow.secures else shown.reason
        outcome = failed(State.FAILED, shown, run.id, shown.code, shown.detail, reason, shown=True)
        outcome.error_type, outcome.error_message = kept_error(run.workflow, outcome)
        return outcome
    if isinstance(error, StopIteration):  # what `async def` makes of it
        error = RuntimeError("StopIteration left the workflow").with_traceback(error.__traceback__)
    if isinstance(error, PydanticSerializationError) and "'coroutine'" in text_of(error):
        error = NotAwaited()
    note_hint(error, run.workflow)
    place = _place(error, run.workflow)
    kind = kept_type(error, secured=run.workflow.secures)
    outcome = failed(State.FAILED, problem("workflow-failed"), run.id, kind, text_of(error), place)
    file = run.workflow.function.__code__.co_filename
    outcome.error_traceback = traceback_of(error, file, messages=not run.workflow.secures)
    return outcome


def _of_call(error: CallError, run: Run, pages: str) -> BaseException:
    """The problem of an error that the caller of a run gets like the run itself; else the error."""
    if error.code == TOO_MANY_CALLS:
        return problem(TOO_MANY_CALLS, headers={"Retry-After": "5"})
    if isinstance(error, SignInRequired):
        challenge = {"WWW-Authenticate": error.challenge}
        return problem("sign-in-required", detail=text_of(error), headers=challenge)
    if isinstance(error, ConsentRequired):
        return _consent(error, run, pages)
    if (error.status, error.code) == (PROBLEMS[CONSENT_REQUIRED].status, CONSENT_REQUIRED):
        return problem(CONSENT_REQUIRED, detail=_OF_ANOTHER_RUN, reason="another run needs it")
    return error


def _consent(error: ConsentRequired, run: Run, pages: str) -> Problem:
    """What has to be connected, and by whom. An anonymous caller reads nothing of it. `connect_url` is for a person
    only: it has no secret, and the page asks who opens it."""
    if run.caller.kind == ANYONE.kind:
        return problem(CONSENT_REQUIRED, reason=error.reason)
    shown = problem(CONSENT_REQUIRED, detail=text_of(error), reason=error.reason)
    if pages and run.caller.kind == "user" and _CONNECT_PATH.fullmatch(error.connect_path):
        shown.members["connect_url"] = pages + error.connect_path
    return shown


def failed(
    state: State, problem: Problem, run_id: str, kind: str, message: str, place: str = "", *, shown: bool = False
) -> Outcome:
    """The outcome that shows a problem to the caller."""
    content = to_json(problem.document(run_id, run_id), inf_nan_mode="null")
    headers = (PROBLEM_JSON, *header_lines(problem.headers))
    return Outcome(state, problem.status, content, headers, kind, message, place, shown)


def _place(error: BaseException, workflow: Workflow) -> str:
    """The line of the author's files that failed, without the exception's text."""
    if isinstance(error, PydanticSerializationError):
        return "(the result cannot be written as JSON)"
    module = workflow.function.__code__.co_filename
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == module]
    return f"at {module}:{lines[-1] if lines else workflow.line}"
