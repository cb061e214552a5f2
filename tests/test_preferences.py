"""The field Prefer of a request (RFC 7240): what cannot be read is ignored."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.preferences import preferences, prefers_async, wait_of
from tests.table import table


@table(
    ("field", "asynchronous", "seconds"),
    [
        (b"", False, 0.0),
        (b"respond-async", True, 0.0),
        (b"Respond-Async", True, 0.0),
        (b"return=minimal, respond-async , wait=10", True, 10.0),
        (b"respond-async; a=b, wait=1000", True, 60.0),
        (b'wait="5"', False, 5.0),
        (b"wait = 5", False, 5.0),
        (b"wait=5, wait=7", False, 5.0),
        (b"wait=-1", False, 0.0),
        (b"wait=1.5", False, 0.0),
        (b"wait=1e3", False, 0.0),
        (b"wait", False, 0.0),
        (b"respond-asynchronously", False, 0.0),
        (b'x="respond-async"', False, 0.0),
    ],
)
def test_a_caller_says_whether_and_for_how_long_it_waits(field: bytes, asynchronous: bool, seconds: float):
    assert (prefers_async(field), wait_of(field, 60.0)) == (asynchronous, seconds)


@pytest.mark.parametrize(
    "field", [b'foo="a, respond-async"', b'foo="a; respond-async, b"; c="d, respond-async"', b'a="b, respond-async, c"']
)
def test_what_is_within_quotes_is_no_preference(field: bytes):
    assert not prefers_async(field)


@given(st.binary(max_size=60))
def test_any_field_is_read(field: bytes):
    found = preferences(field)
    assert all(name == name.lower() for name in found)
    assert 0.0 <= wait_of(field, inf) < 1e9
