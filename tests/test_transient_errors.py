"""Which errors are worth another attempt, and what Retry-After says."""

import asyncio
from email.utils import formatdate

import httpx2
import pytest

from postern import Problem
from postern.transient_errors import retry_after, worth_retrying
from tests.table import table

NOW = 1_700_000_000.0


def answered(status: int, headers: dict[str, str] | None = None) -> httpx2.HTTPStatusError:
    request = httpx2.Request("GET", "https://x.example")
    response = httpx2.Response(status, headers=headers, request=request)
    return httpx2.HTTPStatusError("MARKER", request=request, response=response)


class StatusError(Exception):
    def __init__(self, status: object, headers: object = None) -> None:
        self.status = status
        self.headers = headers


class Hostile(Exception):
    @property
    def status(self) -> int:
        raise RuntimeError

    @property
    def response(self) -> object:
        raise RuntimeError


@table(
    ("error", "expected"),
    [
        *((answered(status), True) for status in (408, 429, 500, 502, 503, 504, 599)),
        *((answered(status), False) for status in (301, 400, 401, 403, 404, 409, 422)),
        *((StatusError(status), True) for status in (408, 429, 500, 503)),
        *((StatusError(status), False) for status in (200, 400, 404, 600, "503", None, True, 503.0)),
        (Problem(503), True),
        (Problem(409), False),
        (httpx2.ConnectError("x"), True),
        (httpx2.ConnectTimeout("x"), True),
        (httpx2.ReadTimeout("x"), True),
        (httpx2.PoolTimeout("x"), True),
        (httpx2.RemoteProtocolError("x"), True),
        (httpx2.UnsupportedProtocol("x"), False),
        (httpx2.LocalProtocolError("x"), False),
        (httpx2.InvalidURL("x"), False),
        (TimeoutError(), True),
        (ConnectionResetError(), True),
        (ConnectionRefusedError(), True),
        (BrokenPipeError(), True),
        (FileNotFoundError(), False),
        (TypeError(), False),
        (ValueError(), False),
        (asyncio.CancelledError(), False),
        (KeyboardInterrupt(), False),
        (SystemExit(1), False),
        (Hostile(), False),
        (ExceptionGroup("x", [TimeoutError()]), False),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_only_transient_errors_are_worth_another_attempt(error, expected):
    assert worth_retrying(error) is expected


@table(
    ("text", "seconds"),
    [
        ("0", 0),
        ("17", 17),
        (" 17 ", 17),
        ("3.5", 3.5),
        ("120", 120),
        (formatdate(NOW + 30, usegmt=True), 30),
        (formatdate(NOW - 30, usegmt=True), 0),
        ("Tue Nov 14 22:13:50 2023", 30),
        ("-5", None),
        ("1.", None),
        (".5", None),
        ("1e3", None),
        ("1.5.2", None),
        ("inf", None),
        ("soon", None),
        ("", None),
        ("9" * 400, None),
        ("\u0663", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text, seconds):
    """RFC 9110, section 10.2.3. A value that is neither a number nor a date is ignored."""
    assert retry_after(StatusError(503, {"Retry-After": text}), NOW) == seconds
    if text.isascii():
        assert retry_after(answered(503, {"retry-after": text}), NOW) == seconds


@pytest.mark.parametrize(
    "error", [TimeoutError(), StatusError(503), StatusError(503, 7), Hostile(), StatusError(503, {"Retry-After": 5})]
)
def test_an_error_without_a_usable_retry_after_gives_no_wait(error):
    assert retry_after(error, NOW) is None
