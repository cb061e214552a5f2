"""Calls of tools: each is a request to a trigger, with the six steps of the pipeline, in a task of its own.

The SDK cancels what handles a request when its client leaves. The run of a call has its own task, so that whoever waits
for it decides whether it ends then.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any, Protocol

from postern.access import Refused
from postern.errors import Problem
from postern.ids import new_id
from postern.mcp.tools import ToolRequest
from postern.triggers.secure_transport import Scope

MOST_BYTES = 4 * 1024 * 1024
"""Of a reply that is read here: a model has no use for more. A longer one is dropped (`Answered.whole`)."""

Trigger = Callable[[Scope, Any, Any, str], Awaitable[None]]
"""Responds to a request to a trigger (ASGI), which has this request id."""


class TurnAway(Protocol):
    """Records and answers a rejected request of this scope (see `Pipeline.turn_away`)."""

    def __call__(self, error: Refused | Problem, scope: Scope, send: Any, /) -> Awaitable[None]: ...


Cancel = Callable[[str, str], Awaitable[bool]]
"""Cancels a run of this process for a caller (see `journal.run.actor`). False if it is not here."""


@dataclass(slots=True)
class Answered:
    """What the trigger replied. `whole` is False if the reply was cut, or is too long to be read here."""

    status: int
    headers: list[tuple[bytes, bytes]]
    content: bytes
    whole: bool = True

    def field(self, name: bytes) -> str:
        """The value of a header field; "" if there is none."""
        return next((value.decode("latin-1") for each, value in self.headers if each.lower() == name), "")


class Call:
    """One call while it is answered. `run_id` is the id of its request, and of its run if it starts one."""

    def __init__(self, run_id: str, body: bytes) -> None:
        self.run_id = run_id
        self.answered: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[None] | None = None
        self._body: bytes | None = body
        self._left = asyncio.Event()
        self._answer = Answered(0, [], b"", whole=False)
        self._content = bytearray()

    async def receive(self) -> MutableMapping[str, Any]:
        """The request's body, then its end when the client leaves (ASGI)."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Take a part of the reply (ASGI)."""
        if message["type"] == "http.response.start":
            self._answer.status, self._answer.headers = message["status"], list(message["headers"])
            return
        if message["type"] != "http.response.body":
            return
        if len(self._content) <= MOST_BYTES:
            self._content += message.get("body", b"")
        if not message.get("more_body", False):
            self.end(whole=len(self._content) <= MOST_BYTES)

    def end(self, *, whole: bool = False) -> None:
        """The reply is complete, or nothing more comes of it."""
        if not self.answered.done():
            self._answer.content = bytes(self._content) if whole else b""
            self._answer.whole = whole
            self.answered.set_result(self._answer)

    def leave(self) -> None:
        """The client has left: who still reads the body, or sends a stream, sees it."""
        self._left.set()


@dataclass(frozen=True, slots=True)
class Calls:
    """Starts calls. `trigger` responds to requests to triggers, and `cancel` cancels a run."""

    trigger: Trigger
    cancel: Cancel
    _tasks: set["asyncio.Task[Any]"] = field(default_factory=set, repr=False)

    def begin(self, scope: Scope, request: ToolRequest) -> Call:
        """Start a call whose request has this scope (see `requests.trigger_scope`)."""
        call = Call(new_id(), request.body)
        call.task = self._start(self._respond(call, scope))
        return call

    def give_up(self, call: Call, by: str) -> None:
        """End a call whose client has left: its run is recorded as cancelled by this actor. What has not become a run
        yet does not become one."""
        call.leave()
        self._start(self._end(call, by))

    @property
    def open(self) -> int:
        """How many calls are not over."""
        return len(self._tasks)

    async def _respond(self, call: Call, scope: Scope) -> None:
        try:
            await self.trigger(scope, call.receive, call.send, call.run_id)
        finally:
            call.end()

    async def _end(self, call: Call, by: str) -> None:
        if not await self.cancel(call.run_id, by) and call.task is not None:
            call.task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait({call.task})

    def _start(self, work: Any) -> "asyncio.Task[Any]":
        task = asyncio.get_running_loop().create_task(work, context=copy_context())
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()
