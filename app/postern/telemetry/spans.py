"""Spans: what took how long, of which trace. Parts of the server note them with `span`, which does nothing while no
trace is recorded.

No span ever has a query string, a header, a body, a token or a secret's value.
"""

import random
import time
from collections.abc import Callable
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal

Kind = Literal["server", "client", "internal"]
Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Ended:
    """A span that has ended. Ids are hexadecimal, times in nanoseconds since 1970. `parent_id` is "" for the first span
    of a trace, and `remote` says that the parent is another system's. `error` is a type or a status, never a text."""

    name: str
    kind: Kind
    trace_id: str
    span_id: str
    parent_id: str
    start: int
    end: int
    flags: int
    state: str = ""
    remote: bool = False
    attributes: dict[str, Value] = field(default_factory=dict)
    error: str = ""


Take = Callable[[Ended], None]
"""Takes one span. It never waits, may be called in any thread, and fails never."""


@dataclass(frozen=True, slots=True)
class Position:
    """The span in which code runs, if its trace is recorded."""

    take: Take
    trace_id: str
    span_id: str
    flags: int
    state: str = ""

    @property
    def traceparent(self) -> str:
        """The header for a call to another system."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


CURRENT: ContextVar[Position | None] = ContextVar("span", default=None)


_NAME_OF = type.__dict__["__name__"].__get__
"""The name of a type, without a metaclass of an author."""


class Span:
    """A span while it goes on. It is noted at its end, with the type of the error by which it ended."""

    __slots__ = ("_at", "_attributes", "_hides_errors", "_kind", "_name", "_own", "_start", "_token", "error")

    def __init__(self, at: Position, name: str, kind: Kind, span_id: str, *, hides_errors: bool) -> None:
        self._at = at
        self._hides_errors = hides_errors
        self._name = name
        self._kind = kind
        self._attributes: dict[str, Value] = {}
        self._own = Position(at.take, at.trace_id, span_id or new_span_id(), at.flags, at.state)
        self._token: Token[Position | None] | None = None
        self._start = 0
        self.error = ""

    def __enter__(self) -> "Span":
        self._token = CURRENT.set(self._own)
        self._start = time.time_ns()
        return self

    def set(self, name: str, value: Value) -> None:
        """Set an attribute, by a name of the semantic conventions of OpenTelemetry if there is one."""
        self._attributes[name] = value

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            CURRENT.reset(self._token)
        at, own = self._at, self._own
        self._at.take(
            Ended(
                self._name,
                self._kind,
                own.trace_id,
                own.span_id,
                at.span_id,
                self._start,
                time.time_ns(),
                own.flags,
                own.state,
                attributes=self._attributes,
                error=self.error or ("" if kind is None else "error" if self._hides_errors else _NAME_OF(kind)),
            )
        )


class NoSpan:
    """In place of a span while no trace is recorded."""

    __slots__ = ("error",)
    error: str

    def __enter__(self) -> "NoSpan":
        return self

    def set(self, name: str, value: Value) -> None:
        """Nothing."""

    def __exit__(self, *_: object) -> None:
        return None


def span(name: str, kind: Kind = "internal", span_id: str = "", *, hides_errors: bool = False) -> Span | NoSpan:
    """A span below the current one, as a context manager. With `hides_errors` it does not name the type of an error,
    which may be an author's."""
    at = CURRENT.get()
    return NoSpan() if at is None else Span(at, name, kind, span_id, hides_errors=hides_errors)


def new_span_id() -> str:
    """A new id. It is no secret, and may be guessed."""
    return f"{random.getrandbits(64) or 1:016x}"
