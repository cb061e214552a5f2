"""Reply: a response with a status and headers that the author chooses."""

from collections.abc import Mapping
from typing import Any

from postern.errors import checked_headers


class Reply:
    """A response with a status and headers that the author chooses: `return Reply(201, {"id": 7}, {"Location": "/x"})`.

    `status` is 2xx, 4xx or 5xx (Logic Apps allows no 3xx either). `body` is anything that pydantic can write as JSON,
    or bytes, which are sent unchanged (with `Content-Type: application/octet-stream` unless `headers` has another).
    """

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int = 200, body: Any = None, headers: Mapping[str, str] | None = None) -> None:
        if not isinstance(status, int) or not (200 <= status <= 299 or 400 <= status <= 599):
            raise ValueError(f"a Reply has a status of 2xx, 4xx or 5xx, not {status!r}")
        self.status = status
        self.body = body
        self.headers = checked_headers(headers)
