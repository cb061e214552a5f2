"""Whom the token of a refused request names, and what is said of its checks."""

from typing import cast

import pytest

from postern.access import Guarded, bind, checks, specific_users
from postern.identity import Identity, examine
from postern.identity.claimed import claimed
from tests.identity.minting import (
    CLIENT,
    LISA,
    NOW,
    TENANT,
    TENANT_ID,
    Authority,
    Clock,
    bearer,
    claims,
    jwk,
    token,
    v1_claims,
)

pytestmark = pytest.mark.anyio

ADA = "55555555-eeee-4555-8555-555555555555"
POLICY = cast("Guarded", bind(specific_users(ADA), people={}, tenants=[TENANT_ID], audiences=["api://postern"]))
NAMED = {
    "object_id": LISA,
    "client_id": CLIENT,
    "tenant_id": TENANT_ID,
    "name": "Lisa",
    "token_id": None,
    "agent": None,
}


@pytest.fixture
def identity():
    served = Identity(lambda _: Authority(jwk()).fetch, now=Clock(NOW), clock=Clock())
    served.serve([TENANT])
    return served


@pytest.mark.parametrize("body", [claims(), v1_claims()], ids=["v2", "v1"])
@pytest.mark.parametrize("verified", [True, False])
def test_a_token_names_its_bearer_and_says_whether_that_was_verified(body, verified):
    assert claimed(token(body), verified=verified) == {**NAMED, "verified": verified}


@pytest.mark.parametrize("text", ["", "no token", "a.b.c", "x" * 100_000])
def test_what_cannot_be_read_names_no_one(text):
    assert claimed(text, verified=False) is None


def test_a_token_without_claims_names_no_one():
    assert claimed(token({}), verified=False) is None


@pytest.mark.parametrize("name", [["Lisa"], {"a": 1}, 7, None, "", "\r\n\x1b\u202e"])
def test_a_name_that_is_no_printable_text_is_none(name):
    who = claimed(token(claims(name=name)), verified=False)
    assert who is not None
    assert who["name"] is None


def test_what_a_forger_writes_is_cut_short_made_printable_and_holds_no_token():
    nested = token(claims())
    body = claims(oid="x" * 5000, azp="a\r\nb\x1b[31m", tid=[TENANT_ID], name="L\u202eisa\x00" + "é" * 5000)
    assert claimed(token(body, by="forger"), verified=False) == {
        "object_id": "x" * 100,
        "client_id": r"'a\r\nb\x1b[31m'",
        "tenant_id": "a list",
        "name": "Lisa" + "é" * 96,
        "token_id": None,
        "agent": None,
        "verified": False,
    }
    strayed = claimed(token(claims(oid=nested, name=nested)), verified=False)
    assert strayed is not None
    assert (strayed["object_id"], strayed["name"]) == ("[token]", "[token]")


@pytest.mark.parametrize(
    ("changes", "agent"),
    [
        ({"xms_act_fct": "11 3"}, {"client_id": CLIENT, "blueprint": None, "kind": "on-behalf-of-user"}),
        ({"xms_sub_fct": "13"}, {"client_id": CLIENT, "blueprint": None, "kind": "agent-user"}),
        ({"xms_act_fct": "11", "scp": "/"}, {"client_id": CLIENT, "blueprint": None, "kind": "autonomous"}),
        (
            {"xms_par_app_azp": "B\x1b" * 500, "scp": 7, "azp": ["x"]},
            {"client_id": "a list", "blueprint": ascii("b\x1b" * 500)[:100], "kind": "autonomous"},
        ),
        ({"xms_act_fct": 11, "xms_sub_fct": ["13"], "xms_par_app_azp": None}, None),
    ],
)
def test_a_token_names_its_agent_which_a_forger_may_have_written(changes, agent):
    who = claimed(token(claims(**changes)), verified=False)
    assert who is not None
    assert who["agent"] == agent


async def test_a_real_token_that_is_not_on_the_list_is_verified_and_has_every_check(identity):
    found = await examine(identity, bearer(token()), POLICY, proved=True)
    assert found is not None
    assert found.claimed == {**NAMED, "verified": True}
    made, caller = await identity.examine(token())
    assert caller is not None
    assert found.checks == made + checks(POLICY, caller)
    assert [check.name for check in found.checks if not check.passed] == ["listed"]


@pytest.mark.parametrize(
    "forged", [token(by="forger"), token(claims(tid=ADA)), token()[:-20] + "A" * 20], ids=["key", "tenant", "signature"]
)
async def test_a_forged_token_is_never_verified(identity, forged):
    found = await examine(identity, bearer(forged), POLICY, proved=False)
    assert found is not None
    assert found.claimed is not None
    assert found.claimed["verified"] is False
    assert found.checks == (await identity.examine(forged))[0]


async def test_an_expired_token_that_was_proved_is_verified(identity):
    expired = token(claims(exp=NOW - 1000))
    found = await examine(identity, bearer(expired), POLICY, proved=True)
    assert found is not None
    assert found.claimed == {**NAMED, "verified": True}


@pytest.mark.parametrize("headers", [[], [(b"authorization", b"Basic YTpi")], bearer("a b"), bearer("x") * 2])
async def test_without_a_token_there_is_nothing_to_examine(identity, headers):
    assert await examine(identity, headers, POLICY, proved=False) is None
