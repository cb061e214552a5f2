"""The run API as routes of Starlette, and its errors as problems."""

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from structlog.typing import FilteringBoundLogger

from postern.access import Caller, Check, Refused
from postern.api.approval_actions import ApprovalActions
from postern.api.approval_handlers import ApprovalHandlers
from postern.api.audit_handlers import AuditHandlers
from postern.api.client import address_of
from postern.api.departure import Page, while_connected
from postern.api.durable_actions import DurableActions
from postern.api.finding_actions import FindingActions
from postern.api.finding_handlers import FindingHandlers
from postern.api.grant_actions import GrantActions
from postern.api.grant_handlers import GrantHandlers
from postern.api.handlers import Handlers
from postern.api.result_wait import ResultWait
from postern.api.results import Results
from postern.api.revocation_handlers import RevocationHandlers
from postern.api.run_actions import Cancel, Read, Resubmit, RunActions, Underway, Write
from postern.api.run_audit import RunAudit
from postern.api.signal_actions import SignalActions
from postern.api.signal_handlers import SignalHandlers
from postern.catalog import Snapshot
from postern.errors import Problem, problem
from postern.ids import new_id
from postern.journal.reading.readers import SERVER
from postern.journal.refusal import Refusal, as_text
from postern.security.revocation.revoking import Revoking
from postern.settings.installation import Installation
from postern.triggers.challenge import unauthenticated
from postern.triggers.reply import Answer, problem_reply
from postern.triggers.secure_transport import Scope


def routes(
    *,
    read: Read,
    write: Write,
    identify: Callable[[Scope], Awaitable[Caller]],
    cancel: Cancel,
    resubmit: Resubmit,
    snapshot: Callable[[], Snapshot],
    installation: Installation,
    refused: Callable[[Refusal], bool],
    log: FilteringBoundLogger,
    now: Callable[[], float] = time.time,
    underway: Underway = lambda _: None,
    results: Results | None = None,
    durable: DurableActions | None = None,
    grants: GrantActions | None = None,
    connect_at: str = "",
    revoking: Revoking | None = None,
    more: Iterable[tuple[str, str, Page]] = (),
    audit: RunAudit | None = None,
    findings: FindingActions | None = None,
    signals: SignalActions | None = None,
    approvals: ApprovalActions | None = None,
) -> list[Route]:
    """The routes of the run API, and of `more` pages by method and path.

    `read` and `write` are the journal's, `identify` verifies the token of a request (see
    secure_transport.Identification), `snapshot` returns the current catalog, `underway` a run of this process.
    `refused` is called with each rejected request, and returns whether to log it. `results` replies with the results of
    runs, and `durable` are the actions on durable runs. `grants` are the actions on connections that
    people grant, and `connect_at` is the address that their pages are below, "" if the console is off. `revoking` ends
    access. `audit` notes in the audit log what is done with runs. `findings` are the actions on findings.
    """
    actions = RunActions(read, write, cancel, resubmit, snapshot, log, now, audit or RunAudit(), durable)
    shown = results or Results(read, ResultWait(lambda query: read(query, SERVER)))
    handlers = Handlers(installation, read, identify, snapshot, actions, shown, underway, now)
    table: tuple[tuple[str, str, Page], ...] = (
        *_of_runs(handlers),
        *(_of_grants(GrantHandlers(installation, handlers.caller, grants, connect_at)) if grants is not None else ()),
        *AuditHandlers(installation, handlers.caller, read).pages,
        *(FindingHandlers(installation, handlers.caller, read, findings).pages if findings is not None else ()),
        *(
            SignalHandlers(installation, handlers.caller, handlers.actor, read, snapshot, signals).pages
            if signals is not None
            else ()
        ),
        *(ApprovalHandlers(installation, identify, snapshot, approvals).pages if approvals is not None else ()),
        *(_of_revocations(RevocationHandlers(installation, handlers.caller, read, revoking)) if revoking else ()),
        *more,
    )
    authority = installation.authority
    return [
        Route(path, _endpoint(page, path, refused, log, authority), methods=[method]) for method, path, page in table
    ]


def _of_runs(handlers: Handlers) -> tuple[tuple[str, str, Page], ...]:
    return (
        ("GET", "/runs", handlers.runs),
        ("GET", "/runs/{id}", handlers.run),
        ("GET", "/runs/{id}/result", handlers.result),
        ("GET", "/runs/{id}/tree", handlers.tree),
        ("GET", "/runs/{id}/logs", handlers.logs),
        ("POST", "/runs/{id}/cancel", handlers.cancel),
        ("POST", "/runs/{id}/resubmit", handlers.resubmit),
        ("POST", "/runs/{id}/resume", handlers.resume),
        ("GET", "/refusals", handlers.refusals),
        ("GET", "/workflows", handlers.workflows),
    )


def _of_grants(handlers: GrantHandlers) -> tuple[tuple[str, str, Page], ...]:
    return (
        ("GET", "/connections", handlers.index),
        ("POST", "/connections/{name}/links", handlers.link),
        ("DELETE", "/connections/{name}", handlers.end),
    )


def _of_revocations(handlers: RevocationHandlers) -> tuple[tuple[str, str, Page], ...]:
    return (
        ("GET", "/revocations", handlers.index),
        ("POST", "/revocations", handlers.make),
        ("DELETE", "/revocations/{id}", handlers.lift),
    )


def _endpoint(
    page: Page, path: str, refused: Callable[[Refusal], bool], log: FilteringBoundLogger, authority: str
) -> Callable[[Request], Awaitable[Response]]:
    """The page with its errors as problems. No other detail of an error is sent. The log has no id of a run, because
    the id of an anonymous caller's run gives access to it."""

    async def endpoint(request: Request) -> Response:
        request_id = new_id()
        try:
            reads = request.method in ("GET", "HEAD")
            answer = await (while_connected(page, request) if reads else page(request))
        except (Refused, Problem) as error:
            answer = refuse(error, request_id, request)
        except Exception:
            log.exception("request-failed", request_id=request_id, page=path)
            answer = problem_reply(problem("internal-error"), request_id)
        return _response(answer, request)

    def refuse(error: Refused | Problem, request_id: str, request: Request) -> Answer:
        # Not in the frame of `endpoint`: the error has that frame, so they would keep each other with the request.
        rejection, shown = (error, unauthenticated(error, authority)) if isinstance(error, Refused) else (None, error)
        refusal = _refusal(request_id, shown, rejection, request)
        if refused(refusal):
            log.info("request-refused", page=path, **_fields(refusal))
        return problem_reply(shown, request_id)

    return endpoint


def _refusal(request_id: str, shown: Problem, rejection: Refused | None, request: Request) -> Refusal:
    reason = rejection.failed.name if rejection else shown.code
    private = (Check(shown.code, False, None, shown.reason),) if shown.reason else ()
    checks = rejection.checks if rejection else private
    return Refusal(request_id, reason, shown.code, shown.status, "", address_of(request), checks)


def _fields(refusal: Refusal) -> dict[str, Any]:
    failed = refusal.checks[-1] if refusal.checks else None
    return {
        "request_id": refusal.request_id,
        "code": refusal.code,
        "status": refusal.status,
        "reason": refusal.reason,
        "expected": as_text(failed.expected) if failed else "",
        "found": as_text(failed.found) if failed else "",
        **({"hint": failed.hint} if failed and failed.hint else {}),
        "client_address": refusal.client_address,
    }


def _response(answer: Answer, request: Request) -> Response:
    """The answer as Starlette's response. For HEAD, without its content (RFC 9110, section 9.3.2)."""
    response = Response(b"" if request.method == "HEAD" else answer.content, answer.status)
    response.raw_headers = answer.headers
    return response
