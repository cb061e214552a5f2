"""The durable engine: claims runs in the journal, and runs each from its checkpoints until it has an outcome."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from time import monotonic, time
from typing import Any

import structlog

from postern.authoring.context import Context, Services
from postern.authoring.uses import limited
from postern.catalog import Trigger
from postern.durable.dbos_engine import Checkpoints, DbosEngine, Left
from postern.durable.execution import Execution
from postern.durable.hand_over import hand_over
from postern.durable.payload import unpacked
from postern.durable.probation import Probation
from postern.durable.seals import Seals
from postern.durable.turns import Turns
from postern.errors import Problem
from postern.journal.durable_ends import repeated
from postern.journal.durable_runs import (
    Claimed,
    Hold,
    Reason,
    claim,
    owns,
    park,
    record_outcome,
    release,
    take,
    wake,
)
from postern.journal.durable_upkeep import has_ended, owned, put_back
from postern.journal.run import Outcome, Run
from postern.journal.writing.rows import facts
from postern.runs.deadlines import Deadlines, Task
from postern.runs.outcomes import cut_off, raised, succeeded
from postern.runs.runner import holder
from postern.runs.threads import Threads
from postern.trace import RUN

EVERY = 1.0
"""Seconds between two looks for runs to claim, and for runs to wake. What is accepted here is claimed at once."""

log = structlog.get_logger("postern.durable")

ReadArguments = Callable[[Trigger, Run], Awaitable[Mapping[str, Any]]]
"""Reads the arguments of a function from its request again. Raises Problem if they do not fit any more."""


@dataclass(frozen=True, slots=True)
class Works:
    """What the engine works with. `read` and `write` are the journal's, and `ended` is called with each run that has
    ended."""

    read: Callable[[Callable[[Any], Any]], Awaitable[Any]]
    write: Callable[[Callable[[Any], Any]], Awaitable[Any]]
    triggers: Callable[[], Mapping[str, Trigger]]
    arguments: ReadArguments
    seals: Seals
    threads: Threads
    ended: Callable[[Run], None]
    pages: str = ""


class DurableEngine:
    """Runs durable runs in the server process `node`, on the database at `url`."""

    def __init__(
        self,
        url: str,
        node: str,
        works: Works,
        turns: Turns,
        now: Callable[[], float] = time,
        may_claim: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`may_claim` says whether this process may claim runs at the moment."""
        self.executions: dict[str, Execution] = {}
        self.services: Services | None = None
        self._node = node
        self._works = works
        self._turns = turns
        self._now = now
        self._dbos = DbosEngine(url, node, self.execute)
        self._may_claim = may_claim
        self._clock = clock
        self._probation = Probation()
        self._claimed: dict[str, Claimed] = {}
        self._something = asyncio.Event()
        self._closed = False
        self._draining = False
        self._deadlines = Deadlines(self._abandoned)

    # The life of the engine

    async def run(self) -> None:
        """Open the database of checkpoints. Then claim runs, and wake those that need not wait any longer, until
        cancelled. An error is logged, and followed by another attempt."""
        trouble = ""
        while True:
            try:
                if not self._dbos.runs:
                    await self._dbos.start()
                await self.look()
                trouble = ""
            except Exception as error:
                if trouble != (trouble := type(error).__name__):  # its text may hold a password
                    log.error("durable-runs-not-claimed", cause=trouble)  # noqa: TRY400
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY):
                    await self._something.wait()
            self._something.clear()

    def accepted(self) -> None:
        """Look for runs to claim at once."""
        self._something.set()

    @property
    def idle(self) -> bool:
        """Whether nothing executes here."""
        return not self.executions

    def drain(self) -> None:
        """This process is about to end: claim no more, leave the runs that wait at once, and the others before their
        next step. The step of a run that is under way may end."""
        self._draining = True
        for execution in list(self.executions.values()):
            if not execution.turn:
                execution.leave()

    async def check_holds(self) -> None:
        """Leave the runs that other processes have taken over, because this one seemed to be gone."""
        before = list(self.executions.values())
        holds = set(await self._works.read(partial(owned, node=self._node)))
        void = [execution for execution in before if execution.hold not in holds]
        for execution in void:
            execution.leave()
        if void:
            log.warning("durable-runs-left", runs=len(void))

    async def stop(self) -> None:
        """Leave all runs to other server processes, or to the next start."""
        self._closed = True
        for execution in list(self.executions.values()):
            execution.leave()
        await self._dbos.stop()
        with suppress(Problem):
            await self._works.write(partial(release, node=self._node))

    # Claims

    async def look(self) -> None:
        """Wake runs, and claim as many as there are turns."""
        await self._works.write(partial(wake, now=self._now()))
        while self._takes_more and (room := self._turns.free - len(self._claimed)) > 0:
            suspect = self._probation.may_take(self._clock())
            taking = partial(claim, node=self._node, limits=self._limits(), most=room, suspect=suspect)
            found: list[Claimed] = await self._works.write(taking)
            if not found:
                return
            for each in found:
                self._probation.took(each.run_id, each.deaths, self._clock())
            self._claimed.update({each.run_id: each for each in found})
            await hand_over(self._dbos, found)

    @property
    def _takes_more(self) -> bool:
        return not self._closed and not self._draining and self._may_claim()

    def _hold(self, claimed: Claimed) -> Hold:
        return Hold(claimed.run_id, self._node, claimed.attempt)

    def _limits(self) -> dict[str, int]:
        workflows = [trigger.workflow for trigger in self._works.triggers().values()]
        return {each.name: each.max_concurrency for each in workflows if each.max_concurrency is not None}

    # Executions

    def find(self, run_id: str) -> Run | None:
        """A run that is in progress here."""
        execution = self.executions.get(run_id)
        return execution.run if execution is not None else None

    def left(self, run_id: str) -> float:
        """The seconds until a run here times out; 0 if it is not here."""
        execution = self.executions.get(run_id)
        return self._deadlines.left(execution.task) if execution is not None else 0.0

    def execution_of(self, run_id: str) -> Execution:
        """The execution of a run here. Raises Left if there is none any more."""
        execution = self.executions.get(run_id)
        if execution is None:
            raise Left(run_id)
        return execution

    def cut_off(self, execution: Execution) -> None:
        """End the time of an execution now. One that has not begun ends when it does."""
        self._deadlines.expire(execution.task)

    async def may_begin(self, execution: Execution) -> bool:
        """Whether an execution may begin the body of a step now: the run is its own."""
        if self._closed or self._draining:
            return False
        return bool(await self._works.read(partial(owns, hold=execution.hold)))

    async def execute(self, run_id: str, checkpoints: Checkpoints) -> bool:
        """Run a run that was claimed, here or elsewhere. Returns whether its outcome is recorded: if not, it goes on
        in another execution."""
        claimed = self._claimed.pop(run_id, None)
        if claimed is None:
            claimed = await self._works.write(partial(take, run_id=run_id, node=self._node))
        if claimed is None:
            return bool(await self._works.read(partial(has_ended, run_id=run_id)))
        try:
            if self._closed or self._draining or not await self._execute(claimed, checkpoints):
                await self._put_back(claimed)
                return False
            return True
        finally:
            if self._probation.ended(run_id):
                self._something.set()

    async def _execute(self, claimed: Claimed, checkpoints: Checkpoints) -> bool:
        if claimed.repeat_from is not None and not await self._works.write(partial(repeated, hold=self._hold(claimed))):
            return False
        text = await self._works.seals.open(claimed.run_id, "request", claimed.request, claimed.key_version)
        payload = unpacked(text)
        trigger = self._works.triggers().get(claimed.workflow)
        if trigger is None:
            await self._park(claimed, Reason.MISSING)
            return False
        run = Run(claimed.run_id, trigger.workflow, payload.caller, payload.request, payload.started_at)
        run.parent_run_id, run.resubmitted_from = payload.parent_run_id, payload.resubmitted_from
        run.resubmitted_by, run.trace_id = payload.resubmitted_by, payload.trace_id
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an execution needs a task")
        execution = Execution(self._hold(claimed), payload, run, checkpoints, task)
        self.executions[run.id] = execution
        try:
            await self._turns.take(execution)
            try:
                outcome = await self._outcome(execution, trigger)
            finally:
                self._turns.give_back(execution)
            return not execution.left and await self._end(execution, outcome)
        except BaseException:
            if execution.park is not None:
                await self._park(claimed, execution.park)
            if execution.left:
                return False
            raise
        finally:
            if self.executions.get(run.id) is execution:
                del self.executions[run.id]

    async def _outcome(self, execution: Execution, trigger: Trigger) -> Outcome:
        """Call the workflow's function. What it raises is its outcome, unless the execution was left."""
        run, payload = execution.run, execution.payload
        try:
            arguments = await self._works.arguments(trigger, run)
        except Problem:
            execution.left, execution.park = True, Reason.CHANGED
            raise Left(run.id) from None
        RUN.set((run.id, run.request.trace))
        task = self._deadlines.begin(payload.timeout)
        if execution.cancelled:  # while it waited for its turn
            self._deadlines.expire(task)
        try:
            context = self._context(execution)
            if run.workflow.is_async:
                outcome = succeeded(await run.workflow.function(context, **arguments), run.workflow.result)
            else:
                outcome = await self._whole(run, context, arguments)
            if task in self._deadlines.expired:
                outcome = self._cut_off(execution)
        except BaseException as error:
            outcome = self._failure(error, execution, task)
        finally:
            self._deadlines.end(task)
        return outcome

    async def _whole(self, run: Run, context: Context, arguments: Mapping[str, Any]) -> Outcome:
        """Run a `def` workflow in a thread."""

        def call() -> Any:
            return run.workflow.function(context, **arguments)

        value = await self._works.threads.run(run.workflow.name, call, holder(run))
        return succeeded(value, run.workflow.result)

    def _failure(self, error: BaseException, execution: Execution, task: Task) -> Outcome:
        if execution.left or issubclass(type(error), Left):
            execution.left = True
            raise Left(execution.run_id) from None
        if task in self._deadlines.expired:
            return self._cut_off(execution)
        return raised(error, execution.run, self._works.pages)

    def _cut_off(self, execution: Execution) -> Outcome:
        execution.run.cancelled_by = execution.cancelled_by
        return cut_off(execution.run, by_hand=execution.cancelled, begun=True)

    async def _end(self, execution: Execution, outcome: Outcome) -> bool:
        """Record the outcome, for this execution only."""
        run = execution.run
        run.outcome, run.ended_at = outcome, self._now()
        ending = partial(
            record_outcome,
            facts=facts(run),
            hold=execution.hold,
            failed_step=execution.failed_step,
        )
        recorded: bool = await self._works.write(ending)
        if recorded:
            self._works.ended(run)
        return recorded

    def _context(self, execution: Execution) -> Context:
        run, services = execution.run, self.services
        if services is None:
            raise RuntimeError("the engine has no services")
        workflow = run.workflow
        if workflow.connections is not None or workflow.secrets is not None:
            services = limited(services, workflow.connections, workflow.secrets)
        started_by = execution.payload.started_by
        return Context(run.request, run.caller, run.id, workflow.name, services, True, workflow.secures, started_by)

    def _abandoned(self, task: Task) -> None:
        """The code of a run has swallowed its cancellation."""
        for execution in self.executions.values():
            if execution.task is task:
                log.warning("run-abandoned", run_id=execution.run_id, workflow=execution.run.workflow.name)

    async def _park(self, claimed: Claimed, reason: Reason) -> None:
        log.warning("run-parked", run_id=claimed.run_id, workflow=claimed.workflow, reason=reason.value)
        parking = partial(park, hold=self._hold(claimed), reason=reason)
        await self._works.write(parking)

    async def _put_back(self, claimed: Claimed) -> None:
        """A run that was left is ready for others, unless they have it already, or it waits or is parked."""
        if not self._closed:  # otherwise all are released at once
            await self._works.write(partial(put_back, holds=[self._hold(claimed)]))
