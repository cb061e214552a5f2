"""Answers of token endpoints: whatever comes, it is a usable token or a fault that repeats nothing."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postern.connections.auth.token_cache import Token
from postern.connections.auth.token_response import Answer, TokenFault, read_token
from tests.table import table

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "access_token": JSON | st.just("token"),
        "token_type": JSON | st.sampled_from(["Bearer", "bearer"]),
        "expires_in": JSON,
        "error": JSON | st.sampled_from(["invalid_client", "invalid_scope"]),
    },
)


def usable(answer: Answer) -> None:
    """A token that a header can carry and a sensible life, or a fault in our own words."""
    try:
        token = read_token(answer)
    except TokenFault as fault:
        assert fault.wrong.isascii()
        assert fault.wrong.isprintable()
        assert fault.fix
    else:
        assert 200 <= answer.status <= 299
        assert all("!" <= character <= "~" for character in token.value)
        assert 0 <= token.seconds <= 86_400


@given(st.integers(100, 599), st.binary(max_size=200))
def test_any_bytes(status: int, body: bytes):
    usable(Answer(status, body))


@given(st.sampled_from([200, 201, 302, 400, 401, 429, 500]), MEMBERS)
@example(200, {"access_token": "token", "token_type": "Bearer", "expires_in": "1_000"})
@example(200, {"access_token": "token", "token_type": "Bearer", "expires_in": "9" * 5000})
@example(200, {"access_token": "\ud800", "token_type": "Bearer"})
def test_any_members(status: int, members: dict[str, Any]):
    usable(Answer(status, json.dumps(members).encode()))


@table(
    "members",
    [
        {},
        {"token_type": None},
        {"token_type": ""},
        {"token_type": "Bearer"},
        {"token_type": "BEARER"},
        {"token_type": " bearer "},
        {"token_type": "BearerToken"},
        {"error": None},
        {"error": ""},
        {"error": False, "error_description": None},
    ],
)
@table("mark", [b"", b"\xef\xbb\xbf"])
def test_what_providers_leave_out_or_empty_is_no_fault(members: dict[str, Any], mark: bytes):
    body = mark + json.dumps({"access_token": "T1", "expires_in": 60, **members}).encode()
    assert read_token(Answer(200, body)) == Token("T1", 60)


def test_a_text_in_another_encoding_beside_a_token_does_no_harm():
    assert (
        read_token(Answer(200, '{"access_token":"T1","expires_in":60,"user":"\xfc"}'.encode("latin-1"))).value == "T1"
    )


@pytest.mark.parametrize("members", [{"token_type": "mac"}, {"token_type": "DPoP"}, {"token_type": 1}, {"error": 0.5}])
def test_another_type_or_an_error_beside_a_token_is_a_fault(members: dict[str, Any]):
    with pytest.raises(TokenFault):
        read_token(Answer(200, json.dumps({"access_token": "T1", **members}).encode()))


@given(st.text(min_size=12))
def test_an_unknown_error_code_is_not_repeated(code: str):
    body = json.dumps({"error": f"planted{code}", "error_description": "planted"}).encode()
    with pytest.raises(TokenFault) as caught:
        read_token(Answer(400, body))
    assert "planted" not in caught.value.wrong + caught.value.fix
