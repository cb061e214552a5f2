"""Exactly one well-formed Bearer field gives a token; anything else is refused without a word of its content."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.access import Refused
from postern.identity.bearer import MAX_TOKEN_BYTES, bearer_token
from tests.table import table

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"
CONSTANT = re.compile(
    r"a token|\d+ (fields|bytes)|no Authorization field|another scheme|characters that do not belong in a token"
)


def authorization(*values: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"postern.test"), *((b"authorization", value) for value in values), (b"accept", b"*/*")]


@pytest.mark.parametrize("value", [b"Bearer a.b.c", b"bearer a.b.c", b"BEARER a.b.c", b"Bearer   a.b.c"])
def test_the_scheme_is_read_in_any_case_and_before_any_number_of_spaces(value):
    assert bearer_token(authorization(value)) == "a.b.c"


@pytest.mark.parametrize(
    "values",
    [
        [],
        [b"Basic bGlzYTpzZWNyZXQ="],
        [b"BearerX a.b.c"],
        [b"DPoP a.b.c"],
        [b"Basic x, Bearer y"],
        [b"Bearer\ta.b.c"],
        [b""],
    ],
)
def test_no_field_or_another_scheme_is_no_credentials(values):
    with pytest.raises(Refused) as caught:
        bearer_token(authorization(*values))
    assert caught.value.failed.name == "credentials"


@table(
    "values",
    [
        [b"Bearer"],
        [b"Bearer "],
        [b"Bearer \ta.b.c"],
        [b"Bearer a.b.c "],
        [b"Bearer a.b .c"],
        [b"Bearer a.b.c\n"],
        [b"Bearer a.b.c\x00"],
        [b"Bearer a.b.c, Bearer d.e.f"],
        [b'Bearer "a.b.c"'],
        [b"Bearer ==="],
        [b"Bearer a=b"],
        [b"Bearer \xc3\xa4"],
        [b"Bearer a.b.c", b"Bearer a.b.c"],
        [b"Bearer a.b.c", b"Basic x"],
        [b"Basic x", b"Bearer a.b.c"],
        [b"Bearer " + b"a" * (MAX_TOKEN_BYTES + 1)],
    ],
)
def test_a_malformed_field_or_several_are_rejected(values):
    with pytest.raises(Refused) as caught:
        bearer_token(authorization(*values))
    assert caught.value.failed.name == "authorization-header"
    assert not caught.value.proved


@given(st.lists(st.tuples(st.sampled_from([b"authorization", b"cookie"]), st.binary(max_size=60)), max_size=3))
def test_any_headers_give_a_token_or_a_refusal_that_shows_nothing_of_them(headers):
    try:
        found = bearer_token(headers) and "a token"
    except Refused as refused:
        found = refused.failed.found
    assert CONSTANT.fullmatch(found)


@given(st.text(ALPHABET, min_size=1, max_size=200), st.integers(0, 2), st.integers(1, 3))
def test_every_b64token_comes_out_as_it_went_in(body, pads, spaces):
    token = body + "=" * pads
    assert bearer_token(authorization(b"Bearer" + b" " * spaces + token.encode())) == token
