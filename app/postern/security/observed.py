"""Which requests were admitted and rejected, for those who watch: the audit log and the findings. A request is only
counted here. A task hands the counts to the listeners, once a second."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from postern.access import Caller
from postern.ids import time_of
from postern.journal.refusal_windows import Window

SECONDS = 1.0

MOST_ADMISSIONS = 2_000
"""Entries between two batches. Requests of further callers are counted by workflow only."""

MOST_REFUSALS = 2_000
"""Entries between two batches: more than there can be windows of refusals. Further ones are dropped."""

TOGETHER = 256
"""Admitted requests that are counted together: many in a row cost less than each one between two others."""

log = structlog.get_logger("postern.security")


@dataclass(slots=True, eq=False)
class Admission:
    """Admitted requests with one token, for one workflow, from one address. Each of them was about to start a run.
    Without a `caller` they are of many callers, beyond the limit, and have no `client_address`."""

    caller: Caller | None
    workflow: str
    client_address: str
    first_request_id: str
    last_request_id: str
    count: int

    @property
    def first_at(self) -> float:
        """When the first of them came, in Unix seconds."""
        return time_of(self.first_request_id)

    @property
    def last_at(self) -> float:
        """When the last of them came, in Unix seconds."""
        return time_of(self.last_request_id)


@dataclass(frozen=True, slots=True)
class Rejection:
    """Rejected requests of one reason, workflow and address: those that were added to a window of refusals. `reason` is
    the name of the failed check, or the code of the problem. `workflow` and `client_address` are "(many)" if they
    differ. `request_ids` are the first ones of the window. `claimed` is the identity in the token of the first of them,
    with `object_id`, `tenant_id`, `client_id`, `name` and `token_id` (each may be None), and `verified`: it counts only
    if that is True."""

    reason: str
    code: str
    status: int
    workflow: str
    client_address: str
    first_at: float
    last_at: float
    count: int
    request_ids: tuple[str, ...]
    claimed: Mapping[str, Any] | None = None

    @property
    def proved(self) -> Mapping[str, Any] | None:
        """The identity in the token, if the token was verified."""
        return self.claimed if self.claimed is not None and self.claimed.get("verified") is True else None


@dataclass(frozen=True, slots=True)
class Seen:
    """What came since the last batch, in the order of the first of each."""

    admitted: Sequence[Admission]
    rejected: Sequence[Rejection]


Listener = Callable[[Seen], None]
"""It takes note of a batch, and waits for nothing."""


@dataclass(slots=True, eq=False)
class Observer:
    """Counts requests, and hands the counts to `listeners`. It belongs to one event loop: `run` is its task, and
    `hand_over` hands over the rest after `run` has ended."""

    listeners: list[Listener] = field(default_factory=list)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    most_admissions: int = MOST_ADMISSIONS
    most_refusals: int = MOST_REFUSALS
    _admitted: dict[tuple[int, str, str], Admission] = field(default_factory=dict, init=False, repr=False)
    _waiting: list[tuple[Caller, str, str, str]] = field(default_factory=list, init=False, repr=False)
    _rejected: list[Rejection] = field(default_factory=list, init=False, repr=False)
    _came: asyncio.Event = field(default_factory=asyncio.Event, init=False, repr=False)

    def admitted(self, caller: Caller, workflow: str, client_address: str, request_id: str) -> None:
        """Count a request that is about to start a run, at the latest when the next batch is handed over. It is called
        at each of them, so it does as little as possible."""
        waiting = self._waiting
        if not waiting:
            self._came.set()
        waiting.append((caller, workflow, client_address, request_id))
        if len(waiting) >= TOGETHER:
            self._count()

    def _count(self) -> None:
        """Count the requests that wait for it. A caller is recognized by its object, which the entry keeps alive, and
        which is one for each token."""
        waiting, self._waiting = self._waiting, []
        for caller, workflow, client_address, request_id in waiting:
            key = (id(caller), workflow, client_address)
            entry = self._admitted.get(key)
            if entry is None:
                self._begin(key, caller, workflow, client_address, request_id)
            else:
                entry.count += 1
                entry.last_request_id = request_id

    def rejected(self, windows: Iterable[tuple[Window, int]]) -> None:
        """Take windows of refusals, and how many refusals were added to each."""
        for window, count in windows:
            if len(self._rejected) < self.most_refusals:
                self._rejected.append(_rejection(window, count))
                self._came.set()

    async def run(self) -> None:
        """Hand over what comes, until cancelled."""
        while True:
            await self._came.wait()
            await self.sleep(SECONDS)
            self.hand_over()

    def hand_over(self) -> None:
        """Hand what came to each listener. The failure of one is logged, and hides nothing from the others."""
        self._came.clear()
        self._count()
        seen = Seen(tuple(self._admitted.values()), tuple(self._rejected))
        self._admitted, self._rejected = {}, []
        if not seen.admitted and not seen.rejected:
            return
        for listener in self.listeners:
            try:
                listener(seen)
            except Exception:
                log.exception("observer-failed")

    def _begin(
        self, key: tuple[int, str, str], caller: Caller, workflow: str, client_address: str, request_id: str
    ) -> None:
        if len(self._admitted) < self.most_admissions:
            self._admitted[key] = Admission(caller, workflow, client_address, request_id, request_id, 1)
            return
        entry = self._admitted.get((0, workflow, ""))
        if entry is None:
            self._admitted[(0, workflow, "")] = Admission(None, workflow, "", request_id, request_id, 1)
        else:
            entry.count += 1
            entry.last_request_id = request_id


def _rejection(window: Window, count: int) -> Rejection:
    return Rejection(
        window.reason,
        window.code,
        window.status,
        window.workflow,
        window.client_address,
        window.since or window.first_at,
        window.last_at,
        count,
        tuple(window.request_ids),
        window.claimed,
    )
