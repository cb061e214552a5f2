"""`/mcp`: what a request passes before anything of its message is read, and the answers to those that do not pass."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import inf
from time import monotonic
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from postern.access import ANYONE, Caller, Refused
from postern.elements import has_more_elements
from postern.errors import Problem, problem
from postern.ids import new_id
from postern.mcp.origin import foreign_origin
from postern.mcp.resource import PATH, Resource
from postern.mcp.session import SESSION, Session, via_of
from postern.mcp.tools import McpTool
from postern.triggers.exchange import EXCHANGE, Exchange
from postern.triggers.large_bodies import LARGE, LargeBodies
from postern.triggers.read import Disconnected, Message, Receive, read_body, whole_body
from postern.triggers.refusal_throttle import RefusalThrottle
from postern.triggers.rejections import address_of
from postern.triggers.reply import ALWAYS, Answer, Send, problem_reply
from postern.triggers.requested import holder_in
from postern.triggers.secure_transport import Scope
from postern.triggers.via import VIA

ENVELOPE = 16 * 1024
"""Bytes of a message beside the arguments of its call."""
ENVELOPE_ELEMENTS = 200

_OF_THE_SERVER = frozenset({b"cache-control", b"connection"})

Serve = Callable[[Scope, Receive, Send], Awaitable[None]]


class Reject(Protocol):
    """Records a rejected request, and makes its answer."""

    def __call__(self, error: Refused | Problem, scope: Scope, request_id: str, /) -> Answer: ...


class StepUp(Protocol):
    """The answer to a call whose token lacks a scope that its client may ask for; None for all else."""

    def __call__(self, body: bytes, caller: Caller, scope: Scope, /) -> Awaitable[Answer | None]: ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`tools` returns the current tools by name: without one there is nothing here. `resource` is None where no token
    is needed or can be had. `identify` returns the caller of a request, ANYONE where no token is needed, and `still`
    raises Refused if its access has ended since. `serve` answers a message, and `step_up` goes before it.
    `max_body_bytes` is the server's limit of bodies."""

    tools: Callable[[], Mapping[str, McpTool]]
    resource: Callable[[], Resource | None]
    public_url: str
    identify: Callable[[Scope], Awaitable[Caller]]
    still: Callable[[Caller], None]
    reject: Reject
    serve: Serve
    step_up: StepUp
    max_body_bytes: int
    large_bodies: LargeBodies
    throttle: RefusalThrottle
    log: FilteringBoundLogger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request (ASGI)."""
        exchange: Exchange | None = scope.pop(EXCHANGE, None)
        scope[VIA] = via_of(None)  # a token for this URL only is accepted
        request_id, wait, answer = new_id(), 0.0, None
        try:
            caller = await self._admit(scope)
            body = await self._read(exchange, receive, scope, caller)
            answer = await self.step_up(body, caller, scope)
        except Disconnected:
            return
        except Refused as refused:
            answer, wait = self._refuse(refused, scope, request_id)
        except Problem as shown:
            answer = self.reject(shown, scope, request_id)
        except Exception:
            self.log.exception("request-failed", request_id=request_id, page=PATH)
            answer = problem_reply(problem("internal-error"), request_id)
        if answer is None:
            scope[SESSION] = Session(caller, {**scope})  # not in itself: a circle would wait for the collector
            unframed = exchange if scope["http_version"] == "1.0" else None
            await self.serve(scope, _once(body, receive), _replied(send, unframed))
            return
        await _send(answer, scope, send, wait)

    async def _admit(self, scope: Scope) -> Caller:
        """The caller of a request that is not rejected before its message is read."""
        if not self.tools():
            raise problem("not-found")
        if scope["method"] != "POST":
            raise problem("method-not-allowed", headers={"Allow": "POST"})
        if origin := foreign_origin(scope["headers"], scope["scheme"], self.public_url):
            reason = f"the Origin {origin[:100]} is not of this server"
            detail = "This server does not answer pages of other sites here."
            raise problem("forbidden", detail=detail, reason=reason)
        return await self.identify(scope)

    async def _read(self, exchange: Exchange | None, receive: Receive, scope: Scope, caller: Caller) -> bytes:
        """The message, within the limits of the tools and with the pace of large bodies."""
        workflows = [tool.trigger.workflow for tool in self.tools().values()]
        limit = max((each.max_body_bytes or self.max_body_bytes for each in workflows), default=0) + ENVELOPE
        body = whole_body(exchange, dict(scope["headers"]), limit)
        if body is None:
            body = await read_body(receive, limit)
            self.still(caller)
        if len(body) > LARGE:
            most = max((each.max_elements for each in workflows), default=0) + ENVELOPE_ELEMENTS
            count = partial(has_more_elements, body, most)
            if await self.large_bodies.read(count, PATH, holder_in(scope, caller), len(body)):
                raise problem("too-many-elements", limit_elements=most)
        return body

    def _refuse(self, refused: Refused, scope: Scope, request_id: str) -> tuple[Answer, float]:
        """The answer to a request without a valid token, and the seconds that it waits for."""
        answer = self.reject(refused, scope, request_id)
        resource = self.resource()
        if resource is not None:
            answer.headers = resource.challenged(answer.headers)
        return answer, self.throttle.wait(address_of(scope), monotonic())


def no_one(_: Scope) -> Awaitable[Caller]:
    """The caller where no token is needed."""
    found: asyncio.Future[Caller] = asyncio.get_running_loop().create_future()
    found.set_result(ANYONE)
    return found


def _once(body: bytes, receive: Receive) -> Receive:
    """The body in one piece, and then what the server says of the client."""
    left: bytes | None = body

    async def once() -> Message:
        nonlocal left
        if left is None:
            return await receive()
        given, left = left, None
        return {"type": "http.request", "body": given, "more_body": False}

    return once


def _replied(send: Send, unframed: Exchange | None) -> Send:
    """Sends what the SDK replies with the header fields of every reply, and without those of the connection, which are
    the server's. `unframed` is given for a client of HTTP/1.0: a stream of events ends there with the connection (RFC
    9112, section 6.3)."""

    async def replied(message: Message) -> None:
        nonlocal unframed
        if message["type"] == "http.response.start":
            fields = [field for field in message["headers"] if field[0] not in _OF_THE_SERVER]
            message = {**message, "headers": [*fields, *ALWAYS]}
            if any(name == b"content-length" for name, _ in fields):
                unframed = None
            elif unframed is not None:
                unframed.unframed()
        elif unframed is not None and not message.get("more_body", False):
            if message.get("body"):
                await send({**message, "more_body": True})
            unframed.cut_off()
            return
        await send(message)

    return replied


async def _send(answer: Answer, scope: Scope, send: Send, wait: float) -> None:
    if wait == inf:
        answer.headers.append((b"connection", b"close"))
    elif wait:
        await asyncio.sleep(wait)
    await answer.send(send, head=scope["method"] == "HEAD")
