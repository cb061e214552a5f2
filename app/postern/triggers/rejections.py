"""Answers rejected requests, and records for the operator what the caller does not see."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from postern.access import Check, Guarded, Refused
from postern.authoring.workflow import Workflow
from postern.catalog import Trigger
from postern.errors import Problem
from postern.journal.refusal import Refusal, as_text
from postern.journal.secured import url_shown
from postern.redaction import without_secret_values
from postern.runs.tracebacks import traceback_of
from postern.trace import Trace, parse, trace_id_of
from postern.triggers.find import PREFIX
from postern.triggers.reply import Answer, problem_reply
from postern.triggers.request_counts import Count
from postern.triggers.secure_transport import CODE as INSECURE
from postern.triggers.secure_transport import Scope
from postern.triggers.via import VIA

BEFORE_IDENTITY = frozenset({"unknown-trigger", "method-not-allowed", INSECURE})
"""Problems of requests whose token is not looked at."""

NETWORK = "network"
"""The check of the client's address (see client_network.py)."""

NO_TOKEN_READ = BEFORE_IDENTITY | {NETWORK}
"""The same, by the reason on record."""
DELAYED = BEFORE_IDENTITY | {"rate-limited"}
"""Problems whose answers are delayed in a flood."""


@dataclass(frozen=True, slots=True)
class Rejections:
    """The answers to rejected requests. For the fields see `pipeline.Pipeline`."""

    triggers: Callable[[], Mapping[str, Trigger]]
    refused: Callable[[Refusal], bool]
    log: FilteringBoundLogger
    count_request: Count
    for_author: bool
    console_on: bool

    def refuse(self, shown: Problem, scope: Scope, request_id: str, refused: Refused | None = None) -> Answer:
        """Respond with the problem, and record for the operator what the caller does not see."""
        trigger = self.requested_trigger(scope["raw_path"])
        if self.for_author and trigger is not None and shown.__cause__ is not None:
            self._show_failure(shown.__cause__, trigger.workflow, scope, request_id)
        reason = shown.reason if refused else shown.code
        refusal = Refusal(
            request_id,
            reason,
            shown.code,
            shown.status,
            trigger.workflow.name if trigger else "",
            address_of(scope),
            refused.checks if refused else (),
        )
        refusal.via = via = scope.get(VIA)
        if trigger and reason not in NO_TOKEN_READ and isinstance(trigger.policy, Guarded):
            refusal.policy, refusal.headers = trigger.policy, scope["headers"]
        if refused:
            refusal.proved = refused.proved
        elif shown.reason:
            refusal.checks = (Check(shown.code, False, None, shown.reason),)
        if self.refused(refusal):
            failed = refused.failed if refused else None
            self.log.info(
                "request-refused",
                request_id=request_id,
                trace_id=trace_id(scope, request_id),
                code=shown.code,
                status=shown.status,
                reason=shown.reason,
                expected=as_text(failed.expected) if failed else "",
                found=as_text(failed.found) if failed else "",
                **({"hint": failed.hint} if failed and failed.hint else {}),
                passed=[check.name for check in refused.checks[:-1]] if refused else [],
                workflow=refusal.workflow,
                client_address=refusal.client_address,
                **(via.shown if via is not None else {}),
            )
        return problem_reply(shown, request_id, console_on=self.console_on)

    def _show_failure(self, error: BaseException, workflow: Workflow, scope: Scope, request_id: str) -> None:
        """Log an exception of an author's validator, with the request that caused it."""
        text = traceback_of(error, workflow.function.__code__.co_filename, messages=not workflow.secures)
        self.log.error(
            "workflow-failed",
            workflow=workflow.name,
            request_id=request_id,
            method=scope["method"],
            url=url_shown(workflow, scope["path"]),
            error=without_secret_values(text.rpartition("\n")[2]),
            exception=without_secret_values(text),
        )

    def count(self, scope: Scope, outcome: str) -> None:
        """Count a request that started no run."""
        trigger = self.requested_trigger(scope["raw_path"])
        name, mode = (trigger.workflow.name, trigger.policy.mode) if trigger is not None else ("", "")
        self.count_request(name, mode, outcome)

    def requested_trigger(self, raw_path: bytes) -> Trigger | None:
        """The trigger that was requested, if there is one. No other text of the URL is kept, because it might be a
        secret."""
        name = raw_path.removeprefix(PREFIX).partition(b"/")[0].decode("ascii", "replace")
        return self.triggers().get(name)


def address_of(scope: Scope) -> str:
    """The client's address; "" if it has none."""
    client = scope.get("client")
    return client[0] if client else ""


def trace_of(scope: Scope) -> Trace | None:
    """The trace that the request names. A request with two `traceparent` headers names no trace."""
    named = [value for name, value in scope["headers"] if name == b"traceparent"]
    state = b",".join(value for name, value in scope["headers"] if name == b"tracestate")
    return parse(named[0], state) if len(named) == 1 else None


def trace_id(scope: Scope, request_id: str) -> str:
    """The trace id for a line in the log of a request without a run."""
    return trace_id_of(request_id, trace_of(scope))
