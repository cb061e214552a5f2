"""Which errors are worth another attempt, and when the other side requests it. Pure functions."""

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from postern.authoring.call_result import CallError
from postern.http_client import (
    HTTPStatusError,
    LocalProtocolError,
    Response,
    TransportError,
    UnsupportedProtocol,
)

_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
"""Whole seconds as in RFC 9110, or with a fraction, as some gateways write them."""


def worth_retrying(error: BaseException) -> bool:
    """Whether the same call may succeed a little later: the other side could not be reached, did not answer in time, or
    answered 408, 429 or 5xx. Errors of this side, and the outcome of a run that was called, are not retried."""
    if isinstance(error, UnsupportedProtocol | LocalProtocolError):
        return False
    if isinstance(error, TransportError | TimeoutError | ConnectionError):
        return True
    if isinstance(error, CallError) and (error.final or error.status == 0):
        return not error.final
    status = _status(error)
    return status in (408, 429) or 500 <= status <= 599


def retry_after(error: BaseException | Response, now: float) -> float | None:
    """In how many seconds the other side wants the next attempt (RFC 9110, section 10.2.3). None if neither the
    response nor the error's response says so. `now` is the time of day, in seconds since 1970."""
    try:
        headers: Any = getattr(getattr(error, "response", error), "headers", {})
        text = headers.get("Retry-After") or headers.get("retry-after") or ""
        if _SECONDS.fullmatch(text.strip()):
            return float(text)
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(0.0, moment.timestamp() - now)
    except Exception:  # an author's error may have anything under these names
        return None


def _status(error: BaseException) -> int:
    """The HTTP status of an error; 0 if it has none."""
    try:
        status = error.response.status_code if isinstance(error, HTTPStatusError) else getattr(error, "status", 0)
    except Exception:  # an author's error may have anything under this name
        return 0
    return status if isinstance(status, int) else 0
