"""Exports spans, numbers and log lines over OTLP (HTTP, protobuf), in threads of their own with bounded queues.

The exporters read the standard environment variables themselves. What they cannot send is dropped and counted: an
exporter that hangs holds nothing but its own thread.
"""

import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any
from urllib.parse import urlsplit

import requests
import structlog
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import ReadWriteLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context
from prometheus_client.metrics_core import Metric

from postern.logs import Coalesced
from postern.proxy import Proxy
from postern.telemetry.environment import Signals, endpoint_of, has_certificate, names_service
from postern.telemetry.log_records import log_record
from postern.telemetry.metric_data import metrics_data
from postern.telemetry.span_data import readable_span
from postern.telemetry.spans import Ended
from postern.trace import Trace

MOST_LINES = 2048
"""Lines of the log that wait to be made records."""

_log = structlog.get_logger("postern.telemetry")


class Otlp:
    """What exports the telemetry of one server process. `instance` names the process among others of the service.
    `since` is when its counters began, in nanoseconds."""

    def __init__(
        self,
        signals: Signals,
        *,
        instance: str,
        version: str,
        ca_bundle: Path | None = None,
        proxy: Proxy | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        own = {"service.instance.id": instance, "service.version": version}
        self._resource = Resource.create(own if names_service(environment) else {"service.name": "postern", **own})
        self._scope = InstrumentationScope("postern", version)
        self._since = time.time_ns()
        self._sampler = TracerProvider(resource=self._resource, shutdown_on_exit=False).sampler
        reports = Coalesced("telemetry-not-exported", seconds=60.0)

        def made(kind: type[Any]) -> Any:
            own_ca = ca_bundle if not has_certificate(environment, kind.signal) else None
            session = _session(proxy, endpoint_of(environment, kind.signal))
            exporter = kind(certificate_file=str(own_ca) if own_ca else None, session=session)
            exporter.reports = reports
            return exporter

        self._spans = BatchSpanProcessor(made(_SpanExporter)) if signals.traces else None
        self._metrics: _Worker | None = None
        if signals.metrics:
            self._metric_exporter = made(_MetricExporter)
            self._metrics = _Worker("postern-otlp-metrics", self._export_metrics, most=1)
        self._lines: _Worker | None = None
        if signals.logs:
            self._logs = BatchLogRecordProcessor(made(_LogExporter))
            self._lines = _Worker("postern-otlp-lines", self._emit, most=MOST_LINES)

    def sampled(self, trace: Trace | None, trace_id: str) -> bool:
        """Whether a request's trace is recorded. `trace` is the one that the request names."""
        if self._spans is None:
            return False
        parent = None
        if trace is not None:
            flags = TraceFlags(trace.flags)
            at = SpanContext(int(trace.trace_id, 16), int(trace.parent_id, 16), is_remote=True, trace_flags=flags)
            parent = set_span_in_context(NonRecordingSpan(at))
        found = self._sampler.should_sample(parent, int(trace_id, 16), "request", SpanKind.SERVER)
        return found.decision is Decision.RECORD_AND_SAMPLE

    def take(self, ended: Ended) -> None:
        """Take a span that has ended."""
        with suppress(Exception):  # no span is worth the run that it is of
            if self._spans is not None:
                self._spans.on_end(readable_span(ended, self._resource, self._scope))

    def line(self, line: bytes) -> None:
        """Take lines of the log, in JSON."""
        if self._lines is not None:
            self._lines.put(line)

    def numbers(self, families: Sequence[Metric]) -> None:
        """Take the numbers of all metrics of now. They are dropped while former ones are being sent."""
        if self._metrics is not None:
            self._metrics.put(families)

    def close(self, seconds: float) -> None:
        """Send what waits, for at most so many seconds. Call it in a thread."""
        closing = threading.Thread(target=self._close, name="postern-otlp-close", daemon=True)
        closing.start()
        closing.join(seconds)

    def _close(self) -> None:
        for worker in (self._lines, self._metrics):
            if worker is not None:
                worker.close()
        if self._lines is not None:
            self._logs.shutdown()  # type: ignore[no-untyped-call]
        if self._spans is not None:
            self._spans.shutdown()  # type: ignore[no-untyped-call]
        if self._metrics is not None:
            self._metric_exporter.shutdown()

    def _emit(self, lines: bytes) -> None:
        now = time.time_ns()
        for line in lines.splitlines():
            record = log_record(line, now)
            if record is not None:
                self._logs.on_emit(
                    ReadWriteLogRecord(record, resource=self._resource, instrumentation_scope=self._scope)
                )

    def _export_metrics(self, families: Iterable[Metric]) -> None:
        self._metric_exporter.export(metrics_data(families, self._resource, self._scope, self._since, time.time_ns()))


def _session(proxy: Proxy | None, endpoint: str) -> requests.Session:
    """The HTTP client of one exporter. As in all calls out, neither proxies nor credentials come from the environment:
    the proxy is POSTERN_PROXY."""
    session = requests.Session()
    session.trust_env = False
    if proxy is not None and proxy.carries(urlsplit(endpoint).hostname or ""):
        session.proxies = {"http": proxy.url, "https": proxy.url}
    return session


class _Worker:
    """A thread with a bounded queue. What finds it full is dropped."""

    def __init__(self, name: str, work: Any, most: int) -> None:
        self._queue: Queue[Any] = Queue(most)
        self._work = work
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: Any) -> None:
        """Add an item, if there is room."""
        try:
            self._queue.put_nowait(item)
        except Full:
            return

    def close(self) -> None:
        """Do what waits, and end."""
        self._stop.set()
        self.put(None)
        self._thread.join()

    def _run(self) -> None:
        while not (self._stop.is_set() and self._queue.empty()):
            try:
                item = self._queue.get(timeout=1.0)
            except Empty:
                continue
            if item is not None:
                try:
                    self._work(item)
                except Exception as error:
                    _log.warning("telemetry-lost", cause=type(error).__name__)


class _Reported:
    """Logs failures of an exporter: one line for many, without what the other side said."""

    reports: Coalesced
    signal = ""

    def report(self, result: Any) -> Any:
        """Log the result if it is a failure, and return it."""
        if result.name != "SUCCESS":
            fix = "see that the collector at OTEL_EXPORTER_OTLP_ENDPOINT accepts it, and its certificate is trusted"
            self.reports.add(_log.warning, signal=self.signal, fix=fix)
        return result


class _SpanExporter(_Reported, OTLPSpanExporter):
    signal = "TRACES"

    def export(self, spans: Any) -> Any:
        return self.report(super().export(spans))


class _MetricExporter(_Reported, OTLPMetricExporter):
    signal = "METRICS"

    def export(self, metrics_data: Any, timeout_millis: float | None = 10_000, **kwargs: Any) -> Any:
        return self.report(super().export(metrics_data, timeout_millis, **kwargs))


class _LogExporter(_Reported, OTLPLogExporter):
    signal = "LOGS"

    def export(self, batch: Any) -> Any:
        return self.report(super().export(batch))
