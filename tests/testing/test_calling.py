"""The body of a request, as `call` writes it."""

from datetime import date
from typing import Any

import pytest
from pydantic import BaseModel

from postern.testing.calling import _UNSET, _body


class Order(BaseModel):
    """A model, as authors have them."""

    item: str
    on: date


@pytest.mark.parametrize(
    ("given", "body", "kind"),
    [
        ({}, b"", ""),
        ({"json": {"a": 1}}, b'{"a": 1}', "application/json"),
        ({"json": None}, b"null", "application/json"),
        ({"json": Order(item="pen", on=date(2026, 3, 1))}, b'{"item": "pen", "on": "2026-03-01"}', "application/json"),
        (
            {"json": {"a": 1}, "content_type": "application/merge-patch+json"},
            b'{"a": 1}',
            "application/merge-patch+json",
        ),
        ({"data": "text"}, b"text", ""),
        ({"data": b"\xff", "content_type": "image/png"}, b"\xff", "image/png"),
        ({"form": {"a": "1 2", "b": ["x", "y"]}}, b"a=1+2&b=x&b=y", "application/x-www-form-urlencoded"),
    ],
)
def test_a_body_and_its_type(given: dict[str, Any], body: bytes, kind: str):
    parts = {"json": _UNSET, "data": None, "content_type": "", "form": None, "files": None} | given
    assert _body(**parts) == (body, kind)


def test_files_are_sent_with_the_form():
    body, kind = _body(_UNSET, None, "", {"title": "Plan"}, {"file": ("plan.txt", b"hello", "text/plain")})
    assert kind.startswith("multipart/form-data; boundary=")
    for text in (b'name="title"', b"Plan", b'name="file"; filename="plan.txt"', b"Content-Type: text/plain", b"hello"):
        assert text in body


def test_a_request_has_one_body():
    with pytest.raises(ValueError, match="leave out form or files"):
        _body({"a": 1}, None, "", {"b": "2"}, None)
