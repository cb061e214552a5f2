"""`/metrics` for Prometheus. Nothing of its library is on the path of a request: the parts count in plain numbers, and
a scrape reads them.

With several worker processes each scrape meets one of them. Every sample therefore has the label `process`, so that
numbers of different processes are never taken for one series: sum over it (`sum without (process) (rate(...))`), or run
one worker per container, where each scrape meets the same process.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import anyio.to_thread
from anyio import CapacityLimiter
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.api.health import NO_STORE
from app.runs.histogram import Batches, Histogram
from app.triggers.counts import RequestCounts
from app.triggers.transport import passed_on


class JournalCounts(Protocol):
    """What the journal counts."""

    @property
    def queued(self) -> int:
        """Writes that wait for their commit."""

    @property
    def batches(self) -> Batches:
        """Sizes and durations of commits."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a scrape reads. All of it is read in another thread than the event loop's, and must not wait.

    `process` names this process. `running` gives runs that have not ended by workflow, `key_ages` seconds by tenant
    (None where keys never came), `nodes` how many processes live, `faults` how many files of the catalog are faulty,
    `secret_ends` when secrets of the settings end, in Unix seconds.
    """

    process: str
    version: str
    requests: RequestCounts
    running: Callable[[], Mapping[str, int]]
    key_ages: Callable[[], Mapping[str, float | None]]
    nodes: Callable[[], int]
    faults: Callable[[], int]
    journal: JournalCounts | None = None
    secret_ends: Callable[[], Mapping[str, float]] = dict


class Metrics(Collector):
    """Renders what the sources have counted. Scrapes are made one at a time, in a thread."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self._limiter = CapacityLimiter(1)

    async def answer(self, request: Request) -> Response:
        """Answer `/metrics`. It is for inside: what a proxy passed on finds nothing here."""
        if passed_on(request.scope):
            raise HTTPException(404)
        self._sources.requests.settle()
        text = await anyio.to_thread.run_sync(generate_latest, self._registry, limiter=self._limiter)
        return Response(text, headers={**NO_STORE, "Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    def describe(self) -> Iterable[Metric]:
        """Nothing: names are not checked against those of other collectors, as there are none."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Every metric, as it stands at this moment."""
        sources = self._sources
        yield self._counters(sources.requests)
        durations = sources.requests.durations()
        yield self._histograms(
            "postern_run_duration_seconds",
            "How long runs took, by workflow.",
            [("workflow", name, histogram) for name, histogram in durations.items()],
        )
        yield self._gauges("postern_runs_running", "Runs that have not ended.", self._running(), "workflow")
        yield self._gauges(
            "postern_signing_keys_age_seconds",
            "Time since the signing keys were fetched; +Inf where they never were.",
            {tenant: float("inf") if age is None else age for tenant, age in sources.key_ages().items()},
            "tenant",
        )
        yield self._gauges("postern_nodes", "Server processes that share the journal.", {"": sources.nodes()})
        yield self._gauges("postern_catalog_faults", "Files that cannot be served as written.", {"": sources.faults()})
        yield self._gauges(
            "postern_secret_expires_timestamp_seconds",
            "When secrets and certificates that the settings name end; those without a date are left out.",
            sources.secret_ends(),
            "secret",
        )
        info = InfoMetricFamily("postern_build", "What is running.", labels=["process"])
        info.add_metric([sources.process], {"version": sources.version})
        yield info
        if sources.journal is not None:
            yield from self._journal(sources.journal)

    def _journal(self, journal: JournalCounts) -> Iterable[Metric]:
        yield self._gauges("postern_journal_queue_length", "Writes that wait for a commit.", {"": journal.queued})
        sizes, seconds = journal.batches.sizes, journal.batches.seconds
        yield self._histograms("postern_journal_batch_size", "Writes of one commit.", [("", "", sizes)])
        yield self._histograms("postern_journal_commit_seconds", "Duration of a commit.", [("", "", seconds)])

    def _running(self) -> Mapping[str, int]:
        """Runs by the names under which requests are counted too, so that there are not more of them."""
        running: dict[str, int] = {}
        for workflow, runs in self._sources.running().items():
            label = self._sources.requests.label(workflow)
            if label or runs:
                running[label] = running.get(label, 0) + runs
        return running

    def _counters(self, requests: RequestCounts) -> Metric:
        family = CounterMetricFamily(
            "postern_requests",
            "Requests to triggers by how they ended.",
            labels=["process", "workflow", "mode", "outcome"],
        )
        for labels, total in requests.totals().items():
            family.add_metric([self._sources.process, *labels], total)
        return family

    def _gauges(self, name: str, meaning: str, values: Mapping[str, float], label: str = "") -> Metric:
        family = GaugeMetricFamily(name, meaning, labels=["process", label] if label else ["process"])
        for value_of, value in values.items():
            family.add_metric([self._sources.process, value_of] if label else [self._sources.process], value)
        return family

    def _histograms(self, name: str, meaning: str, found: Sequence[tuple[str, str, Histogram]]) -> Metric:
        """`found` has the label, its value and the histogram; "" where there is no label."""
        labels = [label for label, _, _ in found[:1] if label]
        family = HistogramMetricFamily(name, meaning, labels=["process", *labels])
        for label, value, histogram in found:
            labelled = [self._sources.process, value] if label else [self._sources.process]
            family.add_metric(labelled, _buckets(histogram), histogram.total)
        return family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """The counts as Prometheus has them: how many values are at most each bound."""
    reached, buckets = 0, []
    for bound, count in zip((*histogram.bounds, float("inf")), list(histogram.counts), strict=True):
        reached += count
        buckets.append(("+Inf" if bound == float("inf") else str(float(bound)), float(reached)))
    return buckets
