"""What a run printed and logged, as its page shows it. Pure."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from postern.console.words import count
from postern.journal.reading.run_logs import RunLog
from postern.journal.run_logs import LogLine
from postern.plain_text import plain


@dataclass(frozen=True, slots=True)
class LogView:
    """`words` say how many lines there are, and why some are missing. `text` has a line for each."""

    words: str
    text: str = field(repr=False)


def log_view(log: RunLog) -> LogView | None:
    """The log of a run; None if its code said nothing. Times are UTC."""
    if not log.count:
        return None
    several = len({attempt for attempt, _ in log.lines}) > 1
    lines = [f"attempt {attempt}  {_line(line)}" if several else _line(line) for attempt, line in log.lines]
    return LogView(_words(log), "\n".join(lines))


def _words(log: RunLog) -> str:
    words = f"{count(log.count)} {'line' if log.count == 1 else 'lines'}"
    if log.secured:
        return f"{words}, which are not recorded: the workflow has secure_inputs or secure_outputs"
    return f"{words}, of which the last {count(log.left_out)} are not recorded" if log.left_out else words


def _line(line: LogLine) -> str:
    time = datetime.fromtimestamp(line.at, UTC).strftime("%H:%M:%S.%f")[:-3]
    source = f"{line.level} {line.logger}".strip() if line.source == "log" else line.source
    return f"{time}  {plain(source)}  {plain(line.text)}"
