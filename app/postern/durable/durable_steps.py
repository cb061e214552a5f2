"""`ctx.step`, `ctx.call` and `ctx.sleep` of a durable run: each result is a checkpoint, which is not made again."""

from collections.abc import Awaitable, Callable, Coroutine
from time import time
from typing import Any

from postern.authoring.call_result import Outgoing
from postern.authoring.context import Context
from postern.authoring.retry_policy import Retry
from postern.durable.dbos_engine import Changed, Left, Lost
from postern.durable.execution import Execution
from postern.durable.results import failed, read, result_adapter, written
from postern.durable.seals import Seals
from postern.durable.waits import Waits
from postern.journal.durable_runs import Reason
from postern.runs.steps import Steps

Body = Callable[[int], Coroutine[Any, Any, str]]
May = Callable[[Execution], Awaitable[bool]]
"""Whether an execution may begin the body of a step now."""


class DurableSteps:
    """The steps of durable runs. `execution_of` returns the execution of a run here, `may_begin` says whether it may
    begin a body. `most` bytes of JSON may be a result."""

    def __init__(
        self,
        steps: Steps,
        call: Callable[[Context, Outgoing], Awaitable[Any]],
        waits: Waits,
        execution_of: Callable[[str], Execution],
        may_begin: May,
        seals: Seals,
        most: int,
        now: Callable[[], float] = time,
    ) -> None:
        self._steps = steps
        self._call = call
        self._waits = waits
        self._execution_of = execution_of
        self._may_begin = may_begin
        self._seals = seals
        self._most = most
        self._now = now

    async def step(
        self, ctx: Context, number: int, function: Callable[..., Any], args: tuple[Any, ...], retry: Retry, name: str
    ) -> Any:
        """Call the function, or return what it returned in an earlier execution. Its error is a StepError in each."""
        label = name or getattr(function, "__name__", "step")
        adapter = result_adapter(function)

        async def body(_: int) -> str:
            try:
                value = await self._steps.run(ctx, number, function, args, retry, name)
            except Exception as error:
                return failed(error)
            return written(value, adapter, self._most, label)

        return read(await self.checkpoint(ctx, f"step {label}", body), adapter)

    async def call(self, ctx: Context, outgoing: Outgoing) -> Any:
        """A call of a trigger is a step, whose key is the same in each execution."""

        async def body(_: int) -> str:
            try:
                return written(await self._call(ctx, outgoing), None, self._most, outgoing.trigger)
            except Exception as error:
                return failed(error)

        return read(await self.checkpoint(ctx, f"call {outgoing.trigger}", body), None)

    async def sleep(self, ctx: Context, seconds: float) -> None:
        """Wait for a time, which is counted from the first execution."""

        async def body(_: int) -> str:
            return str(self._now() + seconds)

        execution = self._execution_of(ctx.run_id)
        with execution.alone():
            until = float(await self.checkpoint(ctx, "sleep", body))
            await self._waits.sleep(execution, until)

    async def checkpoint(self, ctx: Context, name: str, body: Body) -> str:
        """The text of a checkpoint. If this execution may not go on, it ends here."""
        execution = self._execution_of(ctx.run_id)
        if execution.left:
            raise Left(execution.run_id)
        column = f"checkpoint {execution.steps}"
        execution.steps += 1
        made: list[str] = []

        async def fenced(number: int) -> str:
            if not await self._may_begin(execution):
                execution.left = True
                raise Left(execution.run_id)
            text = await body(number)
            made.append(text)
            kept, version = await self._seals.seal(execution.run_id, column, text)
            return f"{version or ''} {kept}"

        try:
            version, _, kept = (await execution.checkpoints.step(name, fenced)).partition(" ")
        except Changed:
            execution.left, execution.park = True, Reason.CHANGED
            raise Left(execution.run_id) from None
        except Lost:
            execution.left = True
            raise Left(execution.run_id) from None
        return made[0] if made else await self._seals.open(execution.run_id, column, kept, version or None)
