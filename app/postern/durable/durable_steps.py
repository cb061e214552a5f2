"""`ctx.step` and `ctx.sleep` of a durable run: each result is a checkpoint, which is not made again.

A checkpoint has the record of its step, so that the record of the run has each step once. The code in a step may call
`ctx.step` and `ctx.call` too: they are parts of that step, and no checkpoints.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from functools import partial
from time import time
from typing import Any

from postern.authoring.context import Context
from postern.authoring.retry_policy import Retry
from postern.call_chain import PART
from postern.connections.faults import ConnectionFault
from postern.connections.sealing.sealed_text import CannotOpen
from postern.durable.checkpoints import Changed, Later, Left, Lost
from postern.durable.execution import Execution
from postern.durable.passing import passes
from postern.durable.records import step_read, step_written
from postern.durable.results import Adapter, failed, read, result_adapter, written
from postern.durable.seals import Seals
from postern.durable.waits import Waits
from postern.errors import Problem
from postern.journal.durable_runs import Reason
from postern.journal.run import Step
from postern.journal.secured import kept_step
from postern.runs.steps import LONGEST_NAME, Note, Steps

Body = Callable[[int], Coroutine[Any, Any, str]]
May = Callable[[Execution], Awaitable[bool]]
"""Whether an execution may begin the body of a step now. Raises Later if that cannot be said yet."""

Kept = Callable[[str, str, bool], bool]
"""Called with a run, the label of a step whose checkpoint is kept, and whether its body ran now. Returns whether this
process goes on with the run."""

NESTED = 10_000
"""A step in a step has the number of the outer one times this, and its own: top-level steps keep their numbers when
their code is not called again."""

INSIDE: ContextVar[str] = ContextVar("inside", default="")
"""The run in whose checkpoint the current code is; "" outside."""


class DurableSteps:
    """The steps of durable runs. `execution_of` returns the execution of a run here, `may_begin` says whether it may
    begin a body. `most` bytes of JSON may be a result. `note` gets the record of each step, and
    `kept` is asked when its checkpoint is there."""

    def __init__(
        self,
        steps: Steps,
        waits: Waits,
        execution_of: Callable[[str], Execution],
        may_begin: May,
        seals: Seals,
        most: int,
        note: Note,
        now: Callable[[], float] = time,
        kept: Kept = lambda _run_id, _label, _ran: True,
    ) -> None:
        self._steps = steps
        self._kept = kept
        self._waits = waits
        self.execution_of = execution_of
        self._may_begin = may_begin
        self._seals = seals
        self._most = most
        self._note = note
        self._now = now

    async def step(
        self, ctx: Context, number: int, function: Callable[..., Any], args: tuple[Any, ...], retry: Retry, name: str
    ) -> Any:
        """Call the function, or return what it returned in an earlier execution. Its error is the same in each (see
        `errors_as_values.py`)."""
        if INSIDE.get() == ctx.run_id:
            part = PART.get()
            outer = part.step if part is not None and part.step is not None else 0
            return await self._steps.run(ctx, outer * NESTED + number, function, args, retry, name)
        execution = self.execution_of(ctx.run_id)
        execution.top_steps += 1
        place = execution.top_steps
        call = partial(self._steps.run, ctx, place, function, args, retry, name)
        label = kept_step(name, function, secured=ctx.secured)[:LONGEST_NAME]
        adapter, errors, noted = result_adapter(function), list[BaseException](), list[Step]()

        async def body(_: int) -> str:
            if place < NESTED and place in execution.recorded:  # its checkpoint is missing
                execution.park = Reason.LOST
                raise execution.gone()
            make = partial(call, note=lambda _, step: noted.append(step), again=partial(self._check, execution))
            text = await settled(make, adapter, self._most, label, errors, secured=ctx.secured)
            return f"{step_written(noted[-1])}\n{text}"

        at, kept = await self.numbered(ctx, f"step {label}", body)
        record, _, text = kept.partition("\n")
        self._note(ctx.run_id, step_read(record))
        if not self._kept(ctx.run_id, label, bool(noted)):
            raise execution.gone()
        return self.value(execution, at, text, adapter, errors)

    def value(self, execution: Execution, at: int, text: str, adapter: Adapter, errors: list[BaseException]) -> Any:
        """The value of the checkpoint number `at`. Raises its error, with the one that was raised here as its cause."""
        try:
            return read(text, adapter)
        except Exception as error:
            execution.failed_step = at
            raise error from (errors[0] if errors else None)

    async def sleep(self, ctx: Context, seconds: float) -> None:
        """Wait for a time, which is counted from the first execution."""
        if INSIDE.get() == ctx.run_id:
            await asyncio.sleep(seconds)
            return
        execution = self.execution_of(ctx.run_id)

        async def body(_: int) -> str:
            return str(self._now() + seconds)

        execution.check_own_code()
        until = float(await self.checkpoint(ctx, "sleep", body))
        try:
            await self._waits.sleep(execution, until)
        except Problem:  # the journal is unavailable: the run goes on when it is back
            execution.left = True
            raise Left(execution.run_id) from None

    async def checkpoint(self, ctx: Context, name: str, body: Body) -> str:
        """The text of a checkpoint. If this execution may not go on, it ends here. What `body` raises passes by itself:
        it is called again later."""
        return (await self.numbered(ctx, name, body))[1]

    async def numbered(self, ctx: Context, name: str, body: Body) -> tuple[int, str]:
        """The same, with the number of the checkpoint."""
        if INSIDE.get() == ctx.run_id:
            raise RuntimeError("a step cannot wait for signals or approvals: wait outside of steps")
        execution = self.execution_of(ctx.run_id)
        if execution.left:
            await self._waits.refuse(execution)
        place = execution.steps
        execution.steps += 1
        made: list[str] = []
        execution.under_way += 1
        try:
            fenced = partial(self._fenced, execution, place, body, made)
            number, text = await execution.checkpoints.step(name, fenced)
        except Changed:
            execution.left, execution.park = True, Reason.CHANGED
            raise Left(execution.run_id) from None
        except Lost:
            execution.left = True
            raise Left(execution.run_id) from None
        except asyncio.CancelledError:
            execution.ended_early(place)
            raise
        except Exception as error:  # never the author's: those are values by now
            raise execution.ended_by(error) from None
        finally:
            execution.under_way -= 1
        if execution.left:  # the server process ends: what has ended is kept, and nothing begins
            raise Left(execution.run_id)
        if made:
            return number, made[0]
        execution.lines.again(execution.run_id)
        return number, await self._opened(execution, _column(place), text)

    async def _fenced(self, execution: Execution, place: int, body: Body, made: list[str], number: int) -> str:
        """Call the body if this execution may. What it returned is kept in `made`: it is not called again if it cannot
        be sealed yet. If the journal knows that this checkpoint was made, it is missing, and the run is parked."""
        INSIDE.set(execution.run_id)
        if place < execution.known:
            execution.park = Reason.LOST
            raise execution.gone()
        try:
            if not made:
                await self._check(execution)
                execution.lines.fresh(execution.run_id)
                made.append(await body(number))
            kept, version = await self._seals.seal(execution.run_id, _column(place), made[0])
        except GeneratorExit as error:  # a future's: it closes what awaited it, so no error of the step is there
            raise execution.ended_by(error) from None
        except Exception as error:
            if passes(error):
                raise Later(type(error).__name__) from None
            raise execution.broken(error) from None
        return f"{version or ''} {kept}"

    async def _check(self, execution: Execution) -> None:
        """Check that a body, or another attempt of it, may begin. An author's code sees nothing of what fails here."""
        try:
            may_begin = await self._may_begin(execution)
        except Exception as error:
            if passes(error):
                raise Later(type(error).__name__) from None
            raise execution.broken(error) from None
        if not may_begin:
            execution.left = True
            raise Left(execution.run_id)

    async def _opened(self, execution: Execution, column: str, text: str) -> str:
        version, _, kept = text.partition(" ")
        try:
            return await self._seals.open(execution.run_id, column, kept, version or None)
        except ConnectionFault:
            execution.left = True
        except CannotOpen:
            execution.left, execution.park = True, Reason.KEY
        raise Left(execution.run_id)


def _column(place: int) -> str:
    return f"checkpoint {place}"


async def settled(
    make: Callable[[], Awaitable[Any]],
    adapter: Adapter,
    most: int,
    label: str,
    errors: list[BaseException],
    *,
    secured: bool,
) -> str:
    """The checkpoint of what an author's code returns or raises; the error is added to `errors`. A cancellation from
    outside is raised: nothing has ended then."""
    try:
        return written(await make(), adapter, most, label)
    except (Left, Later):
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        errors.append(error)
    except BaseException as error:  # SystemExit and GeneratorExit too: they end the step, never the server
        errors.append(error)
    return failed(errors[0], secured=secured)
