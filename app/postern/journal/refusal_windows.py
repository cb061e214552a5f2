"""Groups refusals (rejected requests): those of one reason, address and workflow within a window of time share a row.
Those that came by `/mcp` have rows of their own. This module decides in which row each one counts. Pure.

A client with many addresses does not get more rows. With too many at a time, all refusals of one reason and workflow
share a row; with still more, all of one reason do. No count is lost.
"""

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from postern.access import Check, Via
from postern.journal.refusal import Refusal

WINDOW_SECONDS = 10.0

MOST_HELD = 1_000
"""Windows in memory, including those that wait to be written. One more is allowed for each reason."""

MOST_NEW = 100
"""Windows that begin within WINDOW_SECONDS. One more is allowed for each reason."""

SHARED = 20
"""How many of both are reserved for windows that many addresses share."""

PROVED = 20
"""Further ones of both for requests with a verified token, so that a flood without one does not hide who sent them."""

MOST_IDS = 50

MANY = "(many)"
"""Used if the address, or the address and the workflow, differ among the requests of a row."""

OTHER = "(other)"

_ADDRESS = re.compile(r"[0-9A-Fa-f:.]{0,45}(?:%[0-9A-Za-z_.-]{1,16})?")

Key = tuple[str, str, str, str]


@dataclass(slots=True, eq=False)
class Window:
    """Refusals that share a row: `id` is the request id of the first. `first_at` and `last_at` are Unix seconds,
    `until` and `log_at` seconds of the monotonic clock. `logged` of the `count` are in the log already, and `reported`
    of them have been reported, up to the one at `reported_at`; those reported last came since `since`. `changed` means
    that the row on disk is out of date, `examined` that no further checks are awaited. `via` is that of the first."""

    id: str
    reason: str
    client_address: str
    workflow: str
    code: str
    status: int
    first_at: float
    last_at: float
    until: float
    log_at: float
    request_ids: list[str]
    checks: Sequence[Check]
    claimed: Mapping[str, Any] | None = None
    count: int = 1
    logged: int = 1
    reported: int = 0
    reported_at: float = 0.0
    since: float = 0.0
    changed: bool = True
    examined: bool = True
    via: Via | None = None
    texts: tuple[str | None, str] | None = field(default=None, repr=False)

    def found(self, checks: Sequence[Check], claimed: Mapping[str, Any] | None) -> None:
        """Take the result of examining the token."""
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
        """Count a refusal that came at `at` (Unix seconds). Returns the window if the refusal is its first."""
        address = refusal.client_address
        if not _ADDRESS.fullmatch(address):
            address = OTHER  # a trusted proxy forwards what it received, which may be any text
        via = refusal.via.kind if refusal.via is not None else ""
        own = (refusal.reason, address, refusal.workflow, via)
        window = self._open.get(own)
        if window is not None and now < window.until:
            window.add(refusal.request_id, at)
            return None
        for key, spare in (
            (own, -PROVED if refusal.proved else SHARED),
            ((refusal.reason, MANY, refusal.workflow, via), 0),
        ):
            window, room = self._open.get(key), self._has_room(now, spare)
            if window is not None and (now < window.until or not room):
                window.add(refusal.request_id, at)
                return None
            if room:
                return self._begin(key, refusal, now, at)
        last = (refusal.reason, MANY, MANY, via)
        window = self._open.get(last)
        if window is None:
            return self._begin(last, refusal, now, at)
        window.add(refusal.request_id, at)  # also after its time: there is no room for another window
        return None

    def take_unlogged(self, now: float | None = None) -> list[tuple[Window, int]]:
        """Windows with refusals that are due to be logged, and how many; without `now` all are due. They count as
        logged from then on."""
        found = []
        for window in self:
            if window.count > window.logged and (now is None or now >= window.log_at):
                found.append((window, window.count - window.logged))
                window.logged = window.count
                window.log_at = (now or window.log_at) + WINDOW_SECONDS
        return found

    def take_unreported(self, *, all_of_them: bool = False) -> list[tuple[Window, int]]:
        """Examined windows with refusals that are not reported, and how many; with `all_of_them` those that wait to be
        examined too. They count as reported from then on."""
        found = []
        for window in self:
            if window.count > window.reported and (window.examined or all_of_them):
                found.append((window, window.count - window.reported))
                window.reported = window.count
                window.since, window.reported_at = window.reported_at or window.first_at, window.last_at
        return found

    def changed(self) -> list[Window]:
        """Windows whose rows on disk are out of date."""
        return [window for window in self if window.changed]

    def forget(self, now: float) -> None:
        """Drop the windows that are over and have been examined, logged, reported and written."""
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
            before.log_at = now
            self._over.append(before)
        reason, address, workflow, _ = key
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
            log_at=now + WINDOW_SECONDS,
            request_ids=[refusal.request_id],
            checks=refusal.checks,
            via=refusal.via,
        )
        self._begun.append(now)
        return window


def _is_done(window: Window) -> bool:
    return window.examined and not window.changed and window.logged == window.reported == window.count
