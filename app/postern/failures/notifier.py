"""The notifier: starts the workflow that `on_failure` names when a run has failed, once for each run that failed.

What is in the journal counts: so no run is reported before its record is on disk, and a failure is found again by the
next look if its server process was killed. A run that was started by a failure or a finding starts none, nor does a run
that it called.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from math import isfinite

import structlog

from postern.catalog import Trigger
from postern.errors import Problem
from postern.failures.notices import Room, grouped, notice
from postern.ids import new_id
from postern.journal.consequences import KINDS, is_consequence
from postern.journal.failure_notices import MOST, SKIPPED, Failure, claim, release, waiting, watch
from postern.journal.run import Run
from postern.journal.server_processes import Transaction
from postern.logs import Trouble
from postern.runs.claims import nothing
from postern.runs.idempotency import Key
from postern.runs.server_run import ServerRun, has_run, server_run

LOOK_SECONDS = 60.0
"""Seconds between two looks at all failures. One of this server process is looked at when it is recorded."""
AGAIN_SECONDS = 5.0
"""Seconds until what failed is tried again."""

OUTCOMES = ("started", "coalesced", "skipped", "not-started")

log = structlog.get_logger("postern.failures")


@dataclass(slots=True, eq=False)
class Notifier:
    """Notifies workflows of failed runs. `start` starts a run, and waits for its end, or until it is accepted if it is
    durable. `stopping` says that no run starts here any more. `now` is in Unix seconds. It belongs to one event loop:
    `run` is its task."""

    triggers: Callable[[], Mapping[str, Trigger]]
    read: Transaction
    write: Transaction
    start: Callable[[ServerRun, Key | None], Awaitable[Run]]
    stopping: Callable[[], bool] = lambda: False
    now: Callable[[], float] = time.time
    outcomes: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(OUTCOMES, 0)), init=False)
    _watched: frozenset[str] | None = field(default=None, init=False)
    _rooms: defaultdict[str, Room] = field(default_factory=lambda: defaultdict(Room), init=False)
    _failed: set[str] = field(default_factory=set, init=False)
    _came: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    _looks: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    def failed(self, run_id: str) -> None:
        """A run has failed here. Its record may still be on its way."""
        if len(self._failed) < MOST:  # the next look at all finds the others
            self._failed.add(run_id)
        self._came.set()

    def wake(self) -> None:
        """The workflows may have changed."""
        self._came.set()

    async def run(self) -> None:
        """Start runs until cancelled. An error is logged, and followed by another attempt."""
        trouble, looked = Trouble(log.error, "failures-not-looked-at"), float("-inf")
        while True:
            self._came.clear()
            every = self.now() - looked >= LOOK_SECONDS or self.now() < looked
            with trouble.attempt():
                await self.step(every=every)
                looked = self.now() if every else looked
            try:
                async with asyncio.timeout(AGAIN_SECONDS if trouble.lasts else LOOK_SECONDS):
                    await self._came.wait()
            except TimeoutError:
                pass

    async def step(self, *, every: bool = True) -> None:
        """Look at failures: at those of this process, or at `every` one. The runs start in tasks of their own. One look
        follows the other: what an earlier one has claimed has its task when a later one ends."""
        async with self._looks:
            await self._look(every=every)

    async def _look(self, *, every: bool) -> None:
        named = {name: each for name, each in self.triggers().items() if each.workflow.on_failure}
        await self._watch(frozenset(named))
        if not named or self.stopping() or not (every or self._failed):
            return
        run_ids, self._failed = self._failed, set()
        if run_ids:
            await self.write(nothing)  # what was queued before it is on disk afterwards
        by_workflow: defaultdict[str, list[Failure]] = defaultdict(list)
        for failure in await self._waiting(named, None if every else run_ids):
            if await self._is_consequence(failure):
                await self._skip(failure)
            else:
                by_workflow[failure.workflow].append(failure)
        for name, failures in by_workflow.items():
            await self._notify(named[name], failures)

    async def settle(self) -> None:
        """Wait for what has been started."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _watch(self, named: frozenset[str]) -> None:
        if named != self._watched:
            await self.write(partial(watch, workflows=named, now=self.now()))
            self._watched = named

    async def _waiting(self, named: Mapping[str, Trigger], run_ids: Collection[str] | None) -> list[Failure]:
        timeouts = {name: trigger.workflow.timeout for name, trigger in named.items()}
        lasting = [name for name, timeout in timeouts.items() if named[name].workflow.durable or not isfinite(timeout)]
        longest = max([timeout for name, timeout in timeouts.items() if name not in lasting], default=0.0)
        how = {"run_ids": run_ids, "lasting": lasting, "longest": longest}
        return await self.read(partial(waiting, workflows=named.keys(), now=self.now(), **how))  # type: ignore[arg-type]

    async def _is_consequence(self, failure: Failure) -> bool:
        if failure.caller_kind in KINDS:
            return True
        above = failure.parent_run_id
        return bool(above) and await self.read(partial(is_consequence, run_ids=[above]))

    async def _skip(self, failure: Failure) -> None:
        if await self.write(partial(claim, run_ids=[failure.run_id], notice_run_id=SKIPPED, now=self.now())):
            self.outcomes["skipped"] += 1
            why = "a failure or a finding started this run, or one that called it"
            log.info("failure-notice-skipped", workflow=failure.workflow, failed_run_id=failure.run_id, reason=why)

    async def _notify(self, failed: Trigger, failures: Sequence[Failure]) -> None:
        name = failed.workflow.on_failure
        notified = self.triggers().get(name)
        if notified is None:
            self._not_started(failed, name, "unknown-trigger")
            return
        room = self._rooms[failed.workflow.name]
        for group in grouped(failures, room.at_most(self.now())):
            run_id = new_id()
            ids = [each.run_id for each in group]
            mine = set(await self.write(partial(claim, run_ids=ids, notice_run_id=run_id, now=self.now())))
            own = [each for each in group if each.run_id in mine]
            if not own:
                continue  # another server process has them
            room.left -= 1
            body = notice(own[0], len(own) - 1, secured=failed.workflow.secures)
            run = server_run(run_id, notified, "failure", f"failure of {failed.workflow.name}", body)
            task = asyncio.create_task(self._start(failed, run, own), context=copy_context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _start(self, failed: Trigger, run: ServerRun, reported: Sequence[Failure]) -> None:
        try:
            await self.start(run, None)
        except Problem as error:
            if not has_run(error):
                self._not_started(failed, run.trigger.workflow.name, error.code)
                await self._release(failed, run, reported)
                return
        except Exception as error:
            self._not_started(failed, run.trigger.workflow.name, type(error).__name__)
            return
        self.outcomes["started"] += 1
        self.outcomes["coalesced"] += len(reported) - 1
        fields = {"workflow": failed.workflow.name, "failed_run_id": reported[0].run_id, "run_id": run.id}
        log.info("failure-notice-started", on_failure=run.trigger.workflow.name, **fields)
        if len(reported) > 1:
            log.warning("failures-coalesced", **fields, more_failures=len(reported) - 1)

    async def _release(self, failed: Trigger, run: ServerRun, reported: Sequence[Failure]) -> None:
        """The failures are reported by another run, later."""
        try:
            await self.write(partial(release, notice_run_id=run.id))
        except Problem:
            log.warning("failure-notice-lost", workflow=failed.workflow.name, failed_run_id=reported[0].run_id)

    def _not_started(self, failed: Trigger, name: str, reason: str) -> None:
        self.outcomes["not-started"] += 1
        log.error("failure-notice-not-started", workflow=failed.workflow.name, on_failure=name, reason=reason)
