"""Which step the server process ends after, and which steps were done before."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from postern.testing.failing import KitFailure

ENDING = 10.0
"""Real seconds that the step has at the end of a test, while a run is on its way to it."""
LOOK = 0.02
"""Real seconds between two looks whether one is."""


@dataclass(slots=True)
class CrashPlan:
    """`step` is the one to end after. `done` are the labels of the steps with a checkpoint, by run and number in it.
    `fail` is told what must not be."""

    fail: Callable[[KitFailure], object]
    step: str | None = None
    happened: threading.Event = field(default_factory=threading.Event)
    done: dict[tuple[str, int], str] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)

    def plan(self, step: str) -> None:
        """End after this step."""
        self.step = step
        self.happened.clear()

    def missing(self, on_its_way: Callable[[], bool]) -> KitFailure | None:
        """What is wrong at the end of a test in which the crash did not happen. While a run is `on_its_way`, the step
        may still come: a busy machine begins it late."""
        until = time.perf_counter() + ENDING
        while self.step is not None and not self.happened.wait(LOOK):
            if time.perf_counter() > until or not on_its_way():
                break
        if self.step is None or self.happened.is_set():
            return None
        done = ", ".join(dict.fromkeys(self.done.values())) or "none"
        return KitFailure(
            f'crash_after("{self.step}"): no step of this name was done, so nothing crashed. Done: {done}.'
        )

    def begin_again(self) -> None:
        """Another server process goes on: each run counts its steps from the first one."""
        self.step = None
        self.happened.clear()
        self._counts.clear()

    def kept(self, run_id: str, label: str, ran: bool) -> bool:
        """A step has its checkpoint, and its body `ran` now. Returns whether the server process lives on. Nothing goes
        on after the crash."""
        self._counts[run_id] += 1
        place = run_id, self._counts[run_id]
        if ran and place in self.done:
            self.fail(KitFailure(f"The step {label} was done before the crash, and ran again after it."))
        self.done[place] = label
        if label == self.step:
            self.happened.set()
        return not self.happened.is_set()
