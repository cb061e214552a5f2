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

from structlog.typing import FilteringBoundLogger

from postern.access import ANYONE, OPEN, Caller, Guarded, Refused, Signed, admit
from postern.authoring.plain import plain_problem, type_name
from postern.authoring.request import Request
from postern.authoring.workflow import Workflow
from postern.call_chain import DEPTH_FIELD, chain_of
from postern.catalog import Trigger
from postern.catalog.context_changes import apply
from postern.clouds import AUTHORITIES
from postern.errors import Problem, problem
from postern.ids import new_id
from postern.journal.refusal import Refusal
from postern.journal.run import Run
from postern.logs import Coalesced
from postern.runs.idempotency import HEADER as IDEMPOTENCY_KEY
from postern.runs.idempotency import Key
from postern.runs.runner import Abandoned
from postern.runs.streaming import is_replied
from postern.runs.underway import Late
from postern.triggers.argument_reader import ArgumentReader, Arguments, note_left_out
from postern.triggers.challenge import unauthenticated
from postern.triggers.exchange import EXCHANGE, Exchange
from postern.triggers.find import PREFIX, find
from postern.triggers.form_body import Upload, receive_body
from postern.triggers.gate import ADDED, OPEN_GATE, Gate
from postern.triggers.large_bodies import LARGE, LargeBodies
from postern.triggers.read import Disconnected, Receive, arguments, whole_body
from postern.triggers.refusal_throttle import RefusalThrottle
from postern.triggers.rejections import DELAYED, Rejections, address_of, trace_id
from postern.triggers.reply import Answer, Later, Send, problem_reply, reply, reply_at_once
from postern.triggers.request_counts import Count
from postern.triggers.requested import holder_in, idempotency_key, request_of
from postern.triggers.secure_transport import Digest, Scope
from postern.triggers.stream_reply import send_stream
from postern.triggers.uploads import Uploads

Start = Callable[[Workflow, Caller, Request, Arguments, str, Key | None, Late | None], Awaitable[Run]]

PREFER = b"prefer"
ACCEPTED = 202


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Checks access and starts runs.

    - `triggers` returns the current catalog, `start` runs a workflow.
    - `identify` returns the caller of a request, `recall` the caller of a token that was verified before
      (see secure_transport.Identification).
    - `still` is called after a body that took its time: it raises Refused if the caller's access has ended meanwhile.
    - `refused` takes each rejected request and returns whether to log it: in a flood, one log line stands for many.
    - `count` is called for each request that got a response.
    - `for_author` logs exceptions of validators with their tracebacks, as `postern dev` does.
    - `throttle` delays the responses to rejected requests in a flood, and `large_bodies` the reading of large bodies.
    - `uploads` limits how much all forms with files hold.
    - `gone` logs clients that disconnect: one line for many.
    - `client_id` is Postern's own application, by which it recognizes calls of its own runs.
    - `stopping` returns whether the server stops, which ends what is still running.
    - `authority` is the address of Entra, for claims challenges.
    - `gate` has what requests pass beside the access decision.
    - `later` replies where a run was accepted, and its caller has a preference how long to wait.
    - `console_on` says whether the console's pages are at this origin too (see one_origin.py).
    """

    triggers: Callable[[], Mapping[str, Trigger]]
    recall: Callable[[Scope, Mapping[bytes, bytes], Digest], Caller | None]
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
    uploads: Uploads = field(default_factory=Uploads)
    client_id: str | None = None
    authority: str = AUTHORITIES["public"]
    still: Callable[[Caller], None] = lambda _: None
    stopping: Callable[[], bool] = bool
    console_on: bool = True
    gate: Gate = OPEN_GATE
    later: Later = reply_at_once
    _rejections: Rejections = field(init=False, repr=False)
    _reader: ArgumentReader = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Make what answers rejected requests, and what reads the larger bodies."""
        rejections = Rejections(self.triggers, self.refused, self.log, self.count, self.for_author, self.console_on)
        object.__setattr__(self, "_rejections", rejections)
        object.__setattr__(self, "_reader", ArgumentReader(self.large_bodies, self.log, self.still))

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
        policy = trigger.policy
        caller = self._known(trigger, scope, exchange) or await self._identify(trigger, scope)
        admit(policy, caller)
        if (after := self.gate.after) is not None:
            after(trigger, caller, scope)
        fields = single or dict(scope["headers"])
        chain = chain_of(scope["headers"], caller, self.client_id) if DEPTH_FIELD in fields else None
        limit = trigger.workflow.max_body_bytes or self.max_body_bytes
        workflow, body = trigger.workflow, whole_body(exchange, fields, limit)
        upload: Upload | None = None
        if body is None or workflow.form is not None:
            begin = partial(self.uploads.begin, workflow.name, holder_in(scope, caller), self.log)
            still = partial(self.still, caller)
            upload = await receive_body(trigger, body, fields, receive, limit, begin, still)
            body = upload.body
        try:
            if policy is not OPEN and isinstance(policy, Signed):
                await self._check_signed(trigger, caller, scope, body)
            request = request_of(trigger, path, scope, single, fields, body)
            kind = fields.get(b"content-type")
            if workflow.reads_at_once and len(body) <= LARGE:  # the usual case
                read = arguments(workflow, body, kind, path)
                if body and len(read) == len(path):
                    note_left_out(self.log, workflow, read, body, request_id)
                given: Arguments = read
            else:
                given = await self._reader.read(trigger, caller, scope, request, body, kind, upload, request_id)
            if chain is not None or PREFER in fields:
                request.chain = chain
                request._prefer = b",".join(value for name, value in scope["headers"] if name == PREFER)
            key = idempotency_key(trigger, caller, request, scope) if IDEMPOTENCY_KEY in fields else None
            if (admitted := self.gate.admitted) is not None:
                admitted(caller, workflow.name, request.client_address, request_id)
            run = await self.start(workflow, caller, request, given, request_id, key, late)
        finally:
            if upload is not None:
                upload.close()
        later = request._prefer and run.outcome.status == ACCEPTED
        return await self.later(run, receive) if later else reply(run, console_on=self.console_on)

    def _known(self, trigger: Trigger, scope: Scope, exchange: Exchange | None) -> Caller | None:
        """The caller, if nothing has to be awaited to know it."""
        gate, workflow = self.gate, trigger.workflow
        if (workflow.networks or workflow.origins) and gate.reach is not None:  # nearly all have neither
            gate.reach(trigger, scope)
        if (before := gate.before) is not None:
            before(trigger, scope)
        if trigger.policy is OPEN:
            return ANYONE
        if exchange is None or not (single := exchange.fields) or not isinstance(trigger.policy, Guarded):
            return None
        return self.recall(scope, single, exchange.digest)

    def _identify(self, trigger: Trigger, scope: Scope) -> Awaitable[Caller]:
        """The caller whose token or signed URL has to be checked. Without what checks signatures nobody is let in."""
        if not isinstance(trigger.policy, Signed):
            return self.identify(scope)
        if self.gate.sender is None:
            raise problem("identity-unavailable", reason="nothing checks signatures here")
        return self.gate.sender(trigger, scope)

    def _check_signed(self, trigger: Trigger, caller: Caller, scope: Scope, body: bytes) -> Awaitable[None]:
        """Check the sender's signature of the raw body, or that the signed URL is not revoked now."""
        if self.gate.body is None:
            raise problem("identity-unavailable", reason="nothing checks signatures here")
        return self.gate.body(trigger, caller, scope, body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send, request_id: str = "") -> None:
        """Respond to one request (ASGI). Every error becomes a problem document; no other detail is sent. What traces
        requests, and what calls tools, gives their ids."""
        request_id = request_id or new_id()
        exchange: Exchange | None = scope.pop(EXCHANGE, None)
        wait = 0.0
        try:
            late = partial(self._answer_late, scope, receive, send, request_id, exchange)
            asks = self.gate.preflight if scope["method"] == "OPTIONS" else None
            answer = (asks and asks(scope)) or await self.trigger(scope, receive, request_id, exchange, late)
        except Abandoned:
            return
        except Disconnected:
            self.gone.add(
                self.log.info,
                request_id=request_id,
                trace_id=trace_id(scope, request_id),
                client_address=address_of(scope),
            )
            self._rejections.count(scope, "disconnected")
            return
        except Refused as refused:
            answer, wait = self._refuse(refused, scope, request_id)
            self._rejections.count(scope, "unauthenticated")
        except Problem as raised:
            answer, wait = self._show(_plain(raised), scope, request_id)
        except Exception:
            self.log.exception("request-failed", request_id=request_id, trace_id=trace_id(scope, request_id))
            answer = self._failed("internal-error", scope, request_id)
        except asyncio.CancelledError:  # by the server's stop, or by code that an author left behind
            self.log.info("request-cut-off", request_id=request_id, trace_id=trace_id(scope, request_id))
            answer = self._failed("shutting-down" if self.stopping() else "workflow-failed", scope, request_id)
        if (answered := self.gate.answered) is not None:
            answered(scope, answer.status)
        if ADDED in scope:  # by functions of the gate
            answer.add(scope[ADDED])
        if exchange is None or wait or not exchange.answer_at_once(answer.status, answer.lines, answer.content):
            await self._send(answer, scope, send, exchange, wait)

    def _show(self, shown: Problem, scope: Scope, request_id: str) -> tuple[Answer, float]:
        """The answer that shows a problem, and the seconds that it waits for."""
        if shown.code == "method-not-allowed" and self.gate.reach is not None:
            trigger = self._rejections.requested_trigger(scope["raw_path"])
            try:
                if trigger is not None:
                    self.gate.reach(trigger, scope)
            except Refused as refused:
                self._rejections.count(scope, "unauthenticated")
                return self._refuse(refused, scope, request_id)
        answer = self._rejections.refuse(shown, scope, request_id)
        self._rejections.count(scope, shown.code)
        delayed = shown.code in DELAYED
        return answer, self.throttle.wait(address_of(scope), monotonic()) if delayed else 0.0

    async def turn_away(self, error: Refused | Problem, scope: Scope, send: Send) -> None:
        """Respond to a request, of a trigger or of anything else here, before anything of it was looked at. A call of a
        tool was looked at where it was called."""
        exchange: Exchange | None = scope.pop(EXCHANGE, None)
        if isinstance(error, Problem):
            answer, wait = self._show(error, scope, new_id())
        else:
            answer, wait = self._refuse(error, scope, new_id())
            if scope["raw_path"].startswith(PREFIX):
                self._rejections.count(scope, "unauthenticated")
        if exchange is None or wait or not exchange.answer_at_once(answer.status, answer.lines, answer.content):
            await self._send(answer, scope, send, exchange, wait)

    def _refuse(self, refused: Refused, scope: Scope, request_id: str) -> tuple[Answer, float]:
        """The answer to a rejected request, and the seconds that it waits for."""
        answer = self._rejections.refuse(unauthenticated(refused, self.authority), scope, request_id, refused)
        return answer, self.throttle.wait(address_of(scope), monotonic())

    async def _send(self, answer: Answer, scope: Scope, send: Send, exchange: Exchange | None, wait: float) -> None:
        """Send an answer that is delayed, or cannot be sent at once."""
        await _take_cancellation(exchange)
        if wait == inf:
            answer.headers.append((b"connection", b"close"))
        elif wait:
            await asyncio.sleep(wait)
            if exchange is not None and exchange.answer_at_once(answer.status, answer.lines, answer.content):
                return
        await answer.send(send, head=scope["method"] == "HEAD")

    def _answered(self, scope: Scope, status: int) -> Sequence[tuple[bytes, bytes]]:
        """The header fields that functions of the gate added, for a reply of this status, of which it is told."""
        if (answered := self.gate.answered) is not None:
            answered(scope, status)
        return scope.get(ADDED, ())  # type: ignore[no-any-return]

    def _failed(self, code: str, scope: Scope, request_id: str) -> Answer:
        """The answer to a request that the server failed to handle, counted."""
        self._rejections.count(scope, code)
        return problem_reply(problem(code), request_id)

    async def _answer_late(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        request_id: str,
        exchange: Exchange | None,
        ended: Run | Problem,
    ) -> None:
        """Respond in place of the request's own task, which is in a workflow that swallowed its cancellation. Or send
        the reply of a run that goes on meanwhile, or cut it off if the run has ended."""
        if isinstance(ended, Run) and ended.sending is not None and (is_replied(ended) or not ended.ended_at):
            if not ended.ended_at:
                answered = partial(self._answered, scope)
                await send_stream(ended, scope, receive, send, exchange, answered, console_on=self.console_on)
            elif exchange is not None:
                exchange.cut_off()
            return
        if isinstance(ended, Problem):
            answer = self._rejections.refuse(ended, scope, request_id)
        else:
            answer = reply(ended, console_on=self.console_on)
        answer.add(scope.get(ADDED, ()))
        if exchange is None or not exchange.answer_at_once(answer.status, answer.lines, answer.content):
            await answer.send(send)


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
