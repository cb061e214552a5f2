"""Logs: one redacted line for each event, as JSON for machines or as text for people."""

from postern.logs.coalesced import Coalesced
from postern.logs.logs import QUIET, author_log, configure_logs, copy_logs, flush_logs, log_format, write_later
from postern.logs.run_output import Said, Source, taking
from postern.logs.run_streams import BEGUN, divide_streams, finish_lines, run_streams
from postern.logs.sink import BufferedSink
from postern.logs.trouble import Trouble

__all__ = [
    "BEGUN",
    "QUIET",
    "BufferedSink",
    "Coalesced",
    "Said",
    "Source",
    "Trouble",
    "author_log",
    "configure_logs",
    "copy_logs",
    "divide_streams",
    "finish_lines",
    "flush_logs",
    "log_format",
    "run_streams",
    "taking",
    "write_later",
]
