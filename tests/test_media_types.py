"""Which Content-Types are JSON, and in UTF-8."""

import pytest

from postern.media_types import is_json, is_plain, is_utf8
from tests.table import table


@table(
    ("content_type", "json", "utf8"),
    [
        (b"application/json", True, True),
        (b"Application/JSON; charset=UTF-8", True, True),
        (b'application/json;charset="utf-8"', True, True),
        (b"application/json; charset=utf8", True, True),
        (b"application/json; Charset = 'ASCII'", True, True),
        (b"application/json; odata.metadata=minimal; charset=utf-8", True, True),
        (b"text/json", True, True),
        (b"application/vnd.api+json", True, True),
        (b"application/problem+json", True, True),
        (b"application/json; charset=utf-16", True, False),
        (b"application/json; charset=latin-1", True, False),
        (b"application/json; charset=utf-8; charset=latin-1", True, False),
        (b"text/plain", False, True),
        (b"text/plain; charset=iso-8859-1", False, False),
        (b"application/x-www-form-urlencoded", False, True),
        (b"application/jsonp", False, True),
        (b"+json", False, True),
        (b"text/plain; application/json", False, True),
        (b"", False, True),
        (b"a" * 300, False, True),
        (b"application/json;" + b" " * 300, False, True),
        (None, False, True),
    ],
)
def test_a_content_type_names_json_and_utf8(content_type: bytes | None, json: bool, utf8: bool):
    assert (is_json(content_type), is_utf8(content_type)) == (json, utf8)


@pytest.mark.parametrize("content_type", [None, b"", b" ", b"text/plain", b"Text/Plain; charset=UTF-8"])
def test_some_types_leave_open_what_a_body_is(content_type: bytes | None):
    assert is_plain(content_type)


@pytest.mark.parametrize("content_type", [b"text/html", b"application/json", b"x" * 300, b"application/octet-stream"])
def test_others_do_not(content_type: bytes):
    assert not is_plain(content_type)
