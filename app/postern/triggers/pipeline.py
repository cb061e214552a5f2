"""The pipeline: every request to a trigger URL passes the six steps, in this order and nowhere else.

There is no authentication middleware, because the policy belongs to the workflow that was found. The pipeline is a
plain ASGI application: it reads headers from the scope and the body from `receive`, so that nothing is done twice.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from math import inf
from time import monotonic
from typing import Any

from structlog.typing import FilteringBoundLogger

from postern.access import ANYONE, OPEN, Caller, Check, Guarded, Refused, admit
from postern.authoring.plain import plain_problem, type_name
from postern.authoring.request import Request
from postern.authoring.workflow import Workflow
from postern.call_chain import DEPTH_FIELD, chain_of
from postern.catalog import Trigger
from postern.catalog.context_changes import apply
from postern.errors import Problem, problem
from postern.ids import new_id
from postern.journal.refusal import Refusal, as_text
from postern.journal.run import Run
from postern.journal.secured import url_shown
from postern.journal.shares import holder_of
from postern.logs import Coalesced
from postern.own_cookies import without_own_cookies
from postern.redaction import without_secret_values
from postern.runs.idempotency import HEADER as IDEMPOTENCY_KEY
from postern.runs.idempotency import Key, key_of
from postern.runs.runner import Abandoned, Read
from postern.runs.tracebacks import traceback_of
from postern.runs.underway import Late
from postern.trace import Trace, parse, trace_id_of
from postern.triggers.challenge import unauthenticated
from postern.triggers.exchange import EXCHANGE, Exchange
from postern.triggers.find import PREFIX, find
from postern.triggers.large_bodies import LARGE, LargeBodies
from postern.triggers.read import Disconnected, Receive, arguments, is_left_out, read_body, whole_body
from postern.triggers.refusal_throttle import RefusalThrottle
from postern.triggers.reply import Answer, Send, problem_reply, reply
from postern.triggers.request_counts import Count
from postern.triggers.secure_transport import CODE as INSECURE
from postern.triggers.secure_transport import Scope

Arguments = Mapping[str, Any] | Read
Start = Callable[[Workflow, Caller, Request, Arguments, str, Key | None, Late | None], Awaitable[Run]]

WITHHELD = frozenset({b"authorization", b"cookie", b"proxy-authorization"})
"""Headers that a workflow behind an authenticated trigger does not see. An anonymous one does not see the cookies of
Postern's own pages."""

NOTHING: frozenset[bytes] = frozenset()

BEFORE_IDENTITY = frozenset({"unknown-trigger", "method-not-allowed", INSECURE})
"""Problems of requests whose token is not looked at."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Checks access and starts runs.

    - `triggers` returns the current catalog, `start` runs a workflow.
    - `identify` returns the caller of a request, `recall` the caller of a token that was verified before
      (see secure_transport.Identification).
    - `refused` takes each rejected request and returns whether to log it: in a flood, one log line stands for many.
    - `count` is called for each request that got a response.
    - `for_author` logs exceptions of validators with their tracebacks, as `postern dev` does.
    - `throttle` delays the responses to rejected requests in a flood, and `large_bodies` the reading of large bodies.
    - `gone` logs clients that disconnect: one line for many.
    - `client_id` is Postern's own application, by which it recognizes calls of its own runs.
    - `stopping` returns whether the server stops, which ends what is still running.
    - `console_on` says whether the console's pages are at this origin too (see one_origin.py).
    """

    triggers: Callable[[], Mapping[str, Trigger]]
    recall: Callable[[Scope, Mapping[bytes, bytes]], Caller | None]
    identify: Callable[[Scope], Awaitable[Caller]]
    start: Start
    refused: Callable[[Refusal], bool]
    max_body_bytes: int
    log: FilteringBoundLogger
    count: Count
    for_author: bool = False
    throttle: RefusalThrottle = field(default_factory=RefusalThrottle)
    gone: Coalesced = field(default_factory=lambda: Coalesced("client-disconnected"))
    large_bodies: LargeBodies = field(default_factory=LargeBodies)
    client_id: str | None = None
    stopping: Callable[[], bool] = bool
    console_on: bool = True

    async def trigger(
        self,
        scope: Scope,
        receive: Receive,
        request_id: str,
        exchange: Exchange | None = None,
        late: Late | None = None,
    ) -> Answer:
        """The six steps. Raises Problem and Refused. The trigger's policy decides, not what the caller sends: an
        anonymous trigger never looks at a token."""
        single = exchange.fields if exchange is not None else None
        trigger, path = find(self.triggers(), scope["method"], scope["raw_path"])
        if trigger.context:
            apply(trigger.context)
        if trigger.policy is OPEN:
            caller = ANYONE
        else:
            caller = (self.recall(scope, single) if single else None) or await self.identify(scope)
        admit(trigger.policy, caller)
        fields = single or dict(scope["headers"])
        chain = chain_of(scope["headers"], caller, self.client_id) if DEPTH_FIELD in fields else None
        limit = trigger.workflow.max_body_bytes or self.max_body_bytes
        body = whole_body(exchange, fields, limit)
        if body is None:
            body = await read_body(receive, limit)
        content_type = fields.get(b"content-type")
        workflow = trigger.workflow
        read = partial(arguments, workflow, body, content_type, path)
        if workflow.reads_in_thread:
            given: Arguments = self.large_bodies.in_thread(read) if len(body) > LARGE else read
        else:
            given = read() if len(body) <= LARGE else await self._read_large(read, trigger, caller, scope, len(body))
            if body and is_left_out(workflow, given):
                self.log.info("body-not-parsed", request_id=request_id, workflow=workflow.name, bytes=len(body))
        headers = scope["headers"]
        if b"cookie" in fields and trigger.policy is OPEN:
            headers = without_own_cookies(headers)
        request = _request(trigger, path, scope, headers, body, content_type)
        if b"traceparent" in fields:
            request.trace = _trace(single, scope)
        if chain is not None:
            request.chain = chain
        key = _key(trigger, caller, request, scope) if IDEMPOTENCY_KEY in fields else None
        run = await self.start(workflow, caller, request, given, request_id, key, late)
        return reply(run, console_on=self.console_on)

    def _read_large(
        self, read: Callable[[], dict[str, Any]], trigger: Trigger, caller: Caller, scope: Scope, size: int
    ) -> Awaitable[dict[str, Any]]:
        """Read a large body in the turn of its caller."""
        who = holder_of(caller.kind, caller.tenant_id, caller.object_id, _address(scope))
        return self.large_bodies.read(read, trigger.workflow.name, who, size)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request (ASGI). Every error becomes a problem document; no other detail is sent."""
        request_id = new_id()
        exchange: Exchange | None = scope.pop(EXCHANGE, None)
        wait = 0.0
        try:
            late = partial(self._answer_late, scope, send, request_id, exchange)
            answer = await self.trigger(scope, receive, request_id, exchange, late)
        except Abandoned:
            return
        except Disconnected:
            self.gone.add(
                self.log.info,
                request_id=request_id,
                trace_id=_trace_id(scope, request_id),
                client_address=_address(scope),
            )
            self._count(scope, "disconnected")
            return
        except Refused as refused:
            answer = self._refuse(unauthenticated(refused), scope, request_id, refused)
            self._count(scope, "unauthenticated")
            wait = self.throttle.wait(_address(scope), monotonic())
        except Problem as raised:
            shown = _plain(raised)
            answer = self._refuse(shown, scope, request_id)
            self._count(scope, shown.code)
            if shown.code in BEFORE_IDENTITY:
                wait = self.throttle.wait(_address(scope), monotonic())
        except Exception:
            self.log.exception("request-failed", request_id=request_id, trace_id=_trace_id(scope, request_id))
            answer = self._failed("internal-error", scope, request_id)
        except asyncio.CancelledError:  # by the server's stop, or by code that an author left behind
            self.log.info("request-cut-off", request_id=request_id, trace_id=_trace_id(scope, request_id))
            answer = self._failed("shutting-down" if self.stopping() else "workflow-failed", scope, request_id)
        if exchange is None or wait or not exchange.answer_at_once(answer.status, answer.headers, answer.content):
            await self._send(answer, scope, send, exchange, wait)

    async def _send(self, answer: Answer, scope: Scope, send: Send, exchange: Exchange | None, wait: float) -> None:
        """Send an answer that is delayed, or cannot be sent at once."""
        await _take_cancellation(exchange)
        if wait == inf:
            answer.headers.append((b"connection", b"close"))
        elif wait:
            await asyncio.sleep(wait)
            if exchange is not None and exchange.answer_at_once(answer.status, answer.headers, answer.content):
                return
        await answer.send(send, head=scope["method"] == "HEAD")

    def _failed(self, code: str, scope: Scope, request_id: str) -> Answer:
        """The answer to a request that the server failed to handle, counted."""
        self._count(scope, code)
        return problem_reply(problem(code), request_id)

    async def _answer_late(
        self, scope: Scope, send: Send, request_id: str, exchange: Exchange | None, ended: Run | Problem
    ) -> None:
        """Respond in place of the request's own task, which is in a workflow that swallowed its cancellation."""
        if isinstance(ended, Problem):
            answer = self._refuse(ended, scope, request_id)
        else:
            answer = reply(ended, console_on=self.console_on)
        if exchange is None or not exchange.answer_at_once(answer.status, answer.headers, answer.content):
            await answer.send(send)

    def _refuse(self, shown: Problem, scope: Scope, request_id: str, refused: Refused | None = None) -> Answer:
        """Respond with the problem, and record for the operator what the caller does not see."""
        trigger = self._requested_trigger(scope["raw_path"])
        if self.for_author and trigger is not None and shown.__cause__ is not None:
            self._show_failure(shown.__cause__, trigger.workflow, scope, request_id)
        refusal = Refusal(
            request_id,
            shown.reason if refused else shown.code,
            shown.code,
            shown.status,
            trigger.workflow.name if trigger else "",
            _address(scope),
            refused.checks if refused else (),
        )
        if trigger and shown.code not in BEFORE_IDENTITY and isinstance(trigger.policy, Guarded):
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
                trace_id=_trace_id(scope, request_id),
                code=shown.code,
                status=shown.status,
                reason=shown.reason,
                expected=as_text(failed.expected) if failed else "",
                found=as_text(failed.found) if failed else "",
                **({"hint": failed.hint} if failed and failed.hint else {}),
                passed=[check.name for check in refused.checks[:-1]] if refused else [],
                workflow=refusal.workflow,
                client_address=refusal.client_address,
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

    def _count(self, scope: Scope, outcome: str) -> None:
        """Count a request that started no run."""
        trigger = self._requested_trigger(scope["raw_path"])
        name, mode = (trigger.workflow.name, trigger.policy.mode) if trigger is not None else ("", "")
        self.count(name, mode, outcome)

    def _requested_trigger(self, raw_path: bytes) -> Trigger | None:
        """The trigger that was requested, if there is one. No other text of the URL is kept, because it might be a
        secret."""
        name = raw_path.removeprefix(PREFIX).partition(b"/")[0].decode("ascii", "replace")
        return self.triggers().get(name)


def _plain(shown: Problem) -> Problem:
    """A problem that may be of an author's validator, without the author's code."""
    try:
        return plain_problem(shown)
    except BaseException as error:
        reason = f"{type_name(error)} in a Problem of the workflow"
        return problem("workflow-failed", reason=reason)


async def _take_cancellation(exchange: Exchange | None) -> None:
    """Take a cancellation that code of the author left in the request's task: it would cut the answer off. A task of
    another server than ours may have been cancelled by that server, and ends."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        if exchange is None:
            raise asyncio.CancelledError
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)


def _request(
    trigger: Trigger,
    path: Mapping[str, str],
    scope: Scope,
    headers: Sequence[tuple[bytes, bytes]],
    body: bytes,
    content_type: bytes | None,
) -> Request:
    """The request as the workflow sees it."""
    withheld = NOTHING if trigger.policy is OPEN else WITHHELD
    client, query = _address(scope), scope["query_string"]
    kind = "" if content_type is None else content_type.decode("latin-1")
    return Request(scope["method"], scope["path"], path, client, body, query, headers, withheld, kind)


def _trace(fields: Mapping[bytes, bytes] | None, scope: Scope) -> Trace | None:
    """The trace that the request names. `fields` are its headers if each name occurs once. A request with two
    `traceparent` headers names no trace."""
    if fields is not None:
        field = fields.get(b"traceparent")
        return parse(field) if field is not None else None
    named = [value for name, value in scope["headers"] if name == b"traceparent"]
    return parse(named[0]) if len(named) == 1 else None


def _trace_id(scope: Scope, request_id: str) -> str:
    """The trace id for a line in the log of a request without a run."""
    return trace_id_of(request_id, _trace(None, scope))


def _key(trigger: Trigger, caller: Caller, request: Request, scope: Scope) -> Key:
    """The idempotency key that the request gives."""
    values = [value for name, value in scope["headers"] if name == IDEMPOTENCY_KEY]
    return key_of(trigger.workflow, caller, request, values)


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""
