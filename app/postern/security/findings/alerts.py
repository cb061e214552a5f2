"""Alerts: each new finding starts the workflow that `[findings] run` names, on one server process only.

At most BURST alerts start at once, and one more each SECONDS_PER_ALERT: in a flood findings wait, those about callers
first, and those older than AGE start none. What a run of an alert does leads to no other alert.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger

from postern.errors import Problem
from postern.ids import new_id
from postern.journal.consequences import is_consequence
from postern.journal.finding import OF_ADDRESS, Finding
from postern.journal.findings import claim_alert, release_alert, to_alert
from postern.journal.run import Run, State
from postern.journal.server_processes import Transaction

BURST = 20
SECONDS_PER_ALERT = 60.0
RESERVED = 10
"""How many of BURST findings about addresses leave to those about callers. Anyone can cause the former."""
AGE = 3600.0
"""Seconds after its first moment in which a finding may start an alert."""
LOOK_SECONDS = 60.0
MOST_LOOKED_AT = 100

OUTCOMES = ("succeeded", "accepted", "failed", "not-started", "skipped")
"""A durable run is accepted, and ends later."""

log = structlog.get_logger("postern.findings")


@dataclass(slots=True, eq=False)
class Alerts:
    """Starts alerts. `start` runs the workflow with a finding, under the given id, to its end: it raises Problem if no
    run could start. `fault` says why the workflow cannot be started, "" if it can. `own_client` is the client id of
    Postern's own application, "" if it has none. It belongs to one event loop: `run` is its task."""

    workflow: str
    read: Transaction
    write: Transaction
    start: Callable[[Finding, str], Awaitable[Run]]
    fault: Callable[[], str] = str
    own_client: str = ""
    now: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep
    log: FilteringBoundLogger = field(default_factory=lambda: log)
    outcomes: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(OUTCOMES, 0)), init=False)
    _room: float = field(default=float(BURST), init=False)
    _room_at: float = field(default=0.0, init=False)
    _came: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    def wake(self) -> None:
        """There may be a new finding."""
        self._came.set()

    async def run(self) -> None:
        """Start alerts until cancelled."""
        while True:
            try:
                await self.step()
            except Exception as error:  # any fault of the database: the findings still wait
                self.log.warning("alerts-not-looked-at", error=type(error).__name__)
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._came.wait()
            except TimeoutError:
                pass
            self._came.clear()

    async def step(self) -> None:
        """Start the alerts that are due and have room."""
        now = self.now()
        self._room = min(float(BURST), self._room + max(0.0, now - self._room_at) / SECONDS_PER_ALERT)
        self._room_at = now
        waiting = await self.read(partial(to_alert, since=now - AGE, limit=MOST_LOOKED_AT))
        if waiting and (wrong := self.fault()):
            self._report("not-started", waiting[0], reason=wrong)
            return
        for finding in waiting:
            if self._room < 1.0 + (RESERVED if finding.subject.startswith(OF_ADDRESS) else 0):
                return  # those about addresses are the last
            claimed_at = self.now()
            if not await self.write(partial(claim_alert, finding_id=finding.id, now=claimed_at)):
                continue  # another server process has it
            if await self._is_of_alert(finding):
                self._report("skipped", finding, reason="a run of an alert may have led to it")
                continue
            self._room -= 1.0
            task = asyncio.create_task(self._alert(finding, claimed_at), context=copy_context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _is_of_alert(self, finding: Finding) -> bool:
        """Whether a run of an alert led to it. Who called is not known of what was rejected: there, every request of
        Postern's own application counts as one."""
        evidence = finding.evidence
        if evidence.refused and self.own_client and finding.who.client_id == self.own_client:
            return True
        return bool(evidence.runs) and await self.read(partial(is_consequence, run_ids=evidence.runs))

    async def settle(self) -> None:
        """Wait for the runs that have been started."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _alert(self, finding: Finding, claimed_at: float) -> None:
        run_id = new_id()
        try:
            run = await self.start(finding, run_id)
        except Problem as error:
            self._report("not-started", finding, reason=error.code)
            await self._release(finding, claimed_at)
        except Exception as error:
            self._report("failed", finding, run_id=run_id, reason=type(error).__name__)
        else:
            ended = {State.SUCCEEDED: "succeeded", State.WAITING: "accepted"}.get(run.outcome.state, "failed")
            self._report(ended, finding, run_id=run_id, reason=run.outcome.state.value)

    async def _release(self, finding: Finding, claimed_at: float) -> None:
        """It is tried again at the next look."""
        try:
            await self.write(partial(release_alert, finding_id=finding.id, claimed_at=claimed_at))
        except Problem:
            self.log.warning("alert-lost", finding=finding.id)

    def _report(self, outcome: str, finding: Finding, **fields: str) -> None:
        self.outcomes[outcome] += 1
        write = self.log.info if outcome in ("succeeded", "accepted", "skipped") else self.log.error
        write(f"alert-{outcome}", workflow=self.workflow, finding=finding.id, kind=finding.kind, **fields)
