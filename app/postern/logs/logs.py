"""Logs: one line for each event, as JSON for machines or as text for people.

All log lines, also those of the standard library, pass the same last line of defence. Values with the names of secrets
and everything in the shape of a JWT are redacted. Control characters are escaped, so that no value can break or forge a
line (CWE-117), and a line has a greatest length (`postern.logs.bounds`). Tracebacks never show local variables.
"""

import asyncio
import atexit
import logging
import sys
import time
from collections.abc import Callable, MutableMapping
from contextvars import Context
from itertools import groupby
from operator import itemgetter
from typing import IO, Any, Literal

import structlog

from postern.logs.bounds import MOST_OF_A_LINE, MOST_READ, bounded
from postern.logs.line_shape import LineShape, Values, quick_lines
from postern.logs.rendering import as_json, console, is_terminal, traceback_text
from postern.logs.run_output import Source, hide, keep, said_of
from postern.logs.sink import BufferedSink, writer_of
from postern.redaction import REDACTED, is_secret_name, long_text_without_secrets, written
from postern.trace import RUN, SECURED, trace_id_of

Level = Literal["debug", "info", "warning", "error", "critical"]

QUIET = {
    "alembic": logging.WARNING,
    "azure": logging.WARNING,
    "azure.identity": logging.CRITICAL,  # logs whole responses of the token endpoint when a sign-in fails
    "httpcore2": logging.WARNING,
    "httpx2": logging.WARNING,  # logs URLs with their query
    "msal": logging.WARNING,
    "opentelemetry": logging.CRITICAL,  # our own line stands for its failures: it has one for each batch
    "urllib3": logging.WARNING,
    "uvicorn.error": logging.WARNING,  # logs its start and stop, which our own log has already
    "uvicorn.access": logging.WARNING,  # logs URLs with their query
    "watchfiles": logging.WARNING,
}

_LEVELS = {"exception": "error", "warn": "warning", "fatal": "critical", "err": "error", "msg": "info"}

_PLAIN = frozenset({str, int, float, bool, type(None)})

_UNWRITTEN = "a log line could not be written"

_MOST_TOGETHER = 100

BATCH_SECONDS = 0.05


class _Lines:
    """The logger that structlog passes finished lines to. It looks up the sink each time, so that logs can be
    configured again after loggers have been used. What an author's code logs is kept with its run."""

    __slots__ = ("name", "of_author")

    def __init__(self, name: str = "", of_author: bool = False) -> None:
        self.name = name
        self.of_author = of_author

    def msg(self, line: bytes) -> None:
        _current.sink.write(line)

    debug = info = warning = warn = error = err = critical = fatal = exception = log = msg


class _Output:
    """The current sink and format of lines."""

    def __init__(self) -> None:
        self.sink = BufferedSink(lambda lines: None)
        self.render: Callable[[dict[str, Any]], bytes] = as_json
        self.copy: Callable[[bytes], None] | None = None


class _Clock:
    """The time as RFC 3339 in UTC, to the millisecond. The text of the last millisecond is cached."""

    def __init__(self) -> None:
        self._millisecond = -1
        self._text = ""

    def __call__(self) -> str:
        return self.at(time.time())

    def at(self, now: float) -> str:
        """A time of day, in seconds since 1970."""
        millisecond = int(now * 1000)
        if millisecond != self._millisecond:
            second, rest = divmod(millisecond, 1000)
            self._text = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(second))}.{rest:03d}Z"
            self._millisecond = millisecond
        return self._text


class _Batch:
    """Events whose lines are made later, many together. That costs half as much as making each between two requests."""

    def __init__(self) -> None:
        self._events: list[tuple[LineShape, float, Values]] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, shape: LineShape, moment: float, values: Values) -> None:
        """Add an event. Call it in the thread of the event loop, or where no loop runs."""
        self._events.append((shape, moment, values))
        if self._timer is None:
            try:
                self._timer = asyncio.get_running_loop().call_later(BATCH_SECONDS, self.write, context=Context())
            except RuntimeError:
                self.write()
        elif len(self._events) >= _MOST_TOGETHER:
            self.write()

    def write(self) -> None:
        """Make the lines of all waiting events."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        events, self._events = self._events, []
        for shape, together in groupby(events, key=itemgetter(0)):
            _current.sink.write(_together(shape, [(_now.at(moment), *values) for _, moment, values in together]))


class _Bridge(logging.Handler):
    """Passes the standard library's log records to the same output. Those of a run are kept with it, from level info
    on; of a secured run they are only counted."""

    def emit(self, record: logging.LogRecord) -> None:
        run = RUN.get()
        if SECURED.get():
            if run is not None and record.levelno >= logging.INFO:
                hide(run[0], 1)
            return
        try:
            text = record.getMessage()
        except Exception:  # keep the line even if its arguments do not fit its text
            text = written(record.msg)
        event: dict[str, Any] = {"event": text}
        if record.exc_info:
            event["exc_info"] = record.exc_info
        kept = record.levelno >= logging.INFO
        _current.sink.write(_line(record.levelname.lower(), record.name, event, of_author=kept))


def log_format(chosen: Literal["console", "json"] | None) -> Literal["console", "json"]:
    """The chosen format. By default it is `console` on a terminal and `json` elsewhere."""
    return chosen or ("console" if is_terminal(sys.stderr) else "json")


def configure_logs(format: Literal["console", "json"], stream: IO[Any] | None = None, level: Level = "info") -> None:  # noqa: A002
    """Send structlog's and the standard library's logs to `stream` (standard error if None). It may be called again,
    but the level of a structlog logger is fixed when the logger is first used."""
    least = logging.getLevelNamesMapping()[level.upper()]
    chosen = sys.stderr if stream is None else stream
    flush_logs()
    _current.sink = BufferedSink(writer_of(chosen))
    _current.render = as_json if format == "json" else console(colours=is_terminal(chosen))
    structlog.configure(
        processors=_PROCESSORS,
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=_Lines,
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    for handler in list(root.handlers):
        if type(handler) in (_Bridge, logging.StreamHandler):
            root.removeHandler(handler)
    root.addHandler(_Bridge())
    root.setLevel(least)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    for name, quiet in QUIET.items():
        logging.getLogger(name).setLevel(max(quiet, least))


def copy_logs(copy: Callable[[bytes], None] | None) -> None:
    """Give `copy` each line too, as JSON, whatever the format is. It gets one line or several, in any thread, and must
    neither wait nor fail. None ends it."""
    _current.copy = copy


def author_log(name: str) -> Any:
    """A structured log for the code of authors: its lines are kept with the run."""
    return structlog.get_logger(name, True)


def log_printed(run_id: str, source: Source, text: str) -> None:
    """Log what the code of a run printed: an event for each line."""
    for line in text.split("\n"):
        _current.sink.write(_line("info", source, {"event": line, "run_id": run_id}))


def is_for_people() -> bool:
    """Whether log lines are text for people."""
    return _current.render is not as_json


def flush_logs() -> None:
    """Write the waiting lines."""
    _batch.write()
    _current.sink.flush()


def _process(lines: _Lines, method: str, event: MutableMapping[str, Any]) -> bytes:
    """structlog's only processor: an event becomes a line."""
    return _line(_LEVELS.get(method, method), lines.name, event, of_author=lines.of_author)


def _line(level: str, logger: str, event: MutableMapping[str, Any], *, of_author: bool = False) -> bytes:
    """One event as a line, redacted. It never raises: a log line must not end a request. What is `of_author` is kept
    with the run."""
    now = _now()
    try:
        text = event.pop("event", "")
        clean: dict[str, Any] = {
            "timestamp": now,
            "level": level,
            "event": long_text_without_secrets(text, MOST_READ) if type(text) is str else written(text),
        }
        if logger:
            clean["logger"] = logger
        for key, value in event.items():
            if key == "exc_info":
                if trace := traceback_text(value):
                    clean["exception"] = trace
                continue
            name = key + "_" if key in clean else key  # a field cannot overwrite the time, the level or the event
            clean[name] = _shown(key, value)
        run = RUN.get()
        if run is not None:  # logs of authors and libraries do not have them
            clean.setdefault("run_id", run[0])
            clean.setdefault("trace_id", trace_id_of(*run))
            if of_author:
                hide(run[0], 1) if SECURED.get() else keep(run[0], said_of(clean))
        return _rendered(clean)
    except BaseException:  # an author's value may raise anything when it is written
        return as_json({"timestamp": now, "level": level, "event": _UNWRITTEN})


def _shown(name: str, value: Any) -> Any:
    """A field of a line: without secrets under its name, in its text, or under names in it."""
    if type(value) is str:
        return REDACTED if value and is_secret_name(name) else long_text_without_secrets(value, MOST_READ)
    if type(value) in _PLAIN:
        return REDACTED if type(value) in (int, float) and is_secret_name(name) else value
    return REDACTED if is_secret_name(name) else written(value)


def _together(shape: LineShape, lines: list[Values]) -> bytes:
    """Many lines of one shape."""
    if _current.render is as_json:
        found = quick_lines(shape, lines, MOST_OF_A_LINE)
        if found is not None:
            if _current.copy is not None:
                _current.copy(found)
            return found + b"\n"
    first = {"level": "info", "event": shape.event}
    return b"".join(_rendered({"timestamp": line[0], **first, **shape.fields(line[1:])}) for line in lines)


def _rendered(clean: dict[str, Any]) -> bytes:
    try:
        short = bounded(clean)
        if _current.copy is not None:
            _current.copy(as_json(short))
        return _current.render(short)
    except Exception:
        return as_json({"timestamp": _now(), "level": "error", "event": _UNWRITTEN})


_now = _Clock()

_current = _Output()

_batch = _Batch()

write_later: Callable[[LineShape, float, Values], None] = _batch.add
"""Log one line for an event of every request. Lines are made in batches, within BATCH_SECONDS. It takes the shape of
the line, the time in seconds since 1970, and the values. The shape of a JWT in a value is still redacted."""

_PROCESSORS: list[Any] = [_process]

atexit.register(flush_logs)
