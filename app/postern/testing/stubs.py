"""What outside systems reply in a test: stubs of connections and triggers, matched by method and path. Pure."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

Bodies = Mapping[str, Any] | list[Any] | str | bytes | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that a workflow sent. `path` is below the address of its connection. Its credential is not kept."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)

    def json(self) -> Any:
        """Its body, read as JSON."""
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """Its body as text."""
        return self.body.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Replied:
    """A reply of an outside system. `error` is what the connection fails with, in place of a reply."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    error: str = ""


Answer = Replied | Callable[[Sent], Any]


def replied(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Replied:
    """A reply with this body: bytes and text as they are, all else as JSON; None is no body."""
    if isinstance(body, Replied):
        return body
    own = {name.lower(): value for name, value in (headers or {}).items()}
    if body is None:
        return Replied(status, own)
    if isinstance(body, bytes):
        return Replied(status, {"content-type": "application/octet-stream"} | own, body)
    if isinstance(body, str):
        return Replied(status, {"content-type": "text/plain; charset=utf-8"} | own, body.encode())
    return Replied(status, {"content-type": "application/json"} | own, json.dumps(body, default=str).encode())


class Stub:
    """One stubbed request. What is declared first is replied first, and the last reply is repeated."""

    def __init__(self, method: str, path: str, query: Mapping[str, str] | None = None) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.calls: list[Sent] = []
        self._answers: list[Answer] = []

    def __repr__(self) -> str:
        return f"<stub of {self.method or 'any method'} {self.path or 'any path'}, called {len(self.calls)} times>"

    def replies(self, json: Any = None, *, status: int = 200, headers: Mapping[str, str] | None = None) -> "Stub":
        """Reply with this body: JSON, or text or bytes as they are. A function gets the request (`Sent`) and returns
        the body."""
        if callable(json):
            made = json
            self._answers.append(lambda sent: replied(made(sent), status, headers))
        else:
            self._answers.append(replied(json, status, headers))
        return self

    def fails(self, how: int | str = "connect", *, times: int = 1, then: Any = ...) -> "Stub":
        """Fail so many `times`: with a status, or `"connect"` and `"timeout"` for a system that cannot be reached or is
        too slow. `then` is the body of the replies that follow; without it, every request fails."""
        failed = Replied(how) if isinstance(how, int) else Replied(error=_error(how))
        self._answers += [failed] * times
        return self if then is ... else self.replies(then)

    def answer(self, sent: Sent) -> Replied | None:
        """The reply to this request, None if nothing was declared."""
        if not self._answers:
            return None
        self.calls.append(sent)
        found = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return found if isinstance(found, Replied) else found(sent)

    def fits(self, sent: Sent) -> bool:
        """Whether it is for this request."""
        return (
            self.method in ("", sent.method)
            and self.path in ("", sent.path)
            and (self.query is None or all(sent.query.get(name) == str(value) for name, value in self.query.items()))
        )


class Stubs:
    """The stubs of one connection or trigger. What is declared last counts first. `calls` has every request."""

    def __init__(self) -> None:
        self.calls: list[Sent] = []
        self.declared: list[Stub] = []

    def stub(self, method: str, path: str, query: Mapping[str, str] | None) -> Stub:
        """The stub of such requests, the same one each time."""
        path = path if path.startswith("/") or not path else f"/{path}"
        path, _, written = path.partition("?")
        query = dict(parse_qsl(written, keep_blank_values=True)) | dict(query or {}) if written or query else None
        for each in self.declared:
            if (each.method, each.path, each.query) == (method, path, query):
                return each
        self.declared.append(made := Stub(method, path, query))
        return made

    def answer(self, sent: Sent) -> Replied | None:
        """The reply to a request, None if no stub fits."""
        self.calls.append(sent)
        return next(
            (found for each in reversed(self.declared) if each.fits(sent) and (found := each.answer(sent))), None
        )


def _error(how: str) -> str:
    if how not in ("connect", "timeout"):
        raise ValueError(f'fails({how!r}): write a status such as 429, or "connect" or "timeout"')
    return how


def line_to_paste(of: str, name: str, sent: Sent) -> str:
    """The line that stubs a request."""
    if of == "triggers":
        return f'triggers["{name}"].replies({{...}})'
    method = sent.method.lower()
    known = method in ("get", "post", "put", "patch", "delete")
    called = f'{method}("{sent.path}")' if known else f'request("{sent.method}", "{sent.path}")'
    return f'connections["{name}"].{called}.replies({{...}})'
