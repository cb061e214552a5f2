"""What a revocation says to a caller: the check, the time to wait, and the claims of the next token."""

import json

import pytest

from postern.access import Caller, Revoked

NOW = 1_700_000_000.0
CAPABLE = frozenset({"cp1"})


def caller(issued_at=NOW - 300, capabilities=frozenset()):
    return Caller("user", tenant_id="t", issued_at=issued_at, token_id="uti", capabilities=capabilities)


@pytest.mark.parametrize(
    ("revoked", "now", "retry_after"),
    [
        (Revoked("caller", NOW), NOW, 300),
        (Revoked("client", NOW), NOW + 200.2, 100),
        (Revoked("caller", NOW), NOW + 300, 0),
        (Revoked("caller", NOW, NOW + 8 * 3600), NOW, 8 * 3600),
        (Revoked("caller", NOW, NOW + 60), NOW, 300),
        (Revoked("token", NOW), NOW, 0),
    ],
)
def test_a_new_token_is_worth_requesting_after_that_many_seconds(revoked, now, retry_after):
    assert revoked.refused(caller(), now).retry_after == retry_after


@pytest.mark.parametrize(
    ("capabilities", "bars_until", "challenged"),
    [(CAPABLE, 0.0, True), (frozenset(), 0.0, False), (CAPABLE, NOW + 60, False)],
)
def test_only_a_capable_client_is_challenged_and_only_if_another_token_helps(capabilities, bars_until, challenged):
    refused = Revoked("caller", NOW, bars_until).refused(caller(capabilities=capabilities), NOW)
    expected = {"access_token": {"nbf": {"essential": True, "value": "1700000000"}}}
    assert (json.loads(refused.claims) == expected) if challenged else refused.claims == ""


def test_the_caller_has_proved_itself_and_is_told_what_to_do():
    refused = Revoked("caller", NOW).refused(caller(), NOW)
    assert refused.proved
    assert refused.failed.name == "revoked"
    assert refused.failed.advice.endswith("Request a new token at 2023-11-14T22:18:20Z or later.")
    assert Revoked("token", NOW).refused(caller(), NOW).failed.advice.endswith("Request a new token.")


def test_the_operator_sees_when_the_token_was_issued():
    assert Revoked("client", NOW).check(caller(issued_at=0.0), NOW).found == "no iat"
    assert Revoked("client", NOW).check(caller(), NOW).found == "2023-11-14T22:08:20Z"
    assert Revoked("client", NOW, NOW + 60).check(caller(), NOW).expected == "no token before 2023-11-14T22:14:20Z"
