"""Metrics of runs that the server starts itself."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from postern.api.metrics import Collect

if TYPE_CHECKING:
    from prometheus_client import Metric

    from postern.api.metric_families import Families


def schedule_metrics(outcomes: Callable[[], Mapping[str, int]]) -> Collect:
    """What became of due times, decided by this server process."""

    def collect(families: "Families") -> Iterable["Metric"]:
        found = {(outcome,): count for outcome, count in outcomes().items()}
        yield families.counters("postern_schedules", "Due times of schedules by outcome.", ("outcome",), found)

    return collect


def failure_metrics(outcomes: Callable[[], Mapping[str, int]]) -> Collect:
    """What became of failures of workflows with on_failure, on this server process."""

    def collect(families: "Families") -> Iterable["Metric"]:
        found = {(outcome,): count for outcome, count in outcomes().items()}
        yield families.counters("postern_failure_notices", "Failed runs by what became of them.", ("outcome",), found)

    return collect
