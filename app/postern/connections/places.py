"""Which requests may be sent at a time, so that none waits for a connection of one that waits for it.

A run that calls a workflow holds a connection until the run there has ended, and that run may need connections too. So
a request has a level: the depth of its call in a chain, and above those the requests that wait for no run. Each level
may use more connections than the level before. Of all requests that hold a connection, those of the highest level then
wait for nothing here: they end, and their connections are free. Requests of a high level get theirs first.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

import structlog

from postern.call_chain import MOST_DEPTH

TOO_DEEP = MOST_DEPTH + 1
"""The level of a call that is too deep to start a run. Those of other calls are their depths, from 1."""
CONNECTION = MOST_DEPTH + 2
"""The level of a request through `ctx.connection`."""
TOKEN = MOST_DEPTH + 3
"""The level of a token request. A request through a connection may wait for one while it holds its place."""

MOST = 500
"""Connections of all entries together."""
PARTS = 50
"""Each level may use one part of them more than the level before."""
MOST_OF_ENTRY = 100
"""Connections of one entry. A slow server can then not use up those that other entries need."""
STEP_OF_ENTRY = 4
"""How many more of them the calls at each further depth may use."""
MOST_WAITING = 500
"""Runs whose calls of one entry wait at one depth."""
DESCRIPTORS = 4
"""How many of the files that this process may open are there for each connection. A call of this server's own workflow
takes two, and the callers' connections, the database and the rest need some too."""
OF_CALLER = 3
"""How many connections of an entry the runs of a caller may hold for each one that is free: three quarters."""
QUIET = 60.0
"""Seconds between two warnings about one entry."""


class TooManyCalls(Exception):
    """A call gets no place, because too many runs wait for one already."""


@dataclass(slots=True)
class _Queue:
    """Who waits for a place of one entry, at one level: by caller, who have turns. Calls have one queue."""

    turns: dict[str, deque[asyncio.Future[None]]] = field(default_factory=dict)
    runs: Counter[str] = field(default_factory=Counter)


class Places:
    """The connections in use, at most `most`. `caller_of` returns whose run has this id. It belongs to one event
    loop."""

    caller_of: Callable[[str], str] = staticmethod(lambda run_id: run_id)

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._used = 0
        self._used_by: Counter[str] = Counter()
        self._held: Counter[tuple[str, str]] = Counter()
        self._waiting: dict[tuple[int, str], _Queue] = {}
        self._warned: dict[str, float] = {}

    async def take(self, entry: str, level: int, run_id: str = "") -> str:
        """Wait for a place of this entry. Returns who holds it. Raises TooManyCalls for a call."""
        who = self.caller_of(run_id) if run_id and level == CONNECTION else ""
        if self._is_free(entry, level, who):
            self._count(entry, who)
            return who
        queue = self._waiting.setdefault((level, entry), _Queue())
        if level <= TOO_DEEP and len(queue.runs) >= MOST_WAITING and run_id not in queue.runs:
            self._warn(entry, len(queue.runs))
            raise TooManyCalls
        turn = asyncio.get_running_loop().create_future()
        queue.turns.setdefault(who, deque()).append(turn)
        queue.runs[run_id] += 1
        try:
            await turn
        except BaseException:
            if not turn.cancelled():  # it was cancelled just when its turn came
                self.give_back(entry, who)
            raise
        finally:
            queue.runs[run_id] -= 1
            if not queue.runs[run_id]:
                del queue.runs[run_id]
        return who

    def give_back(self, entry: str, who: str = "") -> None:
        """A place of this entry is free, which `who` held. Those that wait get it: the deepest first, and entries in
        turn."""
        self._used -= 1
        self._used_by[entry] -= 1
        if not self._used_by[entry]:
            del self._used_by[entry]
        if who:
            self._held[entry, who] -= 1
            if not self._held[entry, who]:
                del self._held[entry, who]
        while self._waiting and self._serve_one():
            pass

    def _serve_one(self) -> bool:
        for level, entry in sorted(self._waiting, key=_deepest_first):
            queue = self._waiting[level, entry]
            who = self._next(queue, entry, level)
            if not queue.turns:
                del self._waiting[level, entry]
            elif who is not None:
                self._count(entry, who)
                turns = queue.turns.pop(who)
                turns.popleft().set_result(None)
                if turns:
                    queue.turns[who] = turns  # behind the others
                self._waiting[level, entry] = self._waiting.pop((level, entry))  # the last of its level from now on
                return True
        return False

    def _next(self, queue: _Queue, entry: str, level: int) -> str | None:
        """Whose turn it is of those that wait and may have a place."""
        for who, turns in list(queue.turns.items()):
            while turns and turns[0].done():
                turns.popleft()
            if not turns:
                del queue.turns[who]
            elif self._is_free(entry, level, who):
                return who
        return None

    def _is_free(self, entry: str, level: int, who: str) -> bool:
        """Whether `who` may have a place. A caller may hold OF_CALLER connections for each one that is free: those
        wait for no run, so this holds up no chain."""
        free = min(most_of_all(self.most, level) - self._used, most_of_entry(level) - self._used_by[entry])
        return free > 0 and (not who or self._held[entry, who] < OF_CALLER * free)

    def _count(self, entry: str, who: str) -> None:
        self._used += 1
        self._used_by[entry] += 1
        if who:
            self._held[entry, who] += 1

    def _warn(self, entry: str, waiting: int) -> None:
        now = monotonic()
        if now - self._warned.get(entry, -QUIET) < QUIET:
            return
        self._warned[entry] = now
        structlog.get_logger("postern.calls").warning(
            "calls-exhausted",
            entry=entry,
            in_use=self._used_by[entry],
            in_use_of_all=self._used,
            runs_waiting=waiting,
            fix="limit the workflow that makes these calls with max_concurrency=, or make fewer or shorter calls",
        )


def most_of_all(most: int, level: int) -> int:
    """How many of all places a request of this level may use."""
    return most - most // PARTS * (TOKEN - level)


def most_of_entry(level: int) -> int:
    """How many places of its entry a request of this level may use."""
    return MOST_OF_ENTRY + STEP_OF_ENTRY * (level - 1) if level <= TOO_DEEP else MOST_OF_ENTRY


def level_of(depth: int) -> int:
    """The level of a call that starts a run at this depth of its chain."""
    return min(depth, TOO_DEEP)


def most_for(descriptors: int) -> int:
    """How many connections a process may use that may open so many files."""
    return max(PARTS, min(MOST, descriptors // DESCRIPTORS))


def most_here() -> int:
    """The same for this process."""
    try:
        import resource
    except ImportError:  # not on Windows, which has no such limit
        return MOST
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else most_for(soft)


def _deepest_first(key: tuple[int, str]) -> int:
    return -key[0]
