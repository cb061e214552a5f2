"""The door: every request to a trigger URL goes through the six verbs, in this order and nowhere else.

There is no authentication middleware, because the policy belongs to the workflow that was found. The door is a plain
ASGI application: headers are read from the scope and the body from `receive`, so that nothing is done twice.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from structlog.typing import FilteringBoundLogger

from app.access import ANYONE, OPEN, Caller, Check, Guarded, Refused, admit
from app.catalog import Trigger
from app.errors import Problem, problem
from app.ids import new_id
from app.runs.run import Run
from app.runs.windows import Refusal, as_text
from app.triggers.challenge import unauthenticated
from app.triggers.cycle import EXCHANGE, Cycle
from app.triggers.find import PREFIX, find
from app.triggers.read import Disconnected, Receive, arguments, read_body, whole_body
from app.triggers.reply import Answer, Send, problem_reply, reply
from app.workflow import Request, Workflow

Scope = MutableMapping[str, Any]
RawHeaders = Iterable[tuple[bytes, bytes]]
Start = Callable[[Workflow, Caller, Request, Mapping[str, Any], str], Awaitable[Run]]

WITHHELD = frozenset({b"authorization", b"cookie", b"proxy-authorization"})
"""Headers that a workflow behind an authenticated trigger does not see."""

NOTHING: frozenset[bytes] = frozenset()

BEFORE_IDENTITY = frozenset({"unknown-trigger", "method-not-allowed"})
"""Problems of requests whose token nobody looks at."""


@dataclass(frozen=True, slots=True)
class Door:
    """Lets in who may come in. `triggers` gives the catalog of the moment, `identify` the caller of a request and
    `recall` the one of an Authorization field that was verified before, `start` runs a workflow. `refused` is told of
    each request turned away, and says whether it is to be in the log: in a flood, one stands there for many."""

    triggers: Callable[[], Mapping[str, Trigger]]
    recall: Callable[[bytes], Caller | None]
    identify: Callable[[RawHeaders], Awaitable[Caller]]
    start: Start
    refused: Callable[[Refusal], bool]
    max_body_bytes: int
    log: FilteringBoundLogger

    async def trigger(self, scope: Scope, receive: Receive, request_id: str, exchange: Cycle | None = None) -> Answer:
        """The six verbs. Raises Problem and Refused. The door decides, not the knocker: an anonymous trigger never
        looks at a token."""
        single = exchange.fields if exchange is not None else None
        trigger, path = find(self.triggers(), scope["method"], scope["raw_path"])
        caller = ANYONE if trigger.policy is OPEN else self._recall(single) or await self.identify(scope["headers"])
        admit(trigger.policy, caller)
        fields = single or dict(scope["headers"])
        limit = trigger.workflow.max_body_bytes or self.max_body_bytes
        body = whole_body(exchange, fields, limit)
        if body is None:
            body = await read_body(receive, limit)
        given = arguments(trigger.workflow, body, fields.get(b"content-type"), path)
        request = _request(trigger, path, scope, body)
        run = await self.start(trigger.workflow, caller, request, given, request_id)
        return reply(run)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI). Whatever goes wrong becomes a problem; nothing of it leaves otherwise."""
        request_id = new_id()
        exchange: Cycle | None = scope.pop(EXCHANGE, None)
        try:
            answer = await self.trigger(scope, receive, request_id, exchange)
        except Disconnected:
            self.log.info("client-disconnected", request_id=request_id, client_address=_address(scope))
            return
        except Refused as refused:
            answer = self._refuse(unauthenticated(refused), scope, request_id, refused)
        except Problem as shown:
            answer = self._refuse(shown, scope, request_id)
        except Exception:
            self.log.exception("request-failed", request_id=request_id)
            answer = problem_reply(problem("internal-error"), request_id)
        if exchange is None or not exchange.answer_at_once(answer.status, answer.headers, answer.content):
            await answer.send(send)

    def _recall(self, fields: Mapping[bytes, bytes] | None) -> Caller | None:
        """The caller of a token that was verified before, where there is one Authorization field."""
        authorization = fields.get(b"authorization") if fields is not None else None
        return self.recall(authorization) if authorization is not None else None

    def _refuse(self, shown: Problem, scope: Scope, request_id: str, refused: Refused | None = None) -> Answer:
        """Answer with the problem, and tell the operator all that the caller is not told."""
        trigger = self._asked_for(scope["raw_path"])
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
                code=shown.code,
                status=shown.status,
                reason=shown.reason,
                expected=as_text(failed.expected) if failed else "",
                found=as_text(failed.found) if failed else "",
                passed=[check.name for check in refused.checks[:-1]] if refused else [],
                workflow=refusal.workflow,
                client_address=refusal.client_address,
            )
        return problem_reply(shown, request_id)

    def _asked_for(self, raw_path: bytes) -> Trigger | None:
        """The trigger that was asked for, if there is one. Other text of a URL is kept nowhere: it might be a secret
        that strayed there."""
        name = raw_path.removeprefix(PREFIX).partition(b"/")[0].decode("ascii", "replace")
        return self.triggers().get(name)


def _request(trigger: Trigger, path: Mapping[str, str], scope: Scope, body: bytes) -> Request:
    """The request as the workflow sees it."""
    withheld = NOTHING if trigger.policy is OPEN else WITHHELD
    client, query = _address(scope), scope["query_string"]
    return Request(scope["method"], scope["path"], path, client, body, query, scope["headers"], withheld)


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""
