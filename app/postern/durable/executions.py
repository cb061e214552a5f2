"""The executions of durable runs in this server process: each calls the workflow's function, and ends with the record
of its outcome, or is left to another execution."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import structlog

from postern.authoring.context import Context, Services
from postern.authoring.uses import limited
from postern.authoring.waits import StepError
from postern.catalog import Trigger
from postern.connections.faults import ConnectionFault
from postern.connections.sealing.sealed_text import CannotOpen
from postern.durable.checkpoints import Checkpoints, Later, Left
from postern.durable.execution import CURRENT, Execution
from postern.durable.kept_outcomes import as_checkpoint, outcome_read
from postern.durable.owners import Owners
from postern.durable.passing import passes
from postern.durable.payload import Payload, payload_of, run_of
from postern.durable.replies import reply_of
from postern.durable.turns import Turns
from postern.durable.works import Works, digest_of
from postern.errors import Problem
from postern.journal.durable_ends import repeated
from postern.journal.durable_outcomes import record_outcome
from postern.journal.durable_runs import Claimed, Hold, Reason, park
from postern.journal.durable_upkeep import FRESH, has_ended, owned, put_back, steps_of
from postern.journal.run import Outcome, Run
from postern.journal.writing.rows import facts
from postern.runs.deadlines import Deadlines, Task
from postern.runs.outcomes import cut_off, raised, whole
from postern.runs.threads import NotBegun
from postern.trace import RUN, SECURED

DRAIN = 5.0
"""Seconds that steps under way have to end when the server process ends."""
RECORD_AGAIN = 1.0
"""Seconds until an outcome that could not be recorded is tried again."""

Checkpoint = Callable[[Context, str, Callable[[int], Coroutine[Any, Any, str]]], Awaitable[str]]

log = structlog.get_logger("postern.durable")


class Executions:
    """The executions here, by the ids of their runs. `services` and `checkpoint` are set before the first. `freed` is
    called when one has ended."""

    def __init__(
        self, node: str, works: Works, turns: Turns, now: Callable[[], float], freed: Callable[[], object]
    ) -> None:
        self.here: dict[str, Execution] = {}
        self.services: Services | None = None
        self.checkpoint: Checkpoint | None = None
        self.closed = self._stopping = False
        self._node, self._works = node, works
        self._owners = Owners(works.read)
        self._turns = turns
        self._now = now
        self._freed = freed
        self._gone = asyncio.Event()
        self._deadlines = Deadlines(self._abandoned)
        self._ending = set[asyncio.Task[None]]()

    def left(self, run_id: str) -> float:
        """The seconds until a run here times out; 0 if it is not here."""
        execution = self.here.get(run_id)
        return self._deadlines.left(execution.task) if execution is not None else 0.0

    def of_run(self, run_id: str) -> Execution:
        """The execution of the current code, or of this run. RuntimeError in the code of another, Left without any."""
        current = CURRENT.get()
        if current is not None and current.run_id != run_id:  # Left would end the other run's execution
            raise RuntimeError("this ctx is of another run: use the one that the function got")
        execution = current or self.here.get(run_id)
        if execution is None:
            raise Left(run_id)
        return execution

    def cancel(self, run_id: str, by: str, *, ended: bool) -> Task | None:
        """Cancel a run for a caller (see `journal.run.actor`), and return its task; None if it is not here. One that
        was `ended` in the journal leaves the memory. One that has not begun ends when it does."""
        execution = self.here.get(run_id)
        if execution is None:
            return None
        if ended:
            execution.leave()
        elif not execution.cancelled:
            execution.cancelled, execution.cancelled_by = True, by
            self._deadlines.expire(execution.task)
        return execution.task

    @property
    def takes_more(self) -> bool:
        """Whether runs may be claimed now."""
        return not self._stopping and self._works.beat_age() < FRESH

    async def may_begin(self, execution: Execution) -> bool:
        """Whether an execution may begin a body now: the run is its own, and no other process can have taken this one
        for gone. The beat comes last: who stood still after the comparison has an old one. Raises Later if this process
        has not beaten for a while."""
        if self._stopping or execution.left:
            return False
        mine = await self._owners.owns(execution.hold)
        if mine and self._works.beat_age() >= FRESH:
            raise Later("no-beat")
        return mine

    async def check_holds(self) -> None:
        """Leave the runs that other processes have taken over, because this one seemed to be gone. Those that end
        meanwhile are nobody's any more, and are not lost."""
        before, holds = list(self.here.values()), set(await self._works.read(partial(owned, node=self._node)))
        void = [each for each in before if each.hold not in holds and not each.run.ended_at]
        for execution in void:
            execution.leave()
        if void:
            log.warning("durable-runs-lost", runs=len(void))

    def begin_to_stop(self) -> None:
        """This process is about to end: leave the runs that wait at once, and the others before their next step. A step
        that is under way may end."""
        self._stopping = True
        for execution in list(self.here.values()):
            if not execution.turn and not execution.works:
                execution.leave()

    async def drain(self) -> None:
        """End all executions. What is in a step has DRAIN seconds to end, and is kept, unless this process began to
        stop before."""
        late, self.closed, self._stopping = self._stopping, True, True
        for execution in list(self.here.values()):
            if late or not (execution.under_way and execution.turn):
                execution.leave()
            else:
                execution.left = True
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN):
                while self.here:
                    self._gone.clear()
                    await self._gone.wait()
        for execution in list(self.here.values()):
            execution.leave()

    async def run(self, claimed: Claimed, checkpoints: Checkpoints) -> bool:
        """Execute a run. Returns whether its outcome is recorded: if not, it goes on in another execution."""
        ended = not self._stopping and await self._run(claimed, checkpoints)
        if not ended and self._stopping and not self.closed:  # others need not wait until this process has ended
            hold = Hold(claimed.run_id, self._node, claimed.attempt)
            await self._works.write(partial(put_back, holds=[hold]))
        return ended

    async def _run(self, claimed: Claimed, checkpoints: Checkpoints) -> bool:
        hold = Hold(claimed.run_id, self._node, claimed.attempt)
        if claimed.repeat_from is not None and not await self._works.write(partial(repeated, hold=hold)):
            return False
        trigger = self._works.triggers().get(claimed.workflow)
        payload = await self._payload(claimed, trigger)
        if payload is None or trigger is None:
            if payload is not None:
                await self._park(claimed, Reason.MISSING, trigger)
            return False
        execution = self._new(claimed, payload, trigger, checkpoints)
        try:
            if claimed.attempt > 1 and claimed.repeat_from is None and not claimed.repeats:
                execution.recorded = await self._works.read(partial(steps_of, run_id=claimed.run_id))
            await self._turns.take(execution)
            try:
                outcome = await self._outcome(execution, trigger)
            finally:
                self._turns.give_back(execution)
            return await execution.uncancelled(self._end(execution, outcome), lambda: self._stopping)
        except (Left, asyncio.CancelledError):
            if execution.park is not None:
                await self._park(claimed, execution.park, trigger)
            return False
        except Exception as error:
            if not passes(error):
                execution.broken(error)
                await self._park(claimed, Reason.INTERNAL, trigger)
                return False
            raise
        finally:
            if self.here.get(claimed.run_id) is execution:
                del self.here[claimed.run_id]
                execution.lines.left(claimed.run_id, execution.run)
            self._gone.set()
            self._freed()

    async def _payload(self, claimed: Claimed, trigger: Trigger | None) -> Payload | None:
        """The request of a run; None if its key is not there: then it goes on later, or is parked."""
        try:
            text = await self._works.seals.open(claimed.run_id, "request", claimed.request, claimed.key_version)
            return payload_of(text, claimed.workflow, claimed.repeats or 0)
        except ConnectionFault as error:
            log.warning("durable-run-left", run_id=claimed.run_id, cause=type(error).__name__)
            return None
        except (CannotOpen, ValueError, LookupError, TypeError):  # or it is no request at all
            await self._park(claimed, Reason.KEY, trigger)
            return None

    def _new(self, claimed: Claimed, payload: Payload, trigger: Trigger, checkpoints: Checkpoints) -> Execution:
        run = run_of(claimed.run_id, trigger.workflow, payload)
        if (task := asyncio.current_task()) is None:
            raise RuntimeError("an execution needs a task")
        hold = Hold(run.id, self._node, claimed.attempt)
        execution = Execution(hold, payload, run, checkpoints, task, self._works.lines)
        execution.known = 0 if claimed.repeat_from is not None else claimed.checkpoints or 0
        execution.deadlines = self._deadlines
        if (older := self.here.get(run.id)) is not None:
            older.leave()
        self.here[run.id] = execution
        CURRENT.set(execution)
        RUN.set((run.id, run.request.trace))
        SECURED.set(run.workflow.secures)
        return execution

    async def _outcome(self, execution: Execution, trigger: Trigger) -> Outcome:
        """Call the workflow's function. What it raises is its outcome, unless the execution was left."""
        run = execution.run
        try:
            arguments = await self._works.arguments(trigger, run)
        except Problem:
            execution.left, execution.park = True, Reason.CHANGED
            raise Left(run.id) from None
        task = self._deadlines.begin(execution.payload.timeout)
        if execution.cancelled:  # while it waited for its turn
            self._deadlines.expire(task)
        try:
            context = self._context(execution)
            if run.workflow.is_async:
                outcome = whole(await run.workflow.function(context, **arguments), run.workflow)
            else:
                outcome = await self._whole(run, context, arguments)
            if task in self._deadlines.expired:  # the workflow swallowed its cancellation
                outcome = self._cut_off(execution)
        except BaseException as error:  # SystemExit too: it ends the workflow, never the server
            outcome = self._failure(error, execution, task)
        finally:
            self._deadlines.end(task)
        if execution.left:  # whatever its code did then
            raise Left(run.id)
        return outcome

    async def _whole(self, run: Run, context: Context, arguments: Mapping[str, Any]) -> Outcome:
        """Run a `def` workflow as a whole in a thread: it is one checkpoint."""
        if self.checkpoint is None:
            raise RuntimeError("the engine has no checkpoints")
        body = as_checkpoint(run, context, arguments, self._works.threads, self._works.pages)
        return outcome_read(await self.checkpoint(context, "workflow", body))

    def _failure(self, error: BaseException, execution: Execution, task: Task) -> Outcome:
        """The outcome of a run whose workflow raised. Raises Left if the execution was left, or ended from outside.
        Classes are compared without `isinstance`, which may run code of the author."""
        kind = type(error)
        ended = self._stopping and issubclass(kind, asyncio.CancelledError) and task.cancelling() > 0
        if execution.left or issubclass(kind, Left) or (ended and task not in self._deadlines.expired):
            execution.left = True
            raise Left(execution.run_id) from None
        if task in self._deadlines.expired:
            return self._cut_off(execution, begun=kind is not NotBegun)
        outcome = raised(error, execution.run, self._works.pages)
        if kind is StepError:
            outcome.error_type = str(error.type)  # type: ignore[attr-defined]
        return outcome

    def _cut_off(self, execution: Execution, *, begun: bool = True) -> Outcome:
        execution.run.cancelled_by = execution.cancelled_by
        return cut_off(execution.run, by_hand=execution.cancelled, begun=begun)

    async def _end(self, execution: Execution, outcome: Outcome, *, abandoned: bool = False) -> bool:
        """Record the outcome, for this execution only. While the journal is unavailable, it is tried again, unless the
        execution was left meanwhile. One whose code was `abandoned` is left, and has its outcome all the same."""
        run = execution.run
        run.outcome, run.ended_at = outcome, self._now()
        execution.lines.ended(run)
        seals, most = self._works.seals, self._works.most_kept
        reply = await reply_of(execution, seals, most, lambda: self._gives_up(execution, abandoned=abandoned))
        ending = partial(
            record_outcome, facts=facts(run), hold=execution.hold, failed_step=execution.failed_step, reply=reply
        )
        while True:
            try:
                recorded: bool = await self._works.write(ending)
                break
            except Problem:
                if self._gives_up(execution, abandoned=abandoned):
                    return False
            await asyncio.sleep(RECORD_AGAIN)
        if recorded:
            self._works.ended(run)
        return recorded or bool(await self._works.read(partial(has_ended, run_id=run.id)))

    def _gives_up(self, execution: Execution, *, abandoned: bool) -> bool:
        """Whether an outcome that cannot be recorded yet is left to another execution."""
        return self.closed or (execution.left and not abandoned)

    def _context(self, execution: Execution) -> Context:
        run, services = execution.run, self.services
        if services is None:
            raise RuntimeError("the engine has no services")
        workflow = run.workflow
        if workflow.connections is not None or workflow.secrets is not None:
            services = limited(services, workflow.connections, workflow.secrets)
        started_by = execution.payload.started_by
        context = Context(run.request, run.caller, run.id, workflow.name, services, True, workflow.secures, started_by)
        context._secret_of_calls = bytes.fromhex(execution.payload.secret_of_calls)
        return context

    def _abandoned(self, task: Task) -> None:
        """End a run whose code has swallowed its cancellation: it can begin nothing any more."""
        execution = next((each for each in self.here.values() if each.task is task), None)
        if execution is None:
            return
        workflow = execution.run.workflow
        log.warning(
            "run-abandoned",
            run_id=execution.run_id,
            workflow=workflow.name,
            line=workflow.line,
            fix="the workflow caught its cancellation: raise asyncio.CancelledError again, or catch Exception only",
        )
        self._turns.give_back(execution)  # its code may never end
        self._freed()
        if not execution.left:
            execution.left = True
            ending = asyncio.get_running_loop().create_task(self._end_abandoned(execution))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    async def _end_abandoned(self, execution: Execution) -> None:
        try:
            await self._end(execution, self._cut_off(execution), abandoned=True)
        except Left:  # its reply cannot be sealed now
            if execution.park is not None:
                await self._works.write(partial(park, hold=execution.hold, reason=execution.park, digest=""))

    async def _park(self, claimed: Claimed, reason: Reason, trigger: Trigger | None) -> None:
        """The run waits for its key, or for other code than that of this trigger, which may not be served any more."""
        log.warning("run-parked", run_id=claimed.run_id, workflow=claimed.workflow, reason=reason.value)
        digest = digest_of(trigger)
        hold = Hold(claimed.run_id, self._node, claimed.attempt)
        await self._works.write(partial(park, hold=hold, reason=reason, digest=digest))
