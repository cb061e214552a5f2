"""Telemetry by OpenTelemetry: traces, metrics and logs over OTLP. Off unless its standard environment variables are
set. `spans` is imported by the server's parts and has no library; `otlp` alone imports OpenTelemetry, when it is on."""
