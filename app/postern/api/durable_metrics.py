"""Metrics of durable runs."""

from collections.abc import Callable, Iterable, Mapping

from postern.api.figures import Collect, Figure, counters, gauges

PHASES = ("ready", "running", "waiting", "parked")


def durable_metrics(
    phases: Callable[[], Mapping[str, int]],
    takeovers: Callable[[], int],
    waiting_for_key: Callable[[], Mapping[str, int]],
) -> Collect:
    """How many durable runs that have not ended are in each phase, in all server processes, how many of each workflow
    wait for a run with the same concurrency key, and how many were taken over from a dead process by this one."""

    def collect() -> Iterable[Figure]:
        found = phases()
        yield gauges(
            "postern_durable_runs",
            "Durable runs that have not ended, of all server processes, by phase.",
            {phase: found.get(phase, 0) for phase in PHASES},
            "phase",
        )
        yield gauges(
            "postern_durable_runs_waiting_for_key",
            "Durable runs that are ready, and wait until a run with the same concurrency key has ended.",
            waiting_for_key(),
            "workflow",
        )
        yield counters(
            "postern_durable_takeovers",
            "Durable runs that this server process took over from one that had died or did not beat.",
            (),
            {(): takeovers()},
        )

    return collect
