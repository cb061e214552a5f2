"""What the code of runs prints and logs, on its way to their records. Texts have no secrets and no control characters.

Whoever keeps records takes the lines (`taking`). Without one, nothing is made of them.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from postern.plain_text import plain


class Source(StrEnum):
    """Where a line came from."""

    STDOUT = "stdout"
    STDERR = "stderr"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class Said:
    """What the code of a run said at once, in one or more lines. `at` is Unix seconds. `level` and `logger` are those
    of a log line. `hidden` is the number of lines of a secured workflow, which have no text."""

    at: float
    source: Source
    text: str = field(default="", repr=False)
    level: str = ""
    logger: str = ""
    hidden: int = 0


Taker = Callable[[str, Said], object]
"""Called with the id of the run, in any thread."""

_OF_LINE = frozenset({"timestamp", "level", "event", "logger", "exception", "run_id", "trace_id", "workflow"})

_takers: list[Taker] = []


@contextmanager
def taking(taker: Taker) -> Iterator[None]:
    """Everything that runs say meanwhile is given to `taker`."""
    _takers.append(taker)
    try:
        yield
    finally:
        _takers.remove(taker)


def keep(run_id: str, said: Said) -> None:
    """Give it to those who keep it. It never raises: a line must not end a run."""
    for taker in tuple(_takers):
        with suppress(Exception):
            taker(run_id, said)


def hide(run_id: str, lines: int, source: Source = Source.LOG) -> None:
    """Count lines of a secured workflow."""
    keep(run_id, Said(time.time(), source, hidden=lines))


def said_of(clean: Mapping[str, Any]) -> Said:
    """A log line, from its fields as they are logged."""
    more = "".join(f" {name}={_shown(value)}" for name, value in clean.items() if name not in _OF_LINE)
    text = f"{clean['event']}{more}"
    if trace := clean.get("exception"):
        text = f"{text}\n{trace.rstrip()}"
    logger = str(clean.get("logger", ""))
    return Said(time.time(), Source.LOG, plain(text, lines=True), str(clean["level"]), plain(logger))


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) and (not value or " " in value) else str(value)
