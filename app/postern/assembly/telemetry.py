"""Telemetry: what is exported by OpenTelemetry, if its environment variables say so."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
from structlog.typing import FilteringBoundLogger

from postern.assembly.part import Part
from postern.logs import Coalesced, copy_logs, flush_logs
from postern.settings import Settings
from postern.telemetry.environment import Signals, metric_seconds, signals_of
from postern.triggers.gate import Gate, in_order
from postern.triggers.pipeline import Pipeline
from postern.triggers.traced import TracedPipeline, admitted, answered, found, traced_start
from postern.version import own_version

if TYPE_CHECKING:
    from prometheus_client import Metric

    from postern.telemetry.otlp import Otlp

LIBRARY = "opentelemetry.exporter.otlp.proto.http"
"""What the extra `otel` installs."""

CLOSE_SECONDS = 5.0
"""How long a stop waits for what is not sent yet."""

Families = Callable[[], Awaitable[list["Metric"]]]


@dataclass(slots=True)
class _Running:
    """What exports while the server runs."""

    otlp: "Otlp | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryPart(Part):
    """Wraps what is traced. It starts first and stops last, so that it has the lines of the whole stop."""

    signals: Signals
    seconds: float
    log: FilteringBoundLogger
    running: _Running = field(default_factory=_Running)

    def noted(self, pipeline: Pipeline, gate: Gate) -> Pipeline:
        """The pipeline with this gate, and with notes of the steps of a request where it is traced."""
        if not self.signals.traces:
            return replace(pipeline, gate=gate)
        before, after = in_order(found, gate.before), in_order(gate.after, admitted)
        gate = replace(gate, before=before, after=after, answered=answered)
        return replace(pipeline, gate=gate, start=traced_start(pipeline.start))

    def around(self, pipeline: Pipeline) -> Pipeline | TracedPipeline:
        """What responds to requests to triggers: the pipeline, traced."""
        return TracedPipeline(pipeline, lambda: self.running.otlp) if self.signals.traces else pipeline

    @property
    def export(self) -> Callable[[Families], Coroutine[Any, Any, None]] | None:
        """What sends the numbers of all metrics, None if they are not sent."""
        return self._export if self.signals.metrics else None

    async def _export(self, families: Families) -> None:
        failing = Coalesced("telemetry-lost")
        while True:
            await anyio.sleep(self.seconds)
            try:
                if self.running.otlp is not None:
                    self.running.otlp.numbers(await families())
            except Exception as error:  # telemetry ends no server
                failing.add(self.log.warning, cause=type(error).__name__)


def _installed() -> bool:
    try:
        return find_spec(LIBRARY) is not None
    except ModuleNotFoundError:
        return False


def telemetry_part(
    settings: Settings, process: str, log: FilteringBoundLogger, environment: Mapping[str, str] = os.environ
) -> TelemetryPart:
    """Off unless an endpoint is set and the library is installed. `process` names this server process."""
    signals = signals_of(environment)
    if signals.any and not _installed():
        fix = "install it with pip install 'postern-workflows[otel]', or unset OTEL_EXPORTER_OTLP_ENDPOINT"
        log.warning("telemetry-off", cause="OpenTelemetry is not installed", fix=fix)
        signals = Signals()
    elif signals.wrong:
        log.warning("telemetry-off", cause=signals.wrong, fix="set it to http/protobuf, or leave it out")
    running = _Running()

    def made() -> "Otlp | None":
        try:
            from postern.telemetry.otlp import Otlp

            return Otlp(
                signals,
                instance=process,
                version=own_version(),
                ca_bundle=settings.ca_bundle,
                proxy=settings.way_out,
                environment=environment,
            )
        except Exception as error:  # its text may repeat a variable, and headers of the exporter may be among them
            fix = "compare the OTEL_ variables with OpenTelemetry's specification"
            log.warning("telemetry-off", cause=f"{type(error).__name__} at its start", fix=fix)
            return None

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        otlp = made()
        if otlp is None:
            yield
            return
        running.otlp = otlp
        if signals.logs:
            copy_logs(otlp.line)
        log.info("telemetry-on", traces=signals.traces, metrics=signals.metrics, logs=signals.logs)
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                flush_logs()
                copy_logs(None)
                running.otlp = None
                await anyio.to_thread.run_sync(otlp.close, CLOSE_SECONDS)

    return TelemetryPart(
        signals=signals,
        seconds=metric_seconds(environment),
        log=log,
        running=running,
        life=life if signals.any else None,
    )
