"""The sixth step: the response, and how it is sent."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from postern.errors import Problem, header_lines
from postern.journal.run import Run

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

ALWAYS = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
"""No response may be stored (RFC 6750, section 5.3) or interpreted as another type than it declares."""


@dataclass(slots=True)  # not frozen: one is made for each request
class Answer:
    """A whole HTTP answer."""

    status: int
    headers: list[tuple[bytes, bytes]]
    content: bytes

    async def send(self, send: Send, *, head: bool = False) -> None:
        """Send it in the two messages of ASGI; to a HEAD without its content (RFC 9110, section 9.3.2)."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": b"" if head else self.content})


def reply(run: Run) -> Answer:
    """The answer to a run that has ended."""
    outcome = run.outcome
    return _answer(outcome.status, [*outcome.headers, (b"x-run-id", run.id.encode())], outcome.content)


def problem_reply(shown: Problem, request_id: str) -> Answer:
    """The answer that shows a problem (RFC 9457)."""
    content = to_json(shown.document(request_id), serialize_unknown=True)
    headers = [(b"content-type", b"application/problem+json"), *header_lines(shown.headers)]
    return _answer(shown.status, headers, content)


def recorded_reply(run_id: str, status: int, headers: Iterable[tuple[bytes, bytes]], content: bytes) -> Answer:
    """The answer to a run that has ended, from its record."""
    return _answer(status, [*headers, (b"x-run-id", run_id.encode())], content)


def json_reply(status: int, content: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer of JSON that is not a workflow's."""
    fields = [(name.lower().encode(), text.encode("ascii")) for name, text in (headers or {}).items()]
    return _answer(status, [(b"content-type", b"application/json"), *fields], content)


def _answer(status: int, headers: list[tuple[bytes, bytes]], content: bytes) -> Answer:
    if status != 204:  # its head is its end, and it has no length (RFC 9110, section 8.6)
        headers.append((b"content-length", str(len(content)).encode()))
    return Answer(status, headers + ALWAYS, content)
