"""What a reply sends while its run goes on: a file, bytes or text in pieces, or server-sent events."""

import re
from collections.abc import AsyncIterable, Iterable
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from pydantic_core import to_json

_LINE_END = re.compile("\r\n|\r|\n")

OCTETS = "application/octet-stream"
EVENTS = "text/event-stream"

Source = AsyncIterable[Any] | Iterable[Any]


@dataclass(frozen=True, slots=True)
class Event:
    """A server-sent event (HTML, section 9.2). `data` is text, or anything that pydantic can write as JSON. `event` is
    its type, and `id` what a browser sends as `Last-Event-ID` when it connects again. `retry` is the seconds after
    which it does. Without any of them, `comment` alone keeps the connection busy."""

    data: Any = field(default=None, repr=False)
    event: str = ""
    id: str | None = None
    retry: float | None = None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Stream:
    """Pieces that are sent as they come: of `events` or of bytes and text."""

    source: Source = field(repr=False)
    events: bool = False


@dataclass(frozen=True, slots=True)
class File:
    """A file that is sent. `filename` is the name under which a browser saves it, "" to show it. `delete` says to
    delete it then."""

    path: str | PathLike[str] = field(repr=False)
    filename: str = ""
    delete: bool = False


def piece(value: object) -> bytes:
    """A piece of a stream as it is sent. Raises TypeError."""
    if isinstance(value, str):
        return str.encode(value, "utf-8")
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise TypeError(
        f"Reply.stream() sends bytes and text, and its iterator gave {type(value).__name__}: write it as text first"
    )


def event_text(value: object) -> bytes:
    """An event as it is sent: what is no Event is its data. Raises ValueError for a line break where there may be none,
    by which data could become events."""
    event = value if isinstance(value, Event) else Event(value)
    lines = [f": {line}" for line in _lines(event.comment)] if event.comment else []
    for name, text in (("id", event.id), ("event", event.event or None)):
        if text is not None:
            if _LINE_END.search(text) or "\x00" in text:
                raise ValueError(f"an Event's {name} is one line of text")
            lines.append(f"{name}: {text}")
    if event.retry is not None:
        lines.append(f"retry: {max(0, round(event.retry * 1000))}")
    if event.data is not None or not lines:
        data = event.data if isinstance(event.data, str) else to_json(event.data, inf_nan_mode="null").decode()
        lines += [f"data: {line}" for line in _lines(data)]
    return ("\n".join(lines) + "\n\n").encode("utf-8")


def _lines(text: str) -> list[str]:
    return _LINE_END.split(text)
