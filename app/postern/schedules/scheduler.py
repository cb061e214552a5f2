"""The scheduler: starts workflows by the clock. Every server process has one, and the journal decides which of them
starts the run of a due time.

An inline run is recorded when its time is claimed, and starts afterwards: at most once. A durable run is accepted under
an idempotency key of its workflow and time, and the time is decided afterwards: at least once, and not twice while the
key is kept.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple

import structlog
from sqlalchemy import Connection

from postern.authoring.schedule import Schedule
from postern.catalog import Trigger
from postern.errors import Problem
from postern.ids import new_id
from postern.journal.run import Run
from postern.journal.schedules import AHEAD, MISSED, STARTED, Claim, claim, give_back, is_undecided, meet
from postern.journal.server_processes import Transaction
from postern.journal.writing.rows import facts
from postern.logs import Trouble
from postern.runs.idempotency import Key
from postern.runs.server_run import ServerRun, has_run, server_run
from postern.schedules.due import Decision, Due, decide

LOOK_SECONDS = 30.0
"""Seconds between two looks at most: so soon a clock that was set is noticed."""
AGAIN_SECONDS = 1.0
"""Seconds until what failed is tried again."""
_MOMENT = 0.001

HEADER = b"postern-scheduled-time"
"""The header of the run's request with its due time (RFC 3339, in UTC)."""

OUTCOMES = ("started", "missed", "not-started")

log = structlog.get_logger("postern.schedules")


class _Decided(NamedTuple):
    """What is done about a due time of a workflow. `before` is the time of the decision before."""

    trigger: Trigger
    schedule: Schedule
    due: Due
    before: float

    @property
    def workflow(self) -> str:
        return self.trigger.workflow.name

    def run(self) -> ServerRun:
        """Its run, under a new id."""
        headers = ((HEADER, time_text(self.due.at).encode()),)
        return server_run(new_id(), self.trigger, "schedule", f"schedule {self.schedule.text}", headers=headers)

    def claim(self, outcome: str = STARTED, **of_run: Any) -> Claim:
        return Claim(self.workflow, self.schedule.text, self.due.at, outcome, **of_run)

    def fields(self) -> dict[str, str]:
        return {"workflow": self.workflow, "schedule": self.schedule.text, "due": time_text(self.due.at)}


@dataclass(slots=True, eq=False)
class Scheduler:
    """Starts the workflows with a schedule. `start` starts a run, and waits for its end, or until it is accepted if it
    is durable. `stopping` says that no run starts here any more. `now` is in Unix seconds. It belongs to one event
    loop: `run` is its task."""

    triggers: Callable[[], Mapping[str, Trigger]]
    write: Transaction
    write_soon: Callable[[Callable[[Connection], object]], None]
    start: Callable[[ServerRun, Key | None], Awaitable[Run]]
    node: str
    stopping: Callable[[], bool] = lambda: False
    now: Callable[[], float] = time.time
    outcomes: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(OUTCOMES, 0)), init=False)
    _floors: dict[str, tuple[str, float]] = field(default_factory=dict, init=False)
    _failed: dict[str, float] = field(default_factory=dict, init=False)
    _changed: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    def wake(self) -> None:
        """The workflows or the clock may have changed."""
        self._changed.set()

    async def run(self) -> None:
        """Start runs at their times until cancelled. An error is logged, and followed by another attempt."""
        trouble = Trouble(log.error, "schedules-not-looked-at")
        while True:
            self._changed.clear()
            wait = AGAIN_SECONDS
            with trouble.attempt():
                await self.step()
                wait = self.wait()
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def next_due(self) -> float | None:
        """The next time that is due, or the one that is tried again; None if there is none."""
        now, times = self.now(), []
        for name, trigger in self._scheduled().items():
            schedule, (_, floor) = trigger.workflow.schedule, self._floors.get(name, ("", now))
            times.append(None if schedule is None else next(schedule.after(floor), None))
        return min((at for at in times if at is not None), default=None)

    def wait(self) -> float:
        """Seconds until the next look."""
        at, now = self.next_due(), self.now()
        if at is None:
            return LOOK_SECONDS
        return min(LOOK_SECONDS, at - now + _MOMENT if at > now else AGAIN_SECONDS)

    async def step(self) -> None:
        """Decide about the times that are due. The runs start in tasks of their own."""
        if self.stopping():
            return
        found = self._scheduled()
        self._floors = {name: known for name, known in self._floors.items() if name in found}
        for name, trigger in found.items():
            schedule, now = trigger.workflow.schedule, self.now()
            if schedule is None:
                continue
            floor = await self._floor(name, schedule.text, now)
            if due := decide(schedule, floor, now):
                self._floors[name] = schedule.text, due.at
                deciding = self._decide(_Decided(trigger, schedule, due, floor))
                task = asyncio.create_task(deciding, context=copy_context())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait for what has been started."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _scheduled(self) -> dict[str, Trigger]:
        return {name: each for name, each in self.triggers().items() if each.workflow.schedule is not None}

    async def _floor(self, name: str, text: str, now: float) -> float:
        """The time after which a workflow is due. What the journal knows is read for a schedule that is new here, and
        for one that seems to be decided far into the future: the clock was set back."""
        known, floor = self._floors.get(name, ("", 0.0))
        if known != text or floor > now + AHEAD:
            floor = await self.write(partial(meet, workflow=name, schedule=text, now=now))
            self._floors[name] = text, floor
        return floor

    async def _decide(self, due: _Decided) -> None:
        try:
            if due.due.decision is Decision.SKIP:
                await self._skip(due)
            elif due.trigger.workflow.durable:
                await self._fire_durable(due)
            else:
                await self._fire_inline(due)
        except Problem as error:  # nothing is decided: it is tried again, until it is late
            self._floors[due.workflow] = due.schedule.text, due.before
            self._not_started(due, error.code)
        except Exception as error:
            self._not_started(due, type(error).__name__)

    async def _skip(self, due: _Decided) -> None:
        """No run starts for a time that was missed."""
        if await self.write(partial(claim, wanted=due.claim(MISSED))):
            self.outcomes["missed"] += 1
            log.warning("schedule-missed", **due.fields(), late_seconds=round(self.now() - due.due.at))

    async def _fire_durable(self, due: _Decided) -> None:
        """The key makes sure that all server processes together accept one run."""
        if not await self.write(partial(is_undecided, wanted=due.claim())):
            return  # another server process has it, or another schedule
        run = due.run()
        accepted = await self.start(run, key_of(due.workflow, due.due.at))
        await self.write(partial(claim, wanted=due.claim(run_id=accepted.id)))
        if accepted.id == run.id:
            self._started(due, run)

    async def _fire_inline(self, due: _Decided) -> None:
        run = due.run()
        recorded = None if due.trigger.workflow.stateless else facts(run.record(time.time()))
        wanted = due.claim(run_id=run.id, run=recorded, node=self.node)
        if not await self.write(partial(claim, wanted=wanted)):
            return  # another server process has it
        try:
            await self.start(run, None)
        except Problem as error:
            if has_run(error):
                self._started(due, run)
                return
            stops = error.code == "shutting-down"  # another server process, or the next start, may have the time
            how = {"before": due.before} if stops else {"outcome": error.code}
            self.write_soon(partial(give_back, claimed=wanted, **how))
            self._not_started(due, error.code)
        else:
            self._started(due, run)

    def _started(self, due: _Decided, run: ServerRun) -> None:
        self.outcomes["started"] += 1
        log.info("schedule-started", **due.fields(), run_id=run.id)

    def _not_started(self, due: _Decided, reason: str) -> None:
        """Counted and logged once for each due time."""
        if self._failed.get(due.workflow) != due.due.at:
            self._failed[due.workflow] = due.due.at
            self.outcomes["not-started"] += 1
            log.warning("schedule-not-started", **due.fields(), reason=reason)


def key_of(workflow: str, due: float) -> Key:
    """The idempotency key of a due time. No request has this scope: that of a request begins with the workflow's
    name."""
    scope = sha256(f"schedule\n{workflow}\n{due!r}".encode()).hexdigest()
    return Key(scope, "schedule")


def time_text(at: float) -> str:
    """A due time, as logs and the header of its run have it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
