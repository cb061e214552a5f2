"""How a run ends, and the reply that its caller gets. A `def` workflow's is made in its thread, because it may run code
of the author."""

import traceback
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from postern.authoring.call_result import CallError
from postern.authoring.plain import plain_bytes, plain_headers, plain_problem, plain_status, text_of, type_name
from postern.authoring.reply import Reply
from postern.authoring.result import NotAwaited, ResultType
from postern.authoring.sign_in_required import SignInRequired
from postern.authoring.workflow import Workflow
from postern.errors import TOO_MANY_CALLS, Problem, header_lines, problem
from postern.journal.run import Outcome, Run, State
from postern.journal.secured import kept_error, kept_type
from postern.media_types import is_json
from postern.runs.tracebacks import traceback_of

NO_CONTENT = (204, 205)
"""Statuses whose responses have no content (RFC 9110, sections 15.3.5 and 15.3.6). A body from the author is left
out."""

JSON = (b"content-type", b"application/json")
JSON_ALONE = (JSON,)
"""The headers of a result that is no Reply. It is this very tuple, so that replies can be told apart by identity."""
PROBLEM_JSON = (b"content-type", b"application/problem+json")


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


def raised(error: BaseException, run: Run) -> Outcome:
    """The outcome of a run whose workflow raised this error. It never raises: what the error's own code raises is one
    more failure of the workflow."""
    try:
        return _raised(error, run)
    except BaseException:
        kind = "Exception" if run.workflow.secures else type_name(error)
        return failed(State.FAILED, problem("workflow-failed"), run.id, kind, "")


def _raised(error: BaseException, run: Run) -> Outcome:
    if isinstance(error, CallError) and error.code == TOO_MANY_CALLS:
        error = problem(TOO_MANY_CALLS, headers={"Retry-After": "5"})
    elif isinstance(error, SignInRequired):
        challenge = {"WWW-Authenticate": error.challenge}
        error = problem("sign-in-required", detail=text_of(error), headers=challenge)
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
    place = _place(error, run.workflow)
    kind = kept_type(error, secured=run.workflow.secures)
    outcome = failed(State.FAILED, problem("workflow-failed"), run.id, kind, text_of(error), place)
    file = run.workflow.function.__code__.co_filename
    outcome.error_traceback = traceback_of(error, file, messages=not run.workflow.secures)
    return outcome


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
