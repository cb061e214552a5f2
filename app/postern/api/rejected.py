"""Rejected requests of pages: their answer, their record, and their line in the log."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from structlog.typing import FilteringBoundLogger

from postern.access import Check, Guarded, Refused
from postern.api.client import address_of
from postern.errors import Problem
from postern.journal.refusal import Refusal, as_text
from postern.triggers.challenge import unauthenticated
from postern.triggers.reply import Answer, problem_reply
from postern.triggers.via import VIA


@dataclass(frozen=True, slots=True)
class Rejections:
    """`refused` is called with each rejected request, and returns whether to log it. `authority` is the address of
    Entra."""

    refused: Callable[[Refusal], bool]
    log: FilteringBoundLogger
    authority: str

    def answer(
        self, error: Refused | Problem, request: Request, page: str, request_id: str, policy: Guarded | None = None
    ) -> Answer:
        """`page` is the path as the table of pages has it. With `policy`, the token of the request is examined for the
        record. The log has no id of a run, because the id of an anonymous caller's run gives access to it."""
        shown = unauthenticated(error, self.authority) if isinstance(error, Refused) else error
        refusal = _refusal(request_id, shown, error, request)
        if policy is not None:
            refusal.policy, refusal.headers = policy, request.scope["headers"]
            refusal.proved = isinstance(error, Refused) and error.proved
        if self.refused(refusal):
            self.log.info("request-refused", page=page, **_fields(refusal))
        return problem_reply(shown, request_id)


def _refusal(request_id: str, shown: Problem, error: Refused | Problem, request: Request) -> Refusal:
    if isinstance(error, Refused):
        reason, checks = error.failed.name, error.checks
    else:
        reason = shown.code
        checks = (Check(shown.code, False, None, shown.reason),) if shown.reason else ()
    refusal = Refusal(request_id, reason, shown.code, shown.status, "", address_of(request), checks)
    refusal.via = request.scope.get(VIA)
    return refusal


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
        **(refusal.via.shown if refusal.via is not None else {}),
    }
