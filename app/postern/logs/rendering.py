"""A log line as it is written: as JSON for machines, or as text for people, and the traceback in it."""

import json
import sys
import traceback
from collections.abc import Callable
from typing import IO, Any

import structlog
from pydantic_core import to_json

from postern.logs.bounds import MOST_FRAMES, MOST_READ, bounded_trace
from postern.plain_text import plain
from postern.redaction import each_text, long_text_without_secrets, without_tokens


def as_json(clean: dict[str, Any]) -> bytes:
    """For machines: one line of JSON."""
    try:
        line = to_json(clean, inf_nan_mode="strings")
        if not line.isascii():  # rare, and escaping while writing costs twice as much
            line = to_json(clean, ensure_ascii=True, inf_nan_mode="strings")
    except ValueError:  # half of a surrogate pair is not UTF-8
        clean = each_text(clean, lambda text: text.encode("utf-8", "backslashreplace").decode())
        line = to_json(clean, ensure_ascii=True, inf_nan_mode="strings")
    if b"eyJ" in line:
        # Redacted as data, not as bytes: the e may be the end of an escape like \u00fe, which must not be cut.
        line = to_json(each_text(json.loads(line), without_tokens), ensure_ascii=True)
    if b"\x7f" in line:
        line = line.replace(b"\x7f", b"\\u007f")
    return line + b"\n"


def console(*, colours: bool) -> Callable[[dict[str, Any]], bytes]:
    """For people."""
    renderer = structlog.dev.ConsoleRenderer(
        colors=colours,
        exception_formatter=structlog.dev.plain_traceback,  # the others can show local variables
        force_colors=colours,
    )

    def render(clean: dict[str, Any]) -> bytes:
        trace = without_tokens(clean.pop("exception", ""))
        shown = each_text(clean, _printable)
        # Indented, so that a line of an exception's text does not look like a line of the log.
        below = "".join(f"\n    {plain(line)}" for line in trace.splitlines())
        return f"{renderer(None, shown['level'], shown)}{below}\n".encode("utf-8", "backslashreplace")

    return render


def _printable(text: str) -> str:
    return plain(without_tokens(text))


def traceback_text(exc_info: Any) -> str:
    """The traceback as text, without local variables and secrets; "" if there is no exception."""
    if isinstance(exc_info, tuple):
        raised = exc_info[1]
    else:
        raised = exc_info if isinstance(exc_info, BaseException) or not exc_info else sys.exc_info()[1]
    if not raised:
        return ""
    text = "".join(traceback.format_exception(raised, limit=-MOST_FRAMES))
    return bounded_trace(long_text_without_secrets(text, MOST_READ))


def is_terminal(stream: IO[Any]) -> bool:
    """Whether a person reads it."""
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False
