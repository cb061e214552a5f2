"""The bearer token of a request to the vault or to Graph."""

import re

from starlette.requests import Request

_BEARER = re.compile(r"bearer ([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)


def bearer_token(request: Request) -> str | None:
    """The token of the request's only Authorization field (RFC 6750, section 2.1); None if there is no such field."""
    fields = request.headers.getlist("authorization")
    found = _BEARER.fullmatch(fields[0]) if len(fields) == 1 else None
    return found[1] if found else None
