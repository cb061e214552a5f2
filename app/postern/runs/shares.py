"""Who may take the next thread: a share for each workflow and for each caller, so that none of them takes all. Pure."""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

OF_CALLER = 3
"""How many threads a caller may hold for each one that is free: three quarters of all that nobody else uses. There is
always one left for a caller who comes later."""


class Shares:
    """Threads that are held, by workflow and by caller. A workflow takes at most `share` of the `most` threads, and no
    more than are left to all the others, nor than `at_once` says. A caller takes at most three quarters of what the
    others leave."""

    def __init__(self, share: int, most: int, at_once: Callable[[str], int] | None = None) -> None:
        self._share = share
        self._most = most
        self._at_once = at_once or (lambda _: share)
        self.of_all = 0
        self.of_workflow: Counter[str] = Counter()
        self._of_caller: Counter[str] = Counter()
        self._of_both: Counter[tuple[str, str]] = Counter()

    def left(self, workflow: str) -> int:
        """How many threads are left for the workflow."""
        held, free = self.of_workflow[workflow], self._most - self.of_all
        share = min(self._share, self._at_once(workflow))
        return min(share - held, free) if held < free else 0

    def fits(self, workflow: str, caller: str) -> bool:
        """Whether the caller may have another thread for the workflow."""
        if self._of_both[workflow, caller] >= OF_CALLER * self.left(workflow):  # also if nothing is left
            return False
        return self._of_caller[caller] < OF_CALLER * (self._most - self.of_all)

    def take(self, workflow: str, caller: str) -> None:
        """The caller holds one more thread."""
        self.of_all += 1
        self.of_workflow[workflow] += 1
        self._of_caller[caller] += 1
        self._of_both[workflow, caller] += 1

    def give_back(self, workflow: str, caller: str) -> None:
        """The caller holds one thread less. Names that hold none are forgotten: they come and go."""
        self.of_all -= 1
        _less(self.of_workflow, workflow)
        _less(self._of_caller, caller)
        _less(self._of_both, (workflow, caller))

    def holder(self) -> tuple[str, str, int]:
        """The workflow and the caller that hold the most threads together, and how many. Empty if none is held."""
        if not self._of_both:
            return "", "", 0
        [((workflow, caller), threads)] = self._of_both.most_common(1)
        return workflow, caller, threads


class Turns:
    """Who waits for a thread. The workflows have turns, and within a workflow its callers: a long queue of one delays
    no other. Each waiting call has a number."""

    def __init__(self) -> None:
        self.of_workflow: Counter[str] = Counter()
        self._waiting: dict[str, dict[str, dict[int, None]]] = {}
        self._numbers = count()

    def add(self, workflow: str, caller: str) -> int:
        """Wait. Returns the number of the call."""
        number = next(self._numbers)
        self.of_workflow[workflow] += 1
        self._waiting.setdefault(workflow, {}).setdefault(caller, {})[number] = None
        return number

    def remove(self, workflow: str, caller: str, number: int) -> None:
        """Wait no longer."""
        _less(self.of_workflow, workflow)
        callers = self._waiting[workflow]
        del callers[caller][number]
        if not callers[caller]:
            del callers[caller]
        if not callers:
            del self._waiting[workflow]

    def next(self, shares: Shares) -> tuple[str, str, int] | None:
        """The call whose turn it is among those that may have a thread; it waits no longer. None if there is none."""
        found = next(self._in_turn(shares), None)
        if found is None:
            return None
        workflow, caller = found
        callers = self._waiting.pop(workflow)
        numbers = callers.pop(caller)
        number = next(iter(numbers))
        del numbers[number]
        if numbers:
            callers[caller] = numbers  # behind the others
        if callers:
            self._waiting[workflow] = callers
        _less(self.of_workflow, workflow)
        return workflow, caller, number

    def _in_turn(self, shares: Shares) -> Iterator[tuple[str, str]]:
        for workflow, callers in self._waiting.items():
            if shares.left(workflow):
                yield from ((workflow, caller) for caller in callers if shares.fits(workflow, caller))


def _less(counts: "Counter[Any]", name: object) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
