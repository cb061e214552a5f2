"""What runs printed and logged, as JSON. Pure."""

from pydantic_core import to_json

from postern.api.representation import when
from postern.journal.reading.run_logs import RunLog


def log_json(log: RunLog) -> bytes:
    """The log of a run. `count` is of all lines that its code said, also of those that are not kept."""
    lines = [
        {
            "at": when(line.at),
            "attempt": attempt,
            "source": line.source,
            "level": line.level or None,
            "logger": line.logger or None,
            "text": line.text,
        }
        for attempt, line in log.lines
    ]
    return to_json({"lines": lines, "count": log.count, "left_out": log.left_out, "secured": log.secured})
