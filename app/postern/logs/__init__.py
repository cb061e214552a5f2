"""Logs: one redacted line for each event, as JSON for machines or as text for people."""

from postern.logs.coalesced import Coalesced
from postern.logs.logs import QUIET, configure_logs, copy_logs, flush_logs, log_format, write_later
from postern.logs.sink import BufferedSink
from postern.logs.trouble import Trouble

__all__ = [
    "QUIET",
    "BufferedSink",
    "Coalesced",
    "Trouble",
    "configure_logs",
    "copy_logs",
    "flush_logs",
    "log_format",
    "write_later",
]
