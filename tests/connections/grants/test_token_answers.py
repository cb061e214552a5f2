"""What a token endpoint's response to a code or a refresh token becomes: tokens, or why there are none."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postern.connections.auth.token_response import Answer
from postern.connections.grants.accounts import instance_url
from postern.connections.grants.provider import RefusedByProvider
from postern.connections.grants.reasons import OF_AADSTS, OF_ERROR, REASONS, reason_of
from postern.connections.grants.token_answers import (
    LONGEST_SECONDS,
    MOST_SCOPES,
    TokenAnswer,
    claims_in,
    lifetime,
    numbers_in,
    read_answer,
    scopes_in,
)
from postern.journal.grants import LONGEST, Renewed
from tests.table import table

MARKER = "planted~S3cret.Value"
CODES = {
    "",
    "access_denied",
    "interaction_required",
    "invalid_client",
    "invalid_grant",
    "invalid_request",
    "invalid_scope",
    "invalid_target",
    "other",
    "unauthorized_client",
    "unsupported_grant_type",
}
"""Every code that a caller of the provider may see."""


def answer(status: int = 200, **members: Any) -> Answer:
    return Answer(status, json.dumps(members).encode())


def refusal(found: Answer, after: float | None = None) -> RefusedByProvider:
    with pytest.raises(RefusedByProvider) as raised:
        read_answer(found, after)
    return raised.value


@table(
    ("members", "expected"),
    [
        ({}, TokenAnswer("t")),
        ({"token_type": "Bearer", "expires_in": 3599}, TokenAnswer("t", seconds=3599)),
        ({"token_type": "bearer", "expires_in": "28800", "refresh_token": "r", "refresh_token_expires_in": "15811200",
          "scope": ""}, TokenAnswer("t", "r", seconds=28800, refresh_seconds=15811200, scopes=())),
        ({"refresh_expires_in": 0, "expires_in": 0}, TokenAnswer("t")),
        ({"scope": "repo,user:email"}, TokenAnswer("t", scopes=("repo", "user:email"))),
        ({"scope": "User.Read openid  profile openid"}, TokenAnswer("t", scopes=("User.Read", "openid", "profile"))),
        ({"scope": ["a", "b"]}, TokenAnswer("t", scopes=("a", "b"))),
        ({"scope": None, "refresh_token": None, "id_token": None, "expires_in": None}, TokenAnswer("t")),
        ({"scope": 5, "refresh_token": 5, "id_token": {}, "expires_in": True}, TokenAnswer("t")),
        ({"refresh_token": "two\nlines"}, TokenAnswer("t")),
        ({"id_token": "a.b.c", "instance_url": "https://x.my.salesforce.com", "id": "https://x/id/1/2"},
         TokenAnswer("t", id_token="a.b.c", instance_url="https://x.my.salesforce.com", id="https://x/id/1/2")),
        ({"error": None}, TokenAnswer("t")),
    ],
)  # fmt: skip
def test_tokens_are_read_with_what_the_provider_says_beside_them(members: dict[str, Any], expected: TokenAnswer):
    assert read_answer(answer(access_token="t", **members)) == expected


@table(
    ("found", "code", "reason"),
    [
        (answer(400, error="invalid_grant"), "invalid_grant", "ended"),
        (answer(200, error="bad_refresh_token"), "invalid_grant", "ended"),
        (answer(200, error="bad_verification_code"), "invalid_grant", "ended"),
        (answer(200, error="incorrect_client_credentials"), "invalid_client", "client-rejected"),
        (answer(400, error="invalid_client_id"), "invalid_client", "client-rejected"),
        (answer(401, error="invalid_client"), "invalid_client", "client-rejected"),
        (answer(401), "invalid_client", "client-rejected"),
        (answer(400, error="unauthorized_client"), "unauthorized_client", "client-rejected"),
        (answer(400, error="invalid_scope"), "invalid_scope", "wrong-scopes"),
        (answer(400, error="invalid_request"), "invalid_request", "provider-rejects"),
        (answer(400, error="made_up"), "other", "provider-rejects"),
        (answer(400, error=["invalid_grant"]), "other", "provider-rejects"),
        (answer(400, error={"code": 190, "type": "OAuthException"}), "invalid_grant", "ended"),
        (answer(400, error={"code": 1}), "other", "provider-rejects"),
        (answer(400, error="login_required"), "interaction_required", "interaction-required"),
        (answer(400, error="consent_required"), "interaction_required", "consent"),
        (answer(200, error="redirect_uri_mismatch"), "invalid_request", "redirect-uri"),
        (answer(400, error="invalid_resource"), "other", "wrong-scopes"),
        (answer(400, error="interaction_required", error_codes=[50076]), "interaction_required", "mfa-required"),
        (answer(400, error="invalid_grant", error_codes=[50173]), "invalid_grant", "revoked"),
        (answer(400, error="invalid_grant", error_description="AADSTS700082: x"), "invalid_grant", "expired-unused"),
        (answer(400, error="invalid_grant", error_description="AADSTS70043: x"), "invalid_grant", "sign-in-frequency"),
        (answer(400, error="invalid_grant", error_codes=[1, 53003]), "invalid_grant", "conditional-access"),
        # A number decides what is said, and never what is done.
        (answer(400, error="invalid_request", error_codes=[50173]), "invalid_request", "revoked"),
        (answer(401, error="invalid_client", error_codes=[7000215]), "invalid_client", "client-rejected"),
        # Nothing that may pass ends a grant, whatever it says.
        (answer(500, error="invalid_grant"), "", "provider-unavailable"),
        (answer(503), "", "provider-unavailable"),
        (answer(408), "", "provider-unavailable"),
        (answer(429, error="invalid_grant"), "", "too-many-requests"),
        (answer(400, error="temporarily_unavailable"), "", "provider-unavailable"),
        (answer(400, error="slow_down"), "", "provider-unavailable"),
        (answer(302), "", "provider-rejects"),
        (answer(404), "", "provider-rejects"),
        (answer(400), "", "provider-rejects"),
        (answer(200), "", "provider-rejects"),
        (answer(200, access_token=""), "", "provider-rejects"),
        (answer(200, access_token="a b"), "", "provider-rejects"),
        (answer(200, access_token="t", token_type="mac"), "", "provider-rejects"),
        (Answer(200, b"<html>Sign in</html>"), "", "provider-rejects"),
        (Answer(403, b"<html>Blocked</html>"), "", "provider-rejects"),
        (Answer(200, b""), "", "provider-rejects"),
        (Answer(200, b"[1]"), "", "provider-rejects"),
    ],
)  # fmt: skip
def test_a_response_without_tokens_has_the_code_to_act_by_and_the_reason_to_show(found: Answer, code: str, reason: str):
    refused = refusal(found)
    assert (refused.code, refused.reason) == (code, reason)
    assert refused.reason in REASONS
    assert refused.wrong
    assert refused.fix
    assert not refused.fix.endswith(".")


def test_the_time_of_the_next_attempt_is_the_provider_s():
    assert refusal(answer(429), 7.5).retry_after == 7.5
    assert refusal(answer(503)).retry_after is None


def test_a_challenge_goes_into_the_next_authorization_request():
    claims = json.dumps({"access_token": {"acrs": {"essential": True, "value": "c1"}}})
    found = refusal(answer(400, error="interaction_required", error_codes=[50079], claims=claims))
    assert (found.claims, found.reason) == (claims, "mfa-required")


@pytest.mark.parametrize(("claims", "reason"), [('{"access_token":{}}', "interaction-required"), ("[]", "ended")])
def test_a_grant_that_ends_with_a_challenge_needs_a_person(claims: str, reason: str):
    found = refusal(answer(400, error="invalid_grant", claims=claims))
    assert (found.code, found.reason) == ("invalid_grant", reason)


@table("claims", [None, 5, {}, "", "text", "[1]", "5", '{"a": "ä"}', json.dumps({"a": "x" * 9000})])
def test_what_is_no_challenge_is_left_out(claims: Any):
    assert claims_in({"claims": claims}) == ""


@pytest.mark.parametrize(
    ("document", "numbers"),
    [
        ({"error_codes": [50173, 65001]}, (50173, 65001)),
        ({"error_codes": ["50173", True, None]}, ()),
        ({"error_codes": [], "error_description": "AADSTS50079: x AADSTS50076"}, (50079, 50076)),
        ({"error_codes": 5, "error_description": 5}, ()),
        ({}, ()),
    ],
)
def test_the_numbers_of_entra(document: dict[str, Any], numbers: tuple[int, ...]):
    assert numbers_in(document) == numbers


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
WRITTEN = (
    "access_token refresh_token id_token expires_in refresh_token_expires_in scope token_type error error_codes "
    "error_description claims instance_url id"
)
NAMES = st.sampled_from(WRITTEN.split())


@given(st.integers(100, 599), st.dictionaries(NAMES, JSON | st.just("invalid_grant"), max_size=6))
@example(200, {"access_token": "t", "expires_in": "1e999"})
@example(200, {"access_token": "t", "expires_in": 10**400})
@example(400, {"error": "invalid_grant", "error_codes": [10**400]})
def test_any_response_becomes_tokens_or_a_code_that_is_known(status: int, members: dict[str, Any]):
    """Only tokens that a header can carry are used, lifetimes are finite, and no other error than ours is raised."""
    try:
        found = read_answer(Answer(status, json.dumps(members).encode()))
    except RefusedByProvider as refused:
        assert refused.code in CODES
        assert refused.reason in REASONS
        return
    assert 200 <= status <= 299
    assert found.access_token.isascii()
    assert found.access_token.isprintable()
    for seconds in (found.seconds, found.refresh_seconds):
        assert seconds is None or 0 < seconds <= LONGEST_SECONDS
    assert found.scopes is None or len(found.scopes) <= MOST_SCOPES


@given(st.integers(100, 599), st.binary(max_size=200))
def test_any_bytes_become_a_code_that_is_known(status: int, body: bytes):
    try:
        read_answer(Answer(status, body))
    except RefusedByProvider as refused:
        assert refused.code in CODES


@given(st.lists(st.from_regex(r"[!#-+\-./0-9:A-Z_a-z]{1,20}", fullmatch=True), max_size=8), st.sampled_from(" ,"))
def test_scopes_are_the_same_by_comma_and_by_space(scopes: list[str], between: str):
    assert scopes_in(between.join(scopes)) == tuple(dict.fromkeys(scopes))


@given(st.lists(st.from_regex(r"[a-z]{1,9000}", fullmatch=True), max_size=4))
@example([f"{number:0100}" for number in range(400)])
def test_scopes_that_a_row_has_no_room_for_are_left_out(scopes: list[str]):
    found = scopes_in(" ".join(scopes)) or ()
    assert len(json.dumps(found)) <= LONGEST["scopes"]
    assert found == tuple(dict.fromkeys(scopes))[: len(found)]
    if len(json.dumps(scopes)) <= LONGEST["scopes"]:
        assert found == tuple(dict.fromkeys(scopes))


@given(st.floats(min_value=1e-3, max_value=LONGEST_SECONDS))
def test_a_lifetime_is_the_same_as_number_and_as_text(seconds: float):
    assert lifetime(seconds) == lifetime(repr(seconds)) == seconds


@table("written", [None, True, "", "soon", "nan", "inf-", 0, -1, "0", "-5", [], {}])
def test_what_is_no_lifetime_is_as_if_it_were_not_there(written: Any):
    assert lifetime(written) is None


@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_nothing_of_the_provider_s_text_is_passed_on(status: int):
    """A response may repeat what was sent: its text is neither in an error, nor in a repr."""
    body = {"error": MARKER, "error_description": MARKER, "claims": MARKER, "error_uri": MARKER}
    refused = refusal(answer(status, **body))
    said = [refused.wrong, refused.fix, refused.code, refused.reason, refused.claims, repr(refused), str(refused)]
    assert not [text for text in said if MARKER in text]
    tokens = read_answer(answer(access_token=MARKER, refresh_token=MARKER, id_token=MARKER))
    assert MARKER not in repr(tokens)


def test_every_number_and_every_error_leads_to_a_reason_of_the_table():
    assert set(OF_AADSTS.values()) | set(OF_ERROR.values()) <= set(REASONS)
    assert reason_of("invalid_grant", (5, 700082, 50173), "ended") == "expired-unused"
    assert reason_of("invalid_grant", (), "ended") == "ended"
    assert reason_of("made_up") == "provider-rejects"


def test_each_reason_reads_as_a_sentence():
    """Text is a predicate of the connection, fix a sentence without its full stop that names who has to do it."""
    roles = ("person", "operator", "owner", "administrator", "author", "Nobody")
    for code, (text, fix) in REASONS.items():
        assert text.split()[0] in ("is", "has", "was", "needs", "cannot"), code
        assert fix[0].isupper(), code
        assert not text.endswith("."), code
        assert not fix.endswith("."), code
        assert any(role in fix for role in roles), code


@pytest.mark.parametrize("characters", [1, 30, 240])
def test_scopes_that_no_row_can_hold_do_not_cost_the_tokens(characters: int):
    """The refresh token of the request is used up: what came for it must be stored."""
    scopes = [f"{number:0{characters}}" for number in range(600)]
    body = json.dumps({"access_token": "a", "refresh_token": "r", "scope": " ".join(scopes)})
    found = read_answer(Answer(200, body.encode())).scopes
    assert found
    assert found == tuple(dict.fromkeys(scopes))[: len(found)]
    assert Renewed("sealed", "v1", None, None, found).scopes == found


def test_an_address_that_no_row_can_hold_is_none():
    domains = ("salesforce.com",)
    assert instance_url("https://my.salesforce.com", domains) == "https://my.salesforce.com"
    assert instance_url(f"https://{'a' * 3000}.salesforce.com", domains) is None
