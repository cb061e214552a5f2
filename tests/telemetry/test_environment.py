"""Which signals are exported, by the environment variables of OpenTelemetry's specification."""

import pytest

from postern.telemetry.environment import (
    Signals,
    endpoint_of,
    has_certificate,
    metric_seconds,
    names_service,
    signals_of,
)
from tests.table import table

ON = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@table(
    ("environment", "found"),
    [
        ({}, (False, False, False)),
        ({"OTEL_SERVICE_NAME": "flows"}, (False, False, False)),
        (ON, (True, True, True)),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, (False, False, False)),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector/v1/traces"}, (True, False, False)),
        (ON | {"OTEL_SDK_DISABLED": "true"}, (False, False, False)),
        (ON | {"OTEL_SDK_DISABLED": "TRUE"}, (False, False, False)),
        (ON | {"OTEL_SDK_DISABLED": "1"}, (True, True, True)),
        (ON | {"OTEL_METRICS_EXPORTER": "none"}, (True, False, True)),
        (ON | {"OTEL_LOGS_EXPORTER": "console, otlp", "OTEL_TRACES_EXPORTER": ""}, (True, True, True)),
        (ON | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, (True, True, True)),
    ],
)
def test_a_signal_is_exported_if_it_has_an_endpoint_and_is_not_switched_off(environment, found):
    assert signals_of(environment) == Signals(*found)


@pytest.mark.parametrize("protocol", ["grpc", "http/json"])
def test_another_protocol_is_reported_and_not_exported(protocol):
    found = signals_of(ON | {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": protocol})

    assert (found.traces, found.metrics, found.logs) == (False, True, True)
    assert "http/protobuf" in found.wrong
    assert not signals_of(ON | {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol}).any


@pytest.mark.parametrize(
    ("interval", "seconds"), [("", 60.0), ("500", 0.5), ("30000", 30.0), ("0", 60.0), ("-1", 60.0), ("soon", 60.0)]
)
def test_the_interval_of_metrics_is_in_milliseconds(interval, seconds):
    assert metric_seconds({"OTEL_METRIC_EXPORT_INTERVAL": interval}) == seconds


def test_what_the_operator_names_replaces_what_postern_would_take():
    assert endpoint_of(ON | {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://logs"}, "LOGS") == "http://logs"
    assert endpoint_of(ON, "LOGS") == "http://collector:4318"
    assert has_certificate({"OTEL_EXPORTER_OTLP_CERTIFICATE": "ca.pem"}, "LOGS")
    assert not has_certificate({"OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE": "ca.pem"}, "LOGS")
    assert names_service({"OTEL_SERVICE_NAME": "flows"})
    assert names_service({"OTEL_RESOURCE_ATTRIBUTES": "a=b, service.name=flows"})
    assert not names_service({"OTEL_RESOURCE_ATTRIBUTES": "my.service.name=flows"})
