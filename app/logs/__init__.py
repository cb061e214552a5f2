"""Logs: one line for each event, redacted, as JSON for machines or in plain words for people."""

from app.logs.logs import QUIET, BufferedSink, configure_logs, flush_logs, log_format, write_later
from app.logs.redaction import REDACTED, is_secret_name, without_secrets, without_tokens

__all__ = [
    "QUIET",
    "REDACTED",
    "BufferedSink",
    "configure_logs",
    "flush_logs",
    "is_secret_name",
    "log_format",
    "without_secrets",
    "without_tokens",
    "write_later",
]
