"""Reply: a response with a status and headers that the author chooses."""

from os import PathLike
from typing import Any

from postern.authoring.streams import EVENTS, OCTETS, File, Source, Stream
from postern.errors import Headers, Pairs, checked_headers

UNBUFFERED = {"X-Accel-Buffering": "no"}
"""It makes nginx pass events on as they come."""


class Reply:
    """A response with a status and headers that the author chooses: `return Reply(201, {"id": 7}, {"Location": "/x"})`.

    `status` is 2xx, 4xx or 5xx (Logic Apps allows no 3xx either). `body` is anything that pydantic can write as JSON,
    or bytes, which are sent unchanged (with `Content-Type: application/octet-stream` unless `headers` has another). A
    string is sent as it is, in UTF-8, if `headers` has a Content-Type that is not JSON. A header that is sent several
    times has a list of values: `{"Set-Cookie": ["a=1", "b=2"]}`. Headers may be pairs too: `[("Set-Cookie", "a=1"),
    ("Set-Cookie", "b=2")]`.

    `Reply.file`, `Reply.stream` and `Reply.events` are sent while the run goes on: it ends when they are sent.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int = 200, body: Any = None, headers: Headers | Pairs | None = None) -> None:
        if not isinstance(status, int):
            kind = type(status).__name__
            raise ValueError(f"a Reply begins with its status, not with a {kind}: Reply(200, ...)")  # noqa: TRY004 - as in 0.1
        if not (200 <= status <= 299 or 400 <= status <= 599):
            raise ValueError(f"a Reply has a status of 2xx, 4xx or 5xx, not {status!r}")
        self.status = status
        self.body = body
        self.headers = checked_headers(headers)

    @classmethod
    def file(
        cls,
        path: str | PathLike[str],
        *,
        content_type: str = "",
        filename: str = "",
        delete: bool = False,
        headers: Headers | Pairs | None = None,
    ) -> "Reply":
        """A file below the folder of the workflow's module, or in the folder for temporary files. A relative path is
        relative to the first. `content_type` is guessed from the name if it is left out. With `filename` a browser
        saves it under this name. `delete`: it is deleted when it was sent, or could not be. Parts of it can be
        requested (Range)."""
        return cls(200, File(path, filename, delete), _with_type(headers, content_type))

    @classmethod
    def stream(
        cls,
        source: Source,
        content_type: str = OCTETS,
        *,
        status: int = 200,
        headers: Headers | Pairs | None = None,
    ) -> "Reply":
        """Bytes or text, sent as an iterator gives them. A `def` generator runs in a thread of its workflow."""
        return cls(status, Stream(source), _with_type(headers, content_type))

    @classmethod
    def events(cls, source: Source, *, headers: Headers | Pairs | None = None) -> "Reply":
        """Server-sent events: an iterator of `Event`, of text, or of anything that pydantic can write as JSON. The
        workflow's `timeout` limits the whole stream."""
        return cls(200, Stream(source, events=True), {**UNBUFFERED, **_with_type(headers, EVENTS)})


def _with_type(headers: Headers | Pairs | None, content_type: str) -> Headers:
    given = checked_headers(headers)
    named = any(name.lower() == "content-type" for name in given)
    return given if named or not content_type else {**given, "Content-Type": content_type}
