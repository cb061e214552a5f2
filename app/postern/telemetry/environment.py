"""Which signals are exported, by the standard environment variables of OpenTelemetry. Pure.

Source: OpenTelemetry specification, "Environment Variable Specification" and "OpenTelemetry Protocol Exporter".
"""

from collections.abc import Mapping
from typing import NamedTuple

PROTOCOL = "http/protobuf"
SHORTEST_INTERVAL = 100
"""Milliseconds; shorter ones are mistakes, as other values that are no intervals."""


class Signals(NamedTuple):
    """What is exported. `wrong` says for the operator what was asked for and is not possible, "" if nothing."""

    traces: bool = False
    metrics: bool = False
    logs: bool = False
    wrong: str = ""

    @property
    def any(self) -> bool:
        """Whether anything is exported."""
        return self.traces or self.metrics or self.logs


def signals_of(environment: Mapping[str, str]) -> Signals:
    """The signals that have an endpoint and are not switched off."""
    if _value(environment, "OTEL_SDK_DISABLED").lower() == "true":
        return Signals()
    wrong = ""
    found = []
    for signal in ("TRACES", "METRICS", "LOGS"):
        endpoint = endpoint_of(environment, signal)
        exporters = [each.strip() for each in _value(environment, f"OTEL_{signal}_EXPORTER", "otlp").split(",")]
        wanted = bool(endpoint) and "otlp" in exporters
        protocol = _first(environment, f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
        if wanted and protocol not in ("", PROTOCOL):
            wanted = False
            wrong = f"OTEL_EXPORTER_OTLP_PROTOCOL is not {PROTOCOL}, the only protocol of this server"
        found.append(wanted)
    traces, metrics, logs = found
    return Signals(traces, metrics, logs, wrong)


def endpoint_of(environment: Mapping[str, str], signal: str) -> str:
    """Where TRACES, METRICS or LOGS are sent; "" if nowhere."""
    return _first(environment, f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def has_certificate(environment: Mapping[str, str], signal: str) -> bool:
    """Whether the authority of the collector's certificate is named."""
    names = (f"OTEL_EXPORTER_OTLP_{signal}_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE")
    return bool(_first(environment, *names))


def names_service(environment: Mapping[str, str]) -> bool:
    """Whether the service has a name of the operator's."""
    attributes = _value(environment, "OTEL_RESOURCE_ATTRIBUTES").split(",")
    named = any(each.partition("=")[0].strip() == "service.name" for each in attributes)
    return named or bool(_value(environment, "OTEL_SERVICE_NAME"))


def metric_seconds(environment: Mapping[str, str]) -> float:
    """The time between two exports of metrics: OTEL_METRIC_EXPORT_INTERVAL, which is in milliseconds, or a minute."""
    try:
        milliseconds = int(_value(environment, "OTEL_METRIC_EXPORT_INTERVAL", "60000"))
    except ValueError:
        milliseconds = 0
    return milliseconds / 1000 if milliseconds >= SHORTEST_INTERVAL else 60.0


def _first(environment: Mapping[str, str], *names: str) -> str:
    return next((value for name in names if (value := _value(environment, name))), "")


def _value(environment: Mapping[str, str], name: str, default: str = "") -> str:
    """The value. An empty one is as if it were not set, as the specification demands."""
    return environment.get(name, "").strip() or default
