"""The 401 of a rejected caller, by RFC 6750: it says what failed only if the token was issued by one of our tenants."""

import pytest

from postern.access import Caller, Check, Refused, claims_request
from postern.errors import PROBLEMS
from postern.triggers.challenge import claims_challenge, unauthenticated


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


def test_a_client_that_handles_challenges_gets_the_claims_of_the_next_token():
    """The example of Microsoft's page "Claims challenges, claims requests and client capabilities"."""
    check = Check("auth-context", False, "c1", frozenset(), advice="Sign in again.")
    problem = unauthenticated(Refused([check], proved=True, claims=claims_request.auth_context("c1")))
    assert (problem.status, problem.detail, problem.reason) == (401, "Sign in again.", "auth-context")
    assert problem.headers == {
        "WWW-Authenticate": 'Bearer realm="", '
        'authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", error="insufficient_claims", '
        'claims="eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzEifX19"'
    }


def test_the_challenge_names_the_cloud_of_the_tenant():
    challenge = claims_challenge("{}", "https://login.partner.microsoftonline.cn")
    assert 'authorization_uri="https://login.partner.microsoftonline.cn/common/oauth2/authorize"' in challenge


@pytest.mark.parametrize(
    ("request_", "claims"),
    [
        (claims_request.auth_context("c25"), '{"access_token":{"acrs":{"essential":true,"value":"c25"}}}'),
        (claims_request.issued_since(1604106651.7), '{"access_token":{"nbf":{"essential":true,"value":"1604106651"}}}'),
    ],
)
def test_a_claims_request_is_minified_json(request_, claims):
    assert request_ == claims


@pytest.mark.parametrize(
    ("capabilities", "gets"),
    [
        ({"cp1"}, "{}"),
        ({"cp1", "protapp"}, "{}"),
        ({"CP1"}, "{}"),
        ({"cp10", "xcp1"}, ""),
        (set(), ""),
    ],
)
def test_only_a_client_that_declares_cp1_is_challenged(capabilities, gets):
    caller = Caller("user", capabilities=frozenset(capabilities))
    assert claims_request.for_client_of(caller, "{}") == gets


def test_a_caller_who_has_to_wait_is_told_how_long():
    shown = unauthenticated(Refused([Check("revoked", False, advice="Wait.")], proved=True, retry_after=42))
    assert shown.headers["Retry-After"] == "42"
