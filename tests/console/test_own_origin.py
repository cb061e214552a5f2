"""Which requests may change something: those of the console's own pages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.console.own_origin import foreign, origin_of
from tests.table import table

OWN = "https://postern.example"


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("https://postern.example/base", "https://postern.example"),
        ("https://Postern.Example:443", "https://postern.example"),
        ("https://postern.example:8443", "https://postern.example:8443"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost:80", "http://localhost"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_an_origin_is_written_as_browsers_write_it(address: str, origin: str):
    assert origin_of(address) == origin


@table(
    ("sent", "allowed"),
    [
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "same-origin", "origin": OWN}, True),
        ({"sec-fetch-site": "same-origin", "origin": "null"}, True),  # no page can set what the browser says here
        ({"sec-fetch-site": "same-site", "origin": OWN}, False),
        ({"sec-fetch-site": "cross-site", "origin": "https://evil.example"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": ""}, False),
        ({"sec-fetch-site": "same-origin, cross-site"}, False),
        ({"origin": OWN}, True),
        ({"origin": "null"}, False),
        ({"origin": "http://postern.example"}, False),
        ({"origin": "https://postern.example:8443"}, False),
        ({"origin": "https://postern.example.evil.example"}, False),
        ({"origin": "https://evil.example"}, False),
        ({"referer": OWN + "/console"}, False),
        ({}, False),
    ],
)
@table("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_form_is_taken_from_the_consoles_own_origin_only(method: str, sent: dict[str, str], allowed: bool):
    headers = [(name.encode(), value.encode()) for name, value in sent.items()]
    assert (foreign(method, headers, OWN) == "") is allowed


@pytest.mark.parametrize("name", [b"origin", b"sec-fetch-site"])
def test_a_header_that_comes_twice_proves_nothing(name: bytes):
    value = b"same-origin" if name == b"sec-fetch-site" else OWN.encode()
    assert foreign("POST", [(name, value)], OWN) == ""
    assert foreign("POST", [(name, value), (name, value)], OWN)


@given(st.sampled_from(["GET", "HEAD"]), st.lists(st.tuples(st.just(b"origin"), st.binary(max_size=20))))
def test_what_only_reads_may_come_from_anywhere(method: str, headers: list[tuple[bytes, bytes]]):
    assert foreign(method, headers, OWN) == ""


@given(st.binary(max_size=200))
def test_the_reason_is_printable_whatever_was_sent(value: bytes):
    reason = foreign("POST", [(b"origin", value)], OWN)
    assert reason.isprintable()
    assert len(reason) < 500
