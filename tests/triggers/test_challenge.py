"""The 401 of a rejected caller, by RFC 6750: it says what failed only if the token was issued by one of our tenants."""

import pytest

from postern.access import Check, Refused
from postern.errors import PROBLEMS
from postern.triggers.challenge import unauthenticated


@pytest.mark.parametrize(
    ("check", "proved", "challenge"),
    [
        (Check("credentials", False), False, "Bearer"),
        (Check("authorization-header", False), False, 'Bearer error="invalid_request"'),
        (Check("signature", False, advice="never shown"), False, 'Bearer error="invalid_token"'),
        (
            Check("expiry", False, advice="It has expired."),
            True,
            'Bearer error="invalid_token", error_description="It has expired."',
        ),
        (
            Check("scope", False, frozenset({"b", "a"}), advice='Ask for "a".'),
            True,
            'Bearer error="insufficient_scope", error_description="Ask for a.", scope="a b"',
        ),
    ],
)
def test_the_challenge_of_each_kind_of_refusal(check, proved, challenge):
    problem = unauthenticated(Refused([check], proved=proved))
    assert problem.status == 401
    assert problem.headers == {"WWW-Authenticate": challenge}


def test_who_proved_nothing_hears_one_constant_sentence():
    refusals = [
        Refused([Check(name, False, "expected", "found", "advice")]) for name in ("credentials", "key", "expiry")
    ]
    assert {unauthenticated(refused).detail for refused in refusals} == {PROBLEMS["unauthenticated"].detail}


def test_an_advice_cannot_break_out_of_the_challenge():
    refused = Refused([Check("audience", False, advice='x", realm="evil\r\nSet-Cookie: a=b\\')], proved=True)
    challenge = unauthenticated(refused).headers["WWW-Authenticate"]
    assert challenge == 'Bearer error="invalid_token", error_description="x, realm=evilSet-Cookie: a=b"'
