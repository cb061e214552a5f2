"""`/metrics` for Prometheus. Requests do not use its library: the parts count in plain numbers, and a scrape reads
them.

With several worker processes each scrape reaches one of them. Every sample therefore has the label `process`, so that
numbers of different processes never form one series. Sum over it (`sum without (process) (rate(...))`), or run one
worker per container, where each scrape reaches the same process.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

import anyio.to_thread
from anyio import CapacityLimiter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from postern.api.figures import Collect, Figure, counters, gauges, gauges_by, histograms, info
from postern.api.health import NO_STORE
from postern.histogram import Batches, Histogram
from postern.triggers.request_counts import RequestCounts
from postern.triggers.secure_transport import passed_on

if TYPE_CHECKING:
    from prometheus_client import Metric


class JournalCounts(Protocol):
    """The journal's counts."""

    @property
    def queued(self) -> int:
        """Writes that wait for their commit."""

    @property
    def batches(self) -> Batches:
        """Sizes and durations of commits."""


class StorageSums(Protocol):
    """What the database holds, in bytes."""

    @property
    def database(self) -> int:
        """The whole database."""

    @property
    def keys(self) -> Mapping[Any, int]:
        """Idempotency keys, by workflow and holder."""

    @property
    def runs(self) -> Mapping[Any, int]:
        """Runs of anonymous callers, by workflow and holder."""


class Metrics:
    """Serves `/metrics` with the counts of the server's parts. They are read on the event loop, which changes them. The
    text is made in a thread, for one scrape at a time.

    `process` names this process. `before` is called before each scrape."""

    def __init__(self, process: str, collect: Sequence[Collect], before: Callable[[], None]) -> None:
        self._process = process
        self._collect = collect
        self._before = before
        self._limiter = CapacityLimiter(1)

    async def answer(self, request: Request) -> Response:
        """Respond to `/metrics`. It is for internal use: requests forwarded by a proxy get a 404."""
        if passed_on(request.scope):
            raise HTTPException(404)
        content_type, text = await anyio.to_thread.run_sync(self._text, self._read(), limiter=self._limiter)
        return Response(text, headers={**NO_STORE, "Content-Type": content_type})

    async def families(self) -> list["Metric"]:
        """Every metric with its current value, as `/metrics` shows it."""
        return await anyio.to_thread.run_sync(self._families, self._read(), limiter=self._limiter)

    def _read(self) -> list[Figure]:
        self._before()
        return [figure for collect in self._collect for figure in collect()]

    def _text(self, figures: Iterable[Figure]) -> tuple[str, bytes]:
        from postern.api.metric_families import exposition  # Prometheus's library: the first scrape loads it

        return exposition(self._families(figures))

    def _families(self, figures: Iterable[Figure]) -> list["Metric"]:
        from postern.api.metric_families import families  # the same

        return families(self._process, figures)


def request_metrics(
    requests: RequestCounts,
    running: Callable[[], Mapping[str, int]],
    abandoned: Callable[[], Mapping[str, int]],
) -> Collect:
    """Metrics of requests to triggers. `running` and `abandoned` return the number of unfinished runs by workflow, and
    how many of them were cancelled and go on all the same."""

    def collect() -> Iterable[Figure]:
        labels = ("workflow", "mode", "outcome")
        yield counters("postern_requests", "Requests to triggers by how they ended.", labels, requests.totals())
        yield histograms(
            "postern_run_duration_seconds", "How long runs took, by workflow.", requests.durations(), "workflow"
        )
        yield gauges("postern_runs_running", "Runs that have not ended.", _labelled(requests, running()), "workflow")
        yield gauges(
            "postern_runs_abandoned",
            "Runs that were cancelled or timed out, and whose code has not ended.",
            _labelled(requests, abandoned()),
            "workflow",
        )

    return collect


def thread_metrics(
    requests: RequestCounts, busy: Callable[[], Mapping[str, int]], waiting: Callable[[], Mapping[str, int]]
) -> Collect:
    """Who holds the threads for `def` code, and who waits for one; `busy` and `waiting` return numbers by workflow."""

    def collect() -> Iterable[Figure]:
        yield gauges(
            "postern_threads_busy",
            "Threads that `def` workflows and steps hold.",
            _labelled(requests, busy()),
            "workflow",
        )
        yield gauges(
            "postern_threads_waiting",
            "Runs and steps that wait for a thread: their code has not begun.",
            _labelled(requests, waiting()),
            "workflow",
        )

    return collect


def blocked_loop_metrics(counts: Callable[[], Mapping[str, int]]) -> Collect:
    """How often the code of each workflow blocked the event loop."""
    return lambda: [
        counters(
            "postern_event_loop_blocked",
            "How often code of a workflow held up all requests for more than 0.2 s.",
            ("workflow",),
            {(workflow,): count for workflow, count in counts().items()},
        )
    ]


def key_metrics(ages: Callable[[], Mapping[str, float | None]]) -> Collect:
    """Metrics of signing keys; `ages` returns seconds by tenant, None if its keys were never fetched."""

    def collect() -> Iterable[Figure]:
        yield gauges(
            "postern_signing_keys_age_seconds",
            "Time since the signing keys were fetched; +Inf if never.",
            {tenant: float("inf") if age is None else age for tenant, age in ages().items()},
            "tenant",
        )

    return collect


def node_metrics(nodes: Callable[[], int]) -> Collect:
    """How many server processes share the journal."""
    return lambda: [gauges("postern_nodes", "Server processes that share the journal.", {"": nodes()})]


def catalog_metrics(faults: Callable[[], int]) -> Collect:
    """How many files of the catalog are faulty."""
    return lambda: [gauges("postern_catalog_faults", "Files that cannot be served as written.", {"": faults()})]


def secret_metrics(ends: Callable[[], Mapping[str, float]]) -> Collect:
    """When secrets of the settings expire, in Unix seconds."""
    return lambda: [
        gauges(
            "postern_secret_expires_timestamp_seconds",
            "When secrets and certificates named in the settings expire; those without an expiry date are left out.",
            ends(),
            "secret",
        )
    ]


def grant_metrics(
    states: Callable[[], Mapping[tuple[str, str], int]], refreshes: Mapping[str, int], seconds: Histogram
) -> Collect:
    """How many grants there are by connection and state, without their owners, and how refreshes of tokens ended."""

    def collect() -> Iterable[Figure]:
        yield gauges_by(
            "postern_grants", "Connections that people connect, by state.", ("connection", "state"), states()
        )
        outcomes = {(outcome,): total for outcome, total in refreshes.items()}
        yield counters("postern_grant_refreshes", "Refreshes of granted tokens.", ("outcome",), outcomes)
        yield histograms("postern_grant_refresh_seconds", "Duration of a refresh.", {"": seconds})

    return collect


def revocation_metrics(active: Callable[[], int], age: Callable[[], float | None]) -> Collect:
    """How many subjects are revoked, and how old that knowledge is."""

    def collect() -> Iterable[Figure]:
        yield gauges("postern_revocations", "People, applications and tokens that are revoked.", {"": active()})
        seconds = age()
        known = {"": inf if seconds is None else seconds}
        yield gauges("postern_revocations_age_seconds", "Seconds since revocations were read.", known)

    return collect


def finding_metrics(found: Callable[[], Mapping[str, int]], alerts: Callable[[], Mapping[str, int]]) -> Collect:
    """How many findings this server process began, by kind, and how alerts ended."""

    def collect() -> Iterable[Figure]:
        kinds = {(kind,): count for kind, count in found().items()}
        yield counters("postern_findings", "New findings.", ("kind",), kinds)
        results = {(result,): count for result, count in alerts().items()}
        yield counters("postern_alerts", "Alerts by how they ended.", ("result",), results)

    return collect


def build_metrics(version: str) -> Collect:
    """The running version."""
    return lambda: [info("postern_build", "The running version.", {"version": version})]


def journal_metrics(journal: JournalCounts) -> Collect:
    """Metrics of the journal's commits."""

    def collect() -> Iterable[Figure]:
        sizes, seconds = journal.batches.sizes, journal.batches.seconds
        yield gauges("postern_journal_queue_length", "Writes that wait for a commit.", {"": journal.queued})
        yield histograms("postern_journal_batch_size", "Writes of one commit.", {"": sizes})
        yield histograms("postern_journal_commit_seconds", "Duration of a commit.", {"": seconds})

    return collect


def storage_metrics(found: Callable[[], StorageSums]) -> Collect:
    """Metrics of what is stored, as it was found at the last look."""

    def collect() -> Iterable[Figure]:
        sums = found()
        parts = {"anonymous-runs": sum(sums.runs.values()), "idempotency-keys": sum(sums.keys.values())}
        yield gauges("postern_database_bytes", "Size of the database.", {"": sums.database})
        yield gauges(
            "postern_stored_bytes", "Bytes that callers stored, of kinds of records that are bounded.", parts, "kind"
        )

    return collect


def _labelled(requests: RequestCounts, by_workflow: Mapping[str, int]) -> Mapping[str, int]:
    """Runs by the same workflow names as requests, so that there are no further labels."""
    running: dict[str, int] = {}
    for workflow, runs in by_workflow.items():
        label = requests.label(workflow)
        if label or runs:
            running[label] = running.get(label, 0) + runs
    return running
