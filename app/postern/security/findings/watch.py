"""Watches what was admitted and rejected: reads what is known, lets the detector look, and writes what it found.

It is a task of its own, which no request waits for. Its memory is bounded, also while the database is unavailable. A
batch that could not be written is sent again as it was, under its number, so that it counts once.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection
from structlog.typing import FilteringBoundLogger

from postern.errors import Problem
from postern.journal.finding import Finding, Sighting
from postern.journal.findings import record
from postern.journal.findings import trim as trim_findings
from postern.journal.known_callers import INSTALLATION, Fact, Uses, facts_of, known_since, note
from postern.journal.known_callers import trim as trim_known
from postern.journal.server_processes import Transaction
from postern.security.findings.detector import Detector, Event, subjects_of, time_of_event
from postern.security.findings.known import DAY, SERVED, Knowledge
from postern.security.findings.limited import Limited
from postern.security.observed import Seen

LAG = 2.0
"""Seconds that a request waits to be looked at: refusals are reported later than admissions, and the order counts."""
TICK = 0.5
MOST_WAITING = 20_000
"""Events that wait to be looked at. If the database is unavailable for long, further ones are dropped and counted."""
MOST_FINDINGS = 2_000
"""Findings that wait to be written."""
KNOWN_SECONDS = 60.0
"""Seconds between two writes of what is known of callers."""
UPDATE_SECONDS = 15.0
"""Seconds between two writes of one finding, after the first."""
TRIM_SECONDS = 3600.0
CLOSE_SECONDS = 5.0
SLICE = 20
"""Events that are looked at in one turn of the event loop."""
MOST_SENT = 200
"""Findings that are written in one operation."""

log = structlog.get_logger("postern.findings")

T = TypeVar("T")
Look = tuple[dict[Fact, Uses], float | None]


def look(connection: Connection, subjects: Sequence[str]) -> Look:
    """What is known of these subjects, and since when."""
    return facts_of(connection, subjects), known_since(connection)


def _nothing(_: Sequence[Finding]) -> None:
    """Take note of no finding."""


@dataclass(slots=True, eq=False)
class Watch:
    """Finds what is odd. `read` and `write` are the journal's, `node` its name for this server process. `served`
    returns the names of the workflows, and `found` takes each new finding. It belongs to one event loop: `run` is its
    task, and `aclose` writes the rest after `run` has ended."""

    read: Transaction
    write: Transaction
    node: str
    served: Callable[[], Iterable[str]]
    found: Callable[[Sequence[Finding]], None] = _nothing
    now: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep
    log: FilteringBoundLogger = field(default_factory=lambda: log)
    knowledge: Knowledge = field(default_factory=Knowledge)
    detector: Detector = field(init=False)
    lost: int = field(default=0, init=False)
    _waiting: list[Event] = field(default_factory=list, init=False)
    _unwritten: dict[tuple[str, str, str], Sighting] = field(default_factory=dict, init=False)
    _written: Limited[tuple[str, str, str], float] = field(default_factory=lambda: Limited(MOST_FINDINGS), init=False)
    _came: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _sending: list[Sighting] = field(default_factory=list, init=False)
    _findings_sent: int = field(default=1, init=False)
    _known_sent: int = field(default=1, init=False)
    _known_at: float = field(default=0.0, init=False)
    _trimmed_at: float = field(default=0.0, init=False)
    _failing: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        """Make the detector."""
        self.detector = Detector(self.knowledge)

    def listen(self, seen: Seen) -> None:
        """Take a batch of the observer. It waits for nothing."""
        events: list[Event] = [*seen.admitted, *seen.rejected]
        for event in events:
            if len(self._waiting) < MOST_WAITING:
                self._waiting.append(event)
            else:
                self.lost += 1
        self._came.set()

    async def run(self) -> None:
        """Look at what comes, until cancelled."""
        while True:
            if not self._waiting and not self._unwritten and not self._sending:
                try:
                    async with asyncio.timeout(KNOWN_SECONDS):
                        await self._came.wait()
                except TimeoutError:
                    pass
            self._came.clear()
            await self.sleep(TICK)
            await self.step()

    async def step(self, *, closing: bool = False) -> None:
        """Look at the requests that are old enough, and write; all of them if it is `closing`. What fails is tried
        again at the next step."""
        try:
            await self._look(0.0 if closing else LAG)
            await self._write_findings(every=0.0 if closing else UPDATE_SECONDS)
            if self.now() - self._known_at >= (0.0 if closing else KNOWN_SECONDS):
                await self._write_known()
            if self.now() - self._trimmed_at >= TRIM_SECONDS:
                await self._trim()
        except Exception as error:  # any fault of the database
            if not self._failing:
                self.log.warning("findings-not-written", error=type(error).__name__, waiting=len(self._waiting))
            self._failing = True
        else:
            self._failing = False
            self._report_lost()

    async def aclose(self) -> None:
        """Look at the rest and write it, for at most CLOSE_SECONDS."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.step(closing=True)
                while (self._waiting or self._unwritten or self._sending) and not self._failing:
                    await self.step(closing=True)
        except TimeoutError:
            pass
        if self._waiting or self._unwritten or self._sending:
            self.log.warning(
                "findings-lost",
                events=len(self._waiting) + self.lost,
                findings=len(self._unwritten) + len(self._sending),
            )

    async def _look(self, lag: float) -> None:
        now = self.now()
        ready = [event for event in self._waiting if not lag or time_of_event(event) <= now - lag]
        if not ready:
            return
        subjects = sorted(subjects_of(ready, self.knowledge, now))
        if subjects:
            facts, since = await self.read(partial(look, subjects=subjects))
            self.knowledge.load(subjects, facts, now)
            self.knowledge.since = since
        looked_at = set(map(id, ready))
        self._waiting = [event for event in self._waiting if id(event) not in looked_at]
        ready.sort(key=time_of_event)
        for start in range(0, len(ready), SLICE):
            for sighting in self.detector.see(ready[start : start + SLICE]):
                self._take(sighting)
            await self.sleep(0)  # requests take their turns

    def _take(self, sighting: Sighting) -> None:
        earlier = self._unwritten.get(sighting.key)
        if earlier is not None:
            self._unwritten[sighting.key] = earlier.joined(sighting)
        elif len(self._unwritten) < MOST_FINDINGS:
            self._unwritten[sighting.key] = sighting
        else:
            self.lost += 1

    async def _write_findings(self, every: float) -> None:
        now = self.now()
        if not self._sending:
            due = [key for key in self._unwritten if (at := self._written.get(key)) is None or now - at >= every]
            self._sending = [self._unwritten.pop(key) for key in due[:MOST_SENT]]
        if not self._sending:
            return
        seen = self._sending
        new = await self._write(
            partial(record, writer=f"{self.node}/findings", number=self._findings_sent, now=now, seen=seen), len(seen)
        )
        self._sending, self._findings_sent = [], self._findings_sent + 1
        if new is None:
            return
        for sighting in seen:
            self._written.put(sighting.key, now)
        if new:
            self.found(new)

    async def _write_known(self) -> None:
        now = self.now()
        self._note_served(now)
        if self.knowledge.pending or self._known_sent == 1:
            facts = self.knowledge.take()
            await self._write(
                partial(note, writer=f"{self.node}/known", number=self._known_sent, now=now, facts=facts), len(facts)
            )
            self.knowledge.written()
            self._known_sent += 1
        self._known_at = now

    async def _write(self, operation: Callable[[Connection], T], size: int) -> T | None:
        """The result of an operation. Raises Problem if the database is unavailable. What it refuses is dropped, so
        that it does not stay in the way."""
        try:
            return await self.write(operation)
        except Problem:
            raise
        except Exception as error:
            self.log.error("findings-refused", error=type(error).__name__, rows=size)  # noqa: TRY400 - it may hold values
            return None

    def _note_served(self, now: float) -> None:
        """Note which workflows are served: each when it comes, and once a day."""
        known = self.knowledge.of(INSTALLATION)
        for name in self.served():
            uses = known.facts.get((SERVED, name))
            if uses is None or uses.last_at <= now - DAY:
                self.knowledge.note(INSTALLATION, SERVED, name, Uses(now, now, 1))

    async def _trim(self) -> None:
        for trim in (trim_known, trim_findings):
            while await self.write(partial(trim, now=self.now())):
                pass
        self._trimmed_at = self.now()

    def _report_lost(self) -> None:
        lost, self.lost, self.knowledge.lost = self.lost + self.knowledge.lost, 0, 0
        if lost:
            self.log.warning("findings-lost", events=lost, findings=0)
