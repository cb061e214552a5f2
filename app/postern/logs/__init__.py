"""Logs: one line for each event, redacted, as JSON for machines or in plain words for people."""

from postern.logs.logs import QUIET, configure_logs, flush_logs, log_format, write_later
from postern.logs.sink import BufferedSink

__all__ = [
    "QUIET",
    "BufferedSink",
    "configure_logs",
    "flush_logs",
    "log_format",
    "write_later",
]
