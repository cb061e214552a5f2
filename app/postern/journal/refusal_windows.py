"""Requests turned away that belong together: one row for those of one reason, address and workflow within a window of
time. Which row each of them counts in is decided here; all of it is pure.

Whoever knocks from many addresses gets fewer rows and not more: with too many of them at a time, those of one reason
and workflow share a row, and with still more all of one reason do. No count is lost thereby.
"""

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from postern.access import Check
from postern.journal.refusal import Refusal

WINDOW_SECONDS = 10.0

MOST_HELD = 1_000
"""Windows in memory, those that wait to be written included. To this comes one for each reason."""

MOST_NEW = 100
"""Windows that begin within WINDOW_SECONDS. To this comes one for each reason."""

SHARED = 20
"""How many of both are kept back for windows that requests from many addresses share."""

MOST_IDS = 50

MANY = "(many)"
"""Stands where the address, or the address and the workflow, are not the same for all requests of a row."""

OTHER = "(other)"

_ADDRESS = re.compile(r"[0-9A-Fa-f:.]{0,45}(?:%[0-9A-Za-z_.-]{1,16})?")

Key = tuple[str, str, str]


@dataclass(slots=True, eq=False)
class Window:
    """Refusals that share a row: `id` is the request id of the first. `first_at` and `last_at` are Unix seconds,
    `until` and `tell_at` seconds of the monotonic clock. `told` of the `count` are in the log already. `changed` says
    that the row on disk is behind, `examined` that no further checks are awaited."""

    id: str
    reason: str
    client_address: str
    workflow: str
    code: str
    status: int
    first_at: float
    last_at: float
    until: float
    tell_at: float
    request_ids: list[str]
    checks: Sequence[Check]
    claimed: Mapping[str, Any] | None = None
    count: int = 1
    told: int = 1
    changed: bool = True
    examined: bool = True
    texts: tuple[str | None, str] | None = field(default=None, repr=False)

    def found(self, checks: Sequence[Check], claimed: Mapping[str, Any] | None) -> None:
        """Take what a look at the token found."""
        self.checks, self.claimed, self.texts = checks, claimed, None
        self.changed = True

    def add(self, request_id: str, at: float) -> None:
        """Count one more."""
        self.count += 1
        self.last_at = at
        self.changed = True
        if len(self.request_ids) < MOST_IDS:
            self.request_ids.append(request_id)


class Windows:
    """The windows in memory. `now` is always a time of the monotonic clock."""

    def __init__(self) -> None:
        self._open: dict[Key, Window] = {}
        self._over: list[Window] = []
        self._begun: deque[float] = deque()

    def __len__(self) -> int:
        return len(self._open) + len(self._over)

    def __iter__(self) -> Iterator[Window]:
        yield from self._over
        yield from self._open.values()

    def take(self, refusal: Refusal, now: float, at: float) -> Window | None:
        """Count a refusal that came at `at` (Unix seconds). The window, where it is the first one of it."""
        address = refusal.client_address
        if not _ADDRESS.fullmatch(address):
            address = OTHER  # a proxy that is trusted passes on what it was told, which may be anything
        own = (refusal.reason, address, refusal.workflow)
        window = self._open.get(own)
        if window is not None and now < window.until:
            window.add(refusal.request_id, at)
            return None
        for key, spare in ((own, SHARED), ((refusal.reason, MANY, refusal.workflow), 0)):
            window, room = self._open.get(key), self._has_room(now, spare)
            if window is not None and (now < window.until or not room):
                window.add(refusal.request_id, at)
                return None
            if room:
                return self._begin(key, refusal, now, at)
        last = (refusal.reason, MANY, MANY)
        window = self._open.get(last)
        if window is None:
            return self._begin(last, refusal, now, at)
        window.add(refusal.request_id, at)  # also when its time is over: there is no room for another
        return None

    def untold(self, now: float | None = None) -> list[tuple[Window, int]]:
        """Windows with refusals that the log does not have yet, and how many, where it is time to tell; without `now`
        it is time for all. They count as told."""
        found = []
        for window in self:
            if window.count > window.told and (now is None or now >= window.tell_at):
                found.append((window, window.count - window.told))
                window.told = window.count
                window.tell_at = (now or window.tell_at) + WINDOW_SECONDS
        return found

    def changed(self) -> list[Window]:
        """Windows whose rows on disk are behind."""
        return [window for window in self if window.changed]

    def forget(self, now: float) -> None:
        """Let go of the windows that are over and have been examined, told and written."""
        self._over = [window for window in self._over if not _is_done(window)]
        done = [key for key, window in self._open.items() if now >= window.until and _is_done(window)]
        for key in done:
            del self._open[key]

    def _has_room(self, now: float, spare: int) -> bool:
        while self._begun and self._begun[0] <= now - WINDOW_SECONDS:
            self._begun.popleft()
        return len(self) < MOST_HELD - spare and len(self._begun) < MOST_NEW - spare

    def _begin(self, key: Key, refusal: Refusal, now: float, at: float) -> Window:
        before = self._open.get(key)
        if before is not None:
            before.tell_at = now
            self._over.append(before)
        reason, address, workflow = key
        window = self._open[key] = Window(
            refusal.request_id,
            reason,
            address,
            workflow,
            refusal.code,
            refusal.status,
            first_at=at,
            last_at=at,
            until=now + WINDOW_SECONDS,
            tell_at=now + WINDOW_SECONDS,
            request_ids=[refusal.request_id],
            checks=refusal.checks,
        )
        self._begun.append(now)
        return window


def _is_done(window: Window) -> bool:
    return window.examined and not window.changed and window.told == window.count
