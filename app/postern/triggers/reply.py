"""The sixth step: the response, and how it is sent."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from functools import lru_cache
from typing import Any, ClassVar

from pydantic_core import to_json

from postern.errors import Problem, header_lines
from postern.journal.run import Run, State
from postern.runs.outcomes import JSON, JSON_ALONE, PROBLEM_JSON
from postern.runs.runner import Abandoned
from postern.runs.streaming import is_replied
from postern.triggers.one_origin import on_one_origin

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Later = Callable[[Run, Receive], Awaitable["Answer"]]
"""Replies where a run was accepted, and its caller prefers to wait for its result."""

ALWAYS = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
"""No response may be stored (RFC 6750, section 5.3) or interpreted as another type than it declares."""


Field = tuple[bytes, bytes]

_END = b"\r\n"
_AFTER_NAME = b": "


def lines_of(fields: Iterable[Field]) -> bytes:
    """The lines of header fields (RFC 9112, section 5)."""
    return _END.join((*map(_AFTER_NAME.join, fields), b""))


_lines_of_added = lru_cache(maxsize=1024)(lines_of)
"""The same, for what many replies have: rates of requests."""

_USUAL = lines_of([JSON, *ALWAYS]) + b"x-run-id: %b\r\ncontent-length: %d\r\n"
"""The lines of a result that is no Reply, given the id of the run and the length of the content."""


class Answer:
    """A whole HTTP answer. One is made for each request. Most are made of their header `lines`: a list of the fields is
    only made for those who look at it."""

    __slots__ = ("_fields", "_lines", "content", "status")

    _added: ClassVar[tuple[tuple[Field, ...], bytes]] = ((), b"")
    """What was added last, and its lines: nearly always the same tuple, of which no field has to be looked at."""

    def __init__(self, status: int, headers: list[Field], content: bytes, lines: bytes | None = None) -> None:
        self.status = status
        self.content = content
        self._fields = headers
        self._lines = lines

    def __repr__(self) -> str:
        return f"Answer(status={self.status})"

    @property
    def headers(self) -> list[Field]:
        """The header fields, which may be changed."""
        if self._lines is not None:
            parts = (line.partition(_AFTER_NAME) for line in self._lines.split(_END)[:-1])
            self._fields, self._lines = [(name, value) for name, _, value in parts], None
        return self._fields

    @headers.setter
    def headers(self, fields: list[Field]) -> None:
        self._fields, self._lines = fields, None

    @property
    def lines(self) -> bytes:
        """The lines of the header fields, each with its end."""
        return lines_of(self._fields) if self._lines is None else self._lines

    def add(self, fields: tuple[Field, ...]) -> None:
        """Add header fields behind the others."""
        if self._lines is None:
            self._fields = [*self._fields, *fields]
        else:
            added, lines = Answer._added
            if fields is not added:
                lines = _lines_of_added(fields)
                Answer._added = fields, lines
            self._lines += lines

    async def send(self, send: Send, *, head: bool = False) -> None:
        """Send it in the two messages of ASGI; to a HEAD without its content (RFC 9110, section 9.3.2)."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": b"" if head else self.content})


def reply(run: Run, *, console_on: bool = True) -> Answer:
    """The answer to a run that has ended. While the console is on, it is at one origin with its pages. Raises Abandoned
    if the caller has its reply from a stream."""
    outcome = run.outcome
    headers = outcome.headers
    if headers is JSON_ALONE:  # the usual case: nothing to look at
        content = outcome.content
        return Answer(outcome.status, [], content, _USUAL % (run.id.encode(), len(content)))
    if outcome.state is State.WAITING:  # a 202, which no workflow has written
        return _answer(outcome.status, [*headers, (b"x-run-id", run.id.encode())], outcome.content)
    if is_replied(run):
        raise Abandoned
    return recorded_reply(run.id, outcome.status, headers, outcome.content, console_on=console_on)


async def reply_at_once(run: Run, _: Receive) -> Answer:
    """The answer to a run that was accepted, for callers that wait no longer."""
    return reply(run)


def problem_reply(shown: Problem, request_id: str, *, console_on: bool = True) -> Answer:
    """The answer that shows a problem (RFC 9457), which may be an author's."""
    content = to_json(shown.document(request_id), serialize_unknown=True)
    headers = [PROBLEM_JSON]
    if shown.headers:
        headers += header_lines(shown.headers)
        headers = on_one_origin(headers) if console_on else headers
    return _answer(shown.status, headers, content)


def recorded_reply(
    run_id: str, status: int, headers: Iterable[tuple[bytes, bytes]], content: bytes, *, console_on: bool = True
) -> Answer:
    """The answer to a run that has ended, from its record. While the console is on, it is at one origin with its
    pages."""
    fields = on_one_origin(headers) if console_on else headers
    return _answer(status, [*fields, (b"x-run-id", run_id.encode())], content)


def json_reply(status: int, content: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer of JSON that is not a workflow's."""
    fields = [(name.lower().encode(), text.encode("ascii")) for name, text in (headers or {}).items()]
    return _answer(status, [(b"content-type", b"application/json"), *fields], content)


def _answer(status: int, headers: list[tuple[bytes, bytes]], content: bytes) -> Answer:
    if status != 204:  # its head is its end, and it has no length (RFC 9110, section 8.6)
        headers.append((b"content-length", str(len(content)).encode()))
    return Answer(status, headers + ALWAYS, content)
