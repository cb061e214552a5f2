"""Telemetry is off unless the environment asks for it, and says so where it cannot be on."""

from dataclasses import dataclass

import pytest
import structlog
from structlog.testing import capture_logs

from postern.assembly import telemetry
from postern.assembly.telemetry import telemetry_part
from postern.settings import load_settings
from postern.triggers.gate import Gate


@dataclass(frozen=True)
class Wrapped:
    """The part of a pipeline that is wrapped."""

    gate: Gate = Gate()  # noqa: RUF009 - it never changes
    start: object = len


ON = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


def made(environment, monkeypatch, *, installed=True):
    """The part, and what it logged."""
    if not installed:
        monkeypatch.setattr(telemetry, "LIBRARY", "opentelemetry_is_not_here.sdk")
    with capture_logs() as logs:
        part = telemetry_part(load_settings({}), "abcdefgh", structlog.get_logger(), environment)
    return part, [(line["event"], line["cause"], line["fix"]) for line in logs]


def test_without_its_variables_nothing_is_wrapped(monkeypatch):
    part, logs = made({"OTEL_SERVICE_NAME": "flows"}, monkeypatch, installed=False)
    gate, pipeline = Gate(), Wrapped()

    assert logs == []
    assert (part.life, part.export) == (None, None)
    assert part.noted(pipeline, gate) == Wrapped(gate, pipeline.start)
    assert part.around(pipeline) is pipeline


def test_without_the_extra_a_warning_says_how_to_install_it(monkeypatch):
    part, [(event, cause, fix)] = made(ON, monkeypatch, installed=False)

    assert (event, cause) == ("telemetry-off", "OpenTelemetry is not installed")
    assert "postern-workflows[otel]" in fix
    assert part.life is None


def test_another_protocol_is_a_warning(monkeypatch):
    part, [(event, cause, _)] = made(ON | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, monkeypatch)

    assert event == "telemetry-off"
    assert "OTEL_EXPORTER_OTLP_PROTOCOL" in cause
    assert part.life is None


@pytest.mark.parametrize("signal", ["TRACES", "METRICS", "LOGS"])
def test_each_signal_is_switched_off_by_itself(monkeypatch, signal):
    part, logs = made(ON | {f"OTEL_{signal}_EXPORTER": "none"}, monkeypatch)

    assert logs == []
    assert part.life is not None
    assert (part.export is None) == (signal == "METRICS")
    assert (part.noted(Wrapped(), Gate()) == Wrapped()) == (signal == "TRACES")
    assert isinstance(part.around(Wrapped()), Wrapped) == (signal == "TRACES")
