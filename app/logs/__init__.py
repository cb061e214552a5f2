"""Logs: one line for each event, redacted, as JSON for machines or in plain words for people."""

from app.logs.logs import QUIET, BufferedSink, configure_logs, flush_logs, log_format, write_later

__all__ = [
    "QUIET",
    "BufferedSink",
    "configure_logs",
    "flush_logs",
    "log_format",
    "write_later",
]
