"""Metrics of runs that the server starts itself."""

from collections.abc import Callable, Iterable, Mapping

from postern.api.figures import Collect, Figure, counters


def schedule_metrics(outcomes: Callable[[], Mapping[str, int]]) -> Collect:
    """What became of due times, decided by this server process."""

    def collect() -> Iterable[Figure]:
        found = {(outcome,): count for outcome, count in outcomes().items()}
        yield counters("postern_schedules", "Due times of schedules by outcome.", ("outcome",), found)

    return collect


def failure_metrics(outcomes: Callable[[], Mapping[str, int]]) -> Collect:
    """What became of failures of workflows with on_failure, on this server process."""

    def collect() -> Iterable[Figure]:
        found = {(outcome,): count for outcome, count in outcomes().items()}
        yield counters("postern_failure_notices", "Failed runs by what became of them.", ("outcome",), found)

    return collect
