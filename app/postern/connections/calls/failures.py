"""The errors of `ctx.call`: whatever goes wrong becomes a CallError. All functions are pure."""

from collections.abc import Mapping
from typing import Any

from postern.authoring.call_result import CallError
from postern.connections.calls.call_advice import FEWER, of_result, sentence, too_many, unreached
from postern.connections.calls.call_request import Sending
from postern.connections.calls.call_response import IDEMPOTENT, is_outcome, may_have_run, problem_of, run_id_of
from postern.connections.calls.targets import Target
from postern.connections.faults import ConnectionFault, ResponseFault
from postern.connections.grants.no_grant import NoGrant
from postern.connections.places import TooManyCalls
from postern.connections.response_body import NoCredential
from postern.http_client import (
    AgentLost,
    ConnectError,
    ConnectTimeout,
    HTTPError,
    InvalidURL,
    NotOpened,
    PoolTimeout,
    Response,
)

MAY_HAVE_RUN = "The request may have run there: look there before you send it again."
MAY_STILL_RUN = "The call was accepted (202) and may have run there: look there before you send it again."


def rejected(target: Target, response: Response, sending: Sending, tenant_id: str | None) -> CallError:
    """The error of a response that is not a success."""
    problem, after = problem_of(response), response.headers.get("Retry-After")
    text = of_result(target, response, bare=sending.bare) if sending.poll else ""
    text = text or sentence(target, response, problem.get("code"), tenant_id)
    return doubtful(
        CallError(
            target.entry,
            text,
            status=response.status_code,
            problem=problem,
            run_id=run_id_of(response, problem),
            headers={"Retry-After": after} if after else {},
            ran=is_outcome(response, problem),
        ),
        sending.method,
    )


def failed(target: Target, error: Exception, method: str) -> CallError:
    """The error of a request without a response."""
    if isinstance(error, TooManyCalls):
        return too_many(target)
    if isinstance(error, PoolTimeout):
        return CallError(target.entry, f"{error}. {FEWER}.", sent=False)
    if isinstance(error, NoCredential):
        return CallError(target.entry, f"{error}.", sent=False)
    if isinstance(error, NotOpened):
        return CallError(target.entry, f"{error}.", sent=False)
    if isinstance(error, AgentLost):
        return doubtful(CallError(target.entry, f"{error}.", sent=True), method)
    if isinstance(error, ConnectError | ConnectTimeout):
        return unreached(target, error, sent=False)
    if isinstance(error, HTTPError):
        return doubtful(unreached(target, error, sent=True), method)
    if isinstance(error, InvalidURL):
        text = f"{target.entry} was not called: with path= its URL is too long, or is none."
        return CallError(target.entry, text, sent=False, final=True)
    wrong = foreign(target.entry, error)
    if wrong.sent and not isinstance(error, ConnectionFault) and method not in IDEMPOTENT:  # an error of this program
        wrong.args = (f"{wrong} {MAY_HAVE_RUN}",)
    return wrong


def foreign(entry: str, error: Exception) -> CallError:
    """The error of anything that is not a fault of the connection: an entry or setting to correct, a response that is
    too large, or an error that this program did not expect, whose text may hold anything."""
    if isinstance(error, NoGrant):
        return error.for_call()
    if isinstance(error, CallError):
        return error
    if isinstance(error, ConnectionFault):
        return CallError(entry, str(error), sent=isinstance(error, ResponseFault), final=True)
    wrong = CallError(entry, f"{entry} could not be called ({type(error).__name__}).", final=True)
    return wrong.with_traceback(error.__traceback__)


def doubtful(error: CallError, method: str) -> CallError:
    """The same error. Its text says if the request may have run."""
    if may_have_run(error, method=method):
        error.args = (f"{error} {MAY_HAVE_RUN}",)
    return error


def accepted(error: CallError) -> CallError:
    """The same error, of a look for the later result: the call itself has arrived."""
    error.sent = True
    if not error.ran:
        error.args = (f"{error} {MAY_STILL_RUN}",)
    return error


def operation_failed(target: Target, response: Response, problem: Mapping[str, Any]) -> CallError:
    """The error of an operation that was accepted, and then failed."""
    return CallError(
        target.entry,
        f"{target.entry} accepted the call, and its operation failed there. `.problem` has its error.",
        status=response.status_code,
        problem=problem,
        run_id=run_id_of(response, problem),
        ran=True,
    )
