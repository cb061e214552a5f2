"""What runs printed and logged, as JSON. Pure."""

from pydantic_core import to_json

from postern.api.representation import when
from postern.journal.reading.run_logs import RunLog
from postern.journal.run import State


def log_json(state: State, log: RunLog) -> bytes:
    """The log of a run in this state. `count` is of all lines that its code said, also of those that are not kept."""
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
    counts = {"count": log.count, "left_out": log.left_out, "secured": log.secured}
    return to_json({"state": state.value, "lines": lines, **counts})
