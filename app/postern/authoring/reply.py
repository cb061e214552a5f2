"""Reply: a response with a status and headers that the author chooses."""

from typing import Any

from postern.errors import Headers, checked_headers


class Reply:
    """A response with a status and headers that the author chooses: `return Reply(201, {"id": 7}, {"Location": "/x"})`.

    `status` is 2xx, 4xx or 5xx (Logic Apps allows no 3xx either). `body` is anything that pydantic can write as JSON,
    or bytes, which are sent unchanged (with `Content-Type: application/octet-stream` unless `headers` has another). A
    string is sent as it is, in UTF-8, if `headers` has a Content-Type that is not JSON. A header that is sent several
    times has a list of values: `{"Set-Cookie": ["a=1", "b=2"]}`.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int = 200, body: Any = None, headers: Headers | None = None) -> None:
        if not isinstance(status, int):
            kind = type(status).__name__
            raise ValueError(f"a Reply begins with its status, not with a {kind}: Reply(200, ...)")  # noqa: TRY004 - as in 0.1
        if not (200 <= status <= 299 or 400 <= status <= 599):
            raise ValueError(f"a Reply has a status of 2xx, 4xx or 5xx, not {status!r}")
        self.status = status
        self.body = body
        self.headers = checked_headers(headers)
