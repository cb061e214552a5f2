"""`ctx.call` of a durable run: a step of its own, with the same Idempotency-Key in each execution."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from postern.authoring.call_result import Call, Handle, Outgoing
from postern.authoring.context import Context
from postern.call_chain import PART
from postern.durable.durable_steps import INSIDE, NESTED, DurableSteps, settled
from postern.durable.records import call_read, call_written
from postern.durable.results import read
from postern.journal.secured import SECURED_NAME

NoteCall = Callable[[str, Call], None]
_HANDLE = '{"handle":'


class Calling(Protocol):
    """What makes calls: `connections.calls.Calls`."""

    async def call(self, ctx: Context, outgoing: Outgoing, note: NoteCall | None = None) -> Any:
        """The result of a call, or a Handle. Raises CallError."""

    async def later(self, ctx: Context, outgoing: Outgoing, location: str, *, operation: bool) -> Any:
        """The result of a call that was accepted in an earlier execution. Raises CallError."""


class DurableCalls:
    """The calls of durable runs. `most` bytes of JSON may be a result. `note` gets the record of each call."""

    def __init__(self, steps: DurableSteps, calls: Calling, most: int, note: NoteCall) -> None:
        self._steps = steps
        self._calls = calls
        self._most = most
        self._note = note

    async def call(self, ctx: Context, outgoing: Outgoing) -> Any:
        """The result of a call, or a Handle. What was returned or raised in an earlier execution is so again. Bytes
        cannot be kept: they are a BadResult. A call in a step is a part of that step."""
        if INSIDE.get() == ctx.run_id:
            part = PART.get()
            outer = part.step if part is not None and part.step is not None else 0
            return await self._calls.call(ctx, replace(outgoing, number=outer * NESTED + outgoing.number))
        execution = self._steps.execution_of(ctx.run_id)
        execution.top_calls += 1
        numbered = replace(outgoing, number=execution.top_calls)
        handles, errors, noted = list[Handle](), list[BaseException](), list[Call]()

        async def body(_: int) -> str:
            make = partial(self._calls.call, ctx, numbered, note=lambda _, call: noted.append(call))
            if outgoing.wait:
                text = await self._settled(ctx, outgoing, make, errors)
            else:
                text = await self._settled(ctx, outgoing, partial(_accepted, make, handles), errors)
                if handles:
                    text = await self._handle_written(ctx, outgoing, handles[0])
            return f"{call_written(noted[-1])}\n{text}"

        at, kept = await self._steps.numbered(ctx, f"call {_label(ctx, outgoing)}", body)
        record, _, text = kept.partition("\n")
        self._note(ctx.run_id, call_read(record))
        if text.startswith(_HANDLE):
            return self._handle(ctx, numbered, text, handles)
        return self._steps.value(execution, at, text, None, errors)

    async def _handle_written(self, ctx: Context, outgoing: Outgoing, handle: Handle) -> str:
        """A handle, with its result if that came with the first reply."""
        result = await self._settled(ctx, outgoing, handle.result, []) if handle.done else None
        value = [handle.trigger, handle.run_id, handle.location, handle.done, handle.operation, result]
        return json.dumps({"handle": value}, separators=(",", ":"))

    def _handle(self, ctx: Context, outgoing: Outgoing, text: str, handles: list[Handle]) -> Handle:
        trigger, run_id, location, done, operation, result = json.loads(text)["handle"]
        if handles and not done:
            fetch: Callable[[], Awaitable[Any]] = handles[0].result
        else:
            fetch = partial(self._calls.later, ctx, outgoing, location, operation=operation)
        wanted = partial(self._result, ctx, outgoing, fetch, result)
        return Handle(trigger, run_id=run_id, location=location, done=done, fetch=wanted, operation=operation)

    async def _result(
        self, ctx: Context, outgoing: Outgoing, fetch: Callable[[], Awaitable[Any]], result: str | None
    ) -> Any:
        """The result behind a handle: it came with the first reply, or is a checkpoint of its own."""
        if result is not None:
            return read(result, None)
        if INSIDE.get() == ctx.run_id:
            return await fetch()
        errors = list[BaseException]()

        async def body(_: int) -> str:
            return await self._settled(ctx, outgoing, fetch, errors)

        at, text = await self._steps.numbered(ctx, f"result {_label(ctx, outgoing)}", body)
        return self._steps.value(self._steps.execution_of(ctx.run_id), at, text, None, errors)

    async def _settled(
        self, ctx: Context, outgoing: Outgoing, make: Callable[[], Awaitable[Any]], errors: list[BaseException]
    ) -> str:
        return await settled(make, None, self._most, outgoing.trigger, errors, secured=ctx.secured)


def _label(ctx: Context, outgoing: Outgoing) -> str:
    """What names the call in its checkpoint. A secured workflow may have made the name of what it was sent."""
    return SECURED_NAME if ctx.secured else outgoing.trigger


async def _accepted(make: Callable[[], Awaitable[Handle]], handles: list[Handle]) -> None:
    """Make a call, and keep its handle."""
    handles.append(await make())
