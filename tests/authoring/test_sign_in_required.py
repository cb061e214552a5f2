"""The challenge of a run that acts on behalf of its caller, if the caller has to sign in again."""

from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.authoring.sign_in_required import SignInRequired
from postern.errors import checked_headers


@pytest.mark.parametrize(
    ("claims", "challenge"),
    [
        ("", 'Bearer error="invalid_token"'),
        ('{"a":1}', 'Bearer realm="", error="insufficient_claims", claims="eyJhIjoxfQ=="'),
    ],
)
def test_the_challenge_has_the_claims(claims: str, challenge: str):
    assert SignInRequired("connections.me", "Sign in again.", claims).challenge == challenge


@given(st.text(min_size=1))
def test_claims_cannot_break_out_of_the_header(claims: str):
    challenge = SignInRequired("connections.me", "Sign in again.", claims.encode("utf-8", "replace").decode()).challenge
    checked_headers({"WWW-Authenticate": challenge})
    encoded = challenge.partition('claims="')[2].removesuffix('"')
    assert b64decode(encoded, validate=True) == claims.encode("utf-8", "replace")
