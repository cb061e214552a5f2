"""Why a token is accepted or rejected at a workflow: every check, and those that were not made."""

from typing import cast

import pytest

from postern.access import Check, Guarded, NoRevocations, anonymous, bind, specific_users, tenant_users
from postern.identity import Identity
from postern.identity.explained import (
    OF_ID_TOKENS,
    OF_TOKENS,
    advice_of,
    explained,
    first_failed,
    not_made,
    scopes_to_request,
)
from postern.journal.refusal import recorded_checks
from tests.identity.minting import LISA, NOW, TENANT, TENANT_ID, Authority, Clock, claims, header, jwk, token

AUDIENCES = ["api://b", "api://postern"]


def guarded(*people: str) -> Guarded:
    access = specific_users(*people) if people else tenant_users()
    return cast("Guarded", bind(access, people={}, tenants=[TENANT_ID], audiences=AUDIENCES))


POLICY = guarded(LISA)
OF_POLICY = ("tenant-allowed", "audience", "listed")


@pytest.fixture
def identity() -> Identity:
    served = Identity(lambda _: Authority(jwk()).fetch, now=Clock(NOW), clock=Clock(), revocations=NoRevocations())
    served.serve([TENANT])
    return served


@pytest.mark.anyio
async def test_a_valid_token_has_every_check_and_its_caller(identity: Identity):
    found = await explained(identity, token(claims()), POLICY)
    assert [check.name for check in found.checks] == [*OF_TOKENS, *OF_POLICY]
    assert found.failed is None
    assert found.caller is not None
    assert found.caller.object_id == LISA
    assert found.keys_error == ""


@pytest.mark.anyio
@pytest.mark.parametrize(("text", "made"), [("no token", 1), ("a.b.c", 1), ("", 1)])
async def test_what_is_no_token_has_one_check_and_the_others_were_not_made(identity: Identity, text: str, made: int):
    found = await explained(identity, text, POLICY)
    assert [check.name for check in found.checks] == list(OF_TOKENS[:made])
    assert not_made(found.checks, POLICY) == (*OF_TOKENS[made:], *OF_POLICY)


@pytest.mark.anyio
async def test_requirements_are_not_checked_for_a_token_that_is_not_valid(identity: Identity):
    found = await explained(identity, token(claims(exp=NOW - 1000)), POLICY)
    assert found.failed is not None
    assert found.failed.name == "expiry"
    assert not_made(found.checks, POLICY) == ("revoked", *OF_POLICY)


@pytest.mark.anyio
async def test_missing_keys_are_named_only_if_they_are_the_reason():
    async def away() -> bytes:
        raise OSError("no route to host")

    identity = Identity(lambda _: away, now=Clock(NOW), clock=Clock())
    identity.serve([TENANT])
    found = await explained(identity, token(claims()), POLICY)
    assert found.failed is not None
    assert found.failed.name == "key-published"
    assert found.keys_error
    other = await explained(identity, token(claims(), header(alg="HS256")), POLICY)
    assert other.failed is not None
    assert other.failed.name == "algorithm"
    assert other.keys_error == ""


NOT_MADE = [
    ("no header", ["credentials"], POLICY, False, (*OF_TOKENS, *OF_POLICY)),
    ("no policy known", ["credentials"], None, False, OF_TOKENS),
    ("a problem of another kind", ["invalid-body"], POLICY, False, ()),
    ("a sign-in", ["form"], None, True, OF_ID_TOKENS[1:]),
    ("nothing was made", [], POLICY, False, ()),
    ("all were made", [*OF_TOKENS, *OF_POLICY], POLICY, False, ()),
]


@pytest.mark.parametrize(("made", "policy", "id_token", "left"), [row[1:] for row in NOT_MADE])
def test_checks_that_were_not_made_are_named_in_order(
    made: list[str], policy: Guarded | None, id_token: bool, left: tuple[str, ...]
):
    assert not_made([Check(name, False) for name in made], policy, id_token=id_token) == left


def test_the_first_failed_check_is_the_reason():
    made = [Check("a", True), Check("b", False), Check("c", False)]
    assert first_failed(made) is made[1]
    assert first_failed(made[:1]) is None


@pytest.mark.parametrize(
    ("check", "advice"),
    [
        (Check("listed", False, hint="Add it.", advice="Ask."), "Add it"),
        (Check("listed", False, advice="Ask."), "Ask"),
        (Check("expiry", False), "The token has expired; request a new one"),
        (Check("unknown", False), ""),
    ],
)
def test_a_failed_check_says_how_to_fix_it(check: Check, advice: str):
    """Records keep hints only; the rules of tokens say the same to each caller."""
    assert advice_of(check) == advice


def test_each_audience_has_its_scope():
    assert scopes_to_request(guarded()) == ["api://b/.default", "api://postern/.default"]
    assert not isinstance(bind(anonymous(), people={}, tenants=[], audiences=[]), Guarded)


def test_recorded_checks_of_an_unknown_form_are_left_out():
    recorded = [{"name": "a", "passed": True}, "text", None, {"name": "b", "passed": "yes", "hint": None}, {}]
    assert recorded_checks(recorded) == [Check("a", True), Check("b", False), Check("None", False)]


@pytest.mark.anyio
async def test_without_knowing_any_revocations_it_does_not_say_that_there_is_none():
    identity = Identity(lambda _: Authority(jwk()).fetch, now=Clock(NOW), clock=Clock())
    identity.serve([TENANT])
    found = await explained(identity, token(claims()), POLICY)
    assert found.failed is None
    assert "revoked" in not_made(found.checks, POLICY)
