"""The durable engine: claims runs in the journal, and has each of them executed until it has an outcome."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from functools import partial
from time import monotonic, time
from typing import Any

import structlog

from postern.authoring.context import Services
from postern.authoring.workflow import Workflow
from postern.catalog import Trigger
from postern.durable.checkpoints import Checkpoints
from postern.durable.execution import Execution
from postern.durable.executions import Checkpoint, Executions
from postern.durable.hand_over import hand_over
from postern.durable.probation import Probation
from postern.durable.store import Store
from postern.durable.turns import Turns
from postern.durable.works import Works, digest_of
from postern.errors import Problem
from postern.journal.durable_runs import Claimed, Hold, Parked, Reason, claim, parked, release, take, unpark, wake
from postern.journal.durable_upkeep import has_ended, has_work, lost, owned, put_back
from postern.journal.run import Run
from postern.logs import Trouble

EVERY = 1.0
"""Seconds between two looks for runs to claim, and for runs to wake. What is accepted here is claimed at once."""
IN_TROUBLE = 5.0
"""The same after a look that failed."""
RECONCILE = 10.0
"""Seconds between two looks for runs of this process that nothing here runs, and for parked ones."""
ARRIVE = 6.0
"""Seconds in which DBOS hands a run over that it took. A process that ends meanwhile may have got it in our place."""
KEY_AGAIN = 60.0
"""Seconds after which runs whose key did not open are tried again."""

log = structlog.get_logger("postern.durable")


class DurableEngine:
    """Runs durable runs in the server process `node`, on the database at `url`. `clock` counts seconds. With `early`,
    the database of checkpoints is opened as soon as a durable workflow is served, before the first run."""

    def __init__(
        self,
        url: str,
        node: str,
        works: Works,
        turns: Turns,
        now: Callable[[], float] = time,
        clock: Callable[[], float] = monotonic,
        *,
        early: bool = True,
    ) -> None:
        self._node = node
        self._early = early
        self._works = works
        self._turns = turns
        self._now = now
        self._clock = clock
        self._executions = Executions(node, works, turns, now, self._freed)
        self._store = Store(url, node, self.execute, works.quiet)
        self._probation = Probation()
        self._claimed: dict[str, Claimed] = {}
        self._handed_at: dict[str, float] = {}
        self._arrived: Counter[str] = Counter()
        self._found: set[Hold] = set()
        self._something = asyncio.Event()
        self._more = self._news = self._hands_over = False
        self._going_on: list[Claimed] = []
        self._reserved = 0
        self._again = self._looked = float("-inf")
        self._begun: set[asyncio.Task[None]] = set()
        self.drain = self._executions.begin_to_stop
        self.check_holds = self._executions.check_holds
        self._served: Mapping[str, Trigger] = {}
        self._reconciled = self._keys_tried = float("-inf")
        self.find_execution = self._executions.here.get
        self.execution_of = self._executions.of_run
        self.may_begin = self._executions.may_begin
        self.left = self._executions.left
        self.cancel = self._executions.cancel

    @property
    def executions(self) -> dict[str, Execution]:
        """The executions here, by the ids of their runs."""
        return self._executions.here

    def use(self, services: Services, checkpoint: Checkpoint) -> None:
        """What workflows get, and how a `def` workflow becomes a checkpoint. It is set before the first run."""
        self._executions.services, self._executions.checkpoint = services, checkpoint

    def find(self, run_id: str) -> Run | None:
        """A run that is in progress here."""
        execution = self._executions.here.get(run_id)
        return execution.run if execution is not None else None

    @property
    def store(self) -> Store:
        """The store of checkpoints."""
        return self._store

    @property
    def idle(self) -> bool:
        """Whether nothing executes here."""
        return not self._executions.here

    # The life of the engine

    async def run(self) -> None:
        """Open the database of checkpoints. Then claim runs, and wake those that need not wait any longer, until
        cancelled. An error is logged, and followed by another attempt."""
        trouble = Trouble(log.error, "durable-runs-not-claimed")
        while True:
            self._something.clear()
            with trouble.attempt():
                if not self._store.runs and await self._needs_store():
                    await self._store.start()
                if self._store.runs:
                    await self.look()
                if self._clock() - self._reconciled >= RECONCILE or self._works.triggers() is not self._served:
                    await self.reconcile()
            with suppress(TimeoutError):
                async with asyncio.timeout(IN_TROUBLE if trouble.lasts else EVERY):
                    await self._something.wait()

    def accepted(self) -> None:
        """Look for runs to claim at once."""
        self._news = True
        self._something.set()

    async def stop(self) -> None:
        """Leave all runs to other server processes, or to the next start. Steps under way may end first."""
        await self._executions.drain()
        await self._store.stop()
        with suppress(Problem):
            await self._works.write(partial(release, node=self._node))

    async def _needs_store(self) -> bool:
        """Whether a durable workflow is served here, or a run is there that may be executed."""
        if self._early and any(trigger.workflow.durable for trigger in self._works.triggers().values()):
            return True
        return any(await self._works.read(partial(has_work, now=self._now())))

    # Claims

    def reserve(self, workflow: Workflow) -> str | None:
        """See acceptance.Places. A run begins at once only while no other one that is ready waits for a place."""
        waits = self._news or self._more or self._clock() < self._again
        if waits or not (self._store.runs and self._executions.takes_more and self._room > 0):
            return None
        if workflow.keyed or workflow.max_concurrency is not None:  # the journal counts them
            return None
        self._reserved += 1
        return self._node

    def begin_reserved(self, claimed: Claimed | None) -> None:
        """See acceptance.Places."""
        self._reserved -= 1
        if claimed is None:
            self._freed()
            return
        self._claimed[claimed.run_id] = claimed
        self._begin([claimed])

    @property
    def _room(self) -> int:
        """How many more runs can be claimed."""
        return self._turns.free - len(self._claimed) - self._reserved

    async def look(self) -> None:
        """Wake runs, and claim as many as there are turns."""
        now, ready, self._news = self._clock(), self._news, False
        if not ready or now - self._looked >= EVERY:
            self._looked = now
            await self._put_late_ones_back(now)
            wakes, found_ready = await self._works.read(partial(has_work, now=self._now()))
            if wakes:
                await self._works.write(partial(wake, now=self._now()))
            ready = ready or wakes or found_ready
        self._more = False
        while ready and self._executions.takes_more and self._clock() >= self._again:
            room = self._room
            if room <= 0:
                self._more = True
                return
            suspect = self._probation.may_take(self._clock())
            limits, keyed = self._limits()
            taking = partial(claim, node=self._node, limits=limits, most=room, suspect=suspect, keyed=keyed)
            found: list[Claimed] = await self._works.write(taking)
            self._claimed.update({each.run_id: each for each in found})
            for each in found:
                self._probation.took(each.run_id, each.deaths, self._clock())
            self._begin(found)
            if len(found) < room:
                # What waits for a place is claimed as soon as a run has ended here.
                self._more = bool(limits) and (await self._works.read(partial(has_work, now=self._now())))[1]
                return

    async def _put_late_ones_back(self, now: float) -> None:
        """Put back the runs that were handed over and have not arrived."""
        late = [run_id for run_id, since in self._handed_at.items() if now - since >= ARRIVE]
        claims = [self._claimed.pop(run_id, None) for run_id in late if self._handed_at.pop(run_id)]
        if holds := [self._hold(claimed) for claimed in claims if claimed is not None]:
            await self._works.write(partial(put_back, holds=holds))
            log.warning("durable-runs-put-back", runs=len(holds))
            self.accepted()

    def _begin(self, found: Sequence[Claimed]) -> None:
        """Execute runs that were claimed, while others are claimed."""
        first = [each for each in found if each.attempt == 1 and each.repeat_from is None]
        for each in first:
            self._go_on_with(self._first_time(each))
        self._going_on += [each for each in found if each not in first]
        if self._going_on and not self._hands_over:
            self._hands_over = True
            self._go_on_with(self._again_by_dbos())

    def _go_on_with(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)

    async def _first_time(self, claimed: Claimed) -> None:
        """Execute a run that DBOS does not know yet. If DBOS does not take it with its first checkpoint it is put back,
        and no others are claimed for a while."""
        if not self._store.runs:  # this process ends
            self._claimed.pop(claimed.run_id, None)
            await self._put_back([self._hold(claimed)], "Stopped")
            return
        checkpoints = self._store.dbos.first(claimed.run_id)
        if await self.execute(claimed.run_id, checkpoints):
            checkpoints.end()
        elif checkpoints.failed is not None:
            await self._put_back([self._hold(claimed)], type(checkpoints.failed).__name__)

    async def _put_back(self, back: Sequence[Hold], cause: str) -> None:
        self._again = self._clock() + IN_TROUBLE
        log.error("durable-runs-not-handed-over", runs=len(back), cause=cause)
        with suppress(Problem):  # otherwise `reconcile` does it
            await self._works.write(partial(put_back, holds=back))

    async def _again_by_dbos(self) -> None:
        """Hand runs that go on to DBOS, which executes them. Those that are claimed meanwhile are the next ones: a few
        calls of DBOS cost as much for one run as for many."""
        try:
            while found := self._going_on:
                self._going_on = []
                await self._hand_over(found)
        finally:
            self._hands_over = False

    async def _hand_over(self, found: Sequence[Claimed]) -> None:
        """Those that DBOS cannot take are put back, and no others are claimed for a while."""
        left: set[str] = set()
        cause = "NotTaken"
        try:
            await hand_over(self._store.dbos, found, left)
        except Exception as error:
            cause = type(error).__name__
        self._handed_at |= {each.run_id: self._clock() for each in found if each.run_id not in left}
        if back := [self._hold(self._claimed.pop(run_id)) for run_id in left if run_id in self._claimed]:
            await self._put_back(back, cause)

    def _hold(self, claimed: Claimed) -> Hold:
        return Hold(claimed.run_id, self._node, claimed.attempt)

    def _limits(self) -> tuple[dict[str, int], frozenset[str]]:
        """The limits of the workflows that have one, and those of them whose limit holds for each key."""
        workflows = [trigger.workflow for trigger in self._works.triggers().values()]
        limits = {each.name: each.max_concurrency for each in workflows if each.max_concurrency is not None}
        return limits, frozenset(each.name for each in workflows if each.concurrency_key is not None)

    def _freed(self) -> None:
        """A turn is free: there may be a run for it."""
        if self._more:
            self.accepted()

    # Executions

    async def execute(self, run_id: str, checkpoints: Checkpoints) -> bool:
        """Run a run that was claimed, here or elsewhere. Returns whether its outcome is recorded: if not, it goes on
        in another execution. It raises nothing: what fails here passes, and the run goes on then."""
        self._arrived[run_id] += 1
        try:
            claimed = self._claimed.pop(run_id, None)
            if claimed is None:
                claimed = await self._works.write(partial(take, run_id=run_id, node=self._node))
            if claimed is None:
                return bool(await self._works.read(partial(has_ended, run_id=run_id)))
            return await self._executions.run(claimed, checkpoints)
        except Exception as error:
            log.warning("durable-run-left", run_id=run_id, cause=type(error).__name__)
            return False
        finally:
            self._arrived[run_id] -= 1
            if not self._arrived[run_id]:
                del self._arrived[run_id]
            if self._probation.ended(run_id):
                self._something.set()

    # What is left lying

    async def reconcile(self) -> None:
        """Put back the runs of this process that nothing here runs, and let parked ones go on that may."""
        self._served, self._reconciled = self._works.triggers(), self._clock()
        claimed = list(self._claimed)
        found = await self._works.read(partial(owned, node=self._node))
        for run_id in set(claimed) - {hold.run_id for hold in found}:  # another process has taken it
            self._claimed.pop(run_id, None)
        if lying := lost(found, self._arrived, self._found):
            for hold in lying:
                self._claimed.pop(hold.run_id, None)
            if back := await self._works.write(partial(put_back, holds=lying)):
                log.warning("durable-runs-put-back", runs=len(back))
                self._something.set()
        self._found = set(found)
        keys = self._clock() - self._keys_tried >= KEY_AGAIN
        if keys:
            self._keys_tried = self._clock()
        if fitting := may_go_on(await self._works.read(parked), self._served, keys=keys):
            await self._works.write(partial(unpark, run_ids=fitting))
            log.info("durable-runs-unparked", runs=len(fitting))
            self._something.set()


def may_go_on(found: Iterable[Parked], served: Mapping[str, Trigger], *, keys: bool) -> list[str]:
    """The ids of the parked runs that may go on: their workflow is there with other code than the one that they did not
    fit, or, if `keys`, they are tried again because their key may be there. Runs of a restored backup go on only when
    an operator resumes them."""

    def fits(run: Parked) -> bool:
        if run.reason == Reason.KEY:
            return keys
        in_code = run.reason in (Reason.MISSING, Reason.CHANGED)
        return in_code and digest_of(served.get(run.workflow)) not in ("", run.digest)

    return [each.run_id for each in found if fits(each)]
