"""How requests to triggers ended: counted in place, with bounded labels."""

from collections.abc import Callable, Collection, Mapping

from postern.errors import CONSENT_REQUIRED, PROBLEMS
from postern.histogram import SECONDS, Histogram
from postern.journal.run import Run, State

MOST_WORKFLOWS = 1000
"""How many workflows are counted by name. Requests to further ones are counted under no name."""

ENDED: Mapping[str, str] = {
    State.SUCCEEDED.value: "succeeded",
    State.FAILED.value: "failed",
    State.CANCELLED.value: "cancelled",
    State.TIMED_OUT.value: "timed_out",
    State.INTERRUPTED.value: "interrupted",
    CONSENT_REQUIRED: CONSENT_REQUIRED,
}
"""The outcome of a request that started a run, by the value of the run's state, or by its problem: a person who has to
connect something is no failure of the workflow."""

_CONSENT_STATUS = PROBLEMS[CONSENT_REQUIRED].status

OUTCOMES = frozenset({*ENDED.values(), *PROBLEMS, "disconnected"})
OTHER = "other"
MODES = frozenset({"anonymous", "tenant_users", "specific_users"})

TOGETHER = 256
"""Requests that are counted together: many in a row cost a third of counting each one between two others."""

Count = Callable[[str, str, str], None]
"""(workflow, mode, outcome); workflow and mode are "" where no trigger was found."""


class RequestCounts:
    """Requests by workflow, access mode and outcome, and the durations of runs by workflow. `served` returns the names
    in the catalog: only those are counted by name. When there are too many names, those no longer in the catalog are
    dropped. It belongs to one event loop, whose thread alone reads it."""

    def __init__(self, served: Callable[[], Collection[str]], most: int = MOST_WORKFLOWS) -> None:
        self._served = served
        self._most = most
        self._totals: dict[tuple[str, str, str], int] = {}
        self._durations: dict[str, Histogram] = {}
        self._waiting: list[tuple[str, str, str, float]] = []
        self._cells: dict[tuple[str, str, str], tuple[tuple[str, str, str], Histogram]] = {}

    def ran(self, run: Run) -> None:
        """Count a run that has ended, at the latest at the next `settle`. It is called at nearly every request."""
        workflow, waiting = run.workflow, self._waiting
        ended = run.outcome
        outcome = ended.state._value_
        if ended.status == _CONSENT_STATUS and ended.error_type == CONSENT_REQUIRED:
            outcome = CONSENT_REQUIRED
        waiting.append((workflow.name, workflow.access.mode, outcome, run.ended_at - run.started_at))
        if len(waiting) >= TOGETHER:
            self.settle()

    def settle(self) -> None:
        """Count the runs that are waiting to be counted."""
        waiting, self._waiting = self._waiting, []
        for workflow, mode, state, seconds in waiting:
            self._counted(workflow, mode, ENDED.get(state, OTHER)).observe(seconds)

    def count(self, workflow: str, mode: str, outcome: str) -> None:
        """Count a request that started no run."""
        self._counted(workflow, mode, outcome)

    def _counted(self, workflow: str, mode: str, outcome: str) -> Histogram:
        cell = self._cells.get((workflow, mode, outcome))
        if cell is None:
            cell = self._cell(workflow, mode, outcome)
        key, durations = cell
        self._totals[key] += 1
        return durations

    def totals(self) -> dict[tuple[str, str, str], int]:
        """How many requests there were by workflow, mode and outcome."""
        return dict(self._totals)

    def durations(self) -> dict[str, Histogram]:
        """How long runs took, by workflow."""
        return dict(self._durations)

    def label(self, workflow: str) -> str:
        """The name under which a workflow is counted at present; it changes nothing."""
        if workflow in self._durations:
            return workflow
        return workflow if len(self._durations) < self._most and workflow in self._served() else ""

    def _cell(self, workflow: str, mode: str, outcome: str) -> tuple[tuple[str, str, str], Histogram]:
        """Where requests of this kind are counted. Unknown names and outcomes get no label of their own."""
        if len(self._durations) >= self._most:
            self._forget(self._served())
        name = self.label(workflow)
        key = (name, mode if mode in MODES else "", outcome if outcome in OUTCOMES else OTHER)
        durations = self._durations.setdefault(name, Histogram(SECONDS))
        self._totals.setdefault(key, 0)
        if key[1:] == (mode, outcome) and (name or not workflow or workflow in self._served()):
            self._cells[workflow, mode, outcome] = key, durations
        return key, durations

    def _forget(self, served: Collection[str]) -> None:
        gone = {name for name in self._durations if name and name not in served}
        if not gone:
            return
        self._durations = {name: found for name, found in self._durations.items() if name not in gone}
        self._totals = {key: total for key, total in self._totals.items() if key[0] not in gone}
        self._cells.clear()
