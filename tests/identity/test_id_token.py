"""The rules for ID tokens, as tables: which token signs nobody in, by which rule."""

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postern.access import Refused
from postern.identity import Identity, Person, Wanted
from postern.identity.id_token import half_hash, rules, verify_id_token
from postern.identity.issuers import tenant
from postern.identity.token import parse, read
from tests.examples import example_count
from tests.identity import minting
from tests.identity.minting import CLIENT, LISA, NOW, OTHER_ID, TENANT, TENANT_ID, V1, V2, bearer, header, signing_key
from tests.identity.test_any_token import JSON
from tests.table import table

ACCESS, CODE = "an-access-token", "a-code"
WANTED = Wanted(TENANT_ID, CLIENT, "the-nonce", ACCESS, CODE)


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of Lisa's ID token as Entra's token endpoint issues it; a change to `...` leaves a claim out."""
    made = {
        "iss": V2,
        "aud": CLIENT,
        "tid": TENANT_ID,
        "ver": "2.0",
        "oid": LISA.upper(),
        "sub": "pairwise",
        "name": "Lisa Moreau",
        "preferred_username": "lisa@tenant.example",
        "nonce": "the-nonce",
        "rh": "x",
        "sid": "y",
        "uti": "z",
        "iat": NOW - 10,
        "nbf": NOW - 10,
        "exp": NOW + 3600,
        **changes,
    }
    return {name: value for name, value in made.items() if value is not ...}


def token(head: dict[str, Any] | None = None, by: str = "entra", **changes: Any) -> str:
    return minting.token(claims(**changes), head, by)


def signed_in(text: str, wanted: Wanted = WANTED, now: float = NOW) -> Person:
    return verify_id_token(parse(text), TENANT, signing_key(), wanted, now, 60)


def refusal(text: str, wanted: Wanted = WANTED, now: float = NOW) -> Refused | None:
    try:
        signed_in(text, wanted, now)
    except Refused as refused:
        return refused
    return None


def failed(text: str, wanted: Wanted = WANTED, now: float = NOW) -> str | None:
    refused = refusal(text, wanted, now)
    return refused.failed.name if refused else None


@pytest.mark.parametrize(
    ("changes", "roles"),
    [
        ({}, set()),
        ({"roles": ["Postern.Operator"]}, {"Postern.Operator"}),
        ({"idp": V1, "acct": 1, "email": "lisa@partner.example"}, set()),
        ({"at_hash": half_hash(ACCESS), "c_hash": half_hash(CODE)}, set()),
        ({"iat": ..., "sub": ...}, set()),
    ],
    ids=["member", "operator", "guest", "hashes", "without"],
)
def test_a_good_id_token_names_a_person(changes: dict[str, Any], roles: set[str]):
    assert signed_in(token(**changes)) == Person(TENANT_ID, LISA, "Lisa Moreau", frozenset(roles))


@table(
    ("changes", "rule"),
    [
        # an access token, of either version, of a person or of an application
        ({"azp": CLIENT}, "id-token"),
        ({"azp": CLIENT, "scp": "x"}, "id-token"),
        ({"scp": "openid"}, "id-token"),
        ({"scp": ""}, "id-token"),
        ({"appid": CLIENT}, "id-token"),
        ({"idtyp": "user"}, "id-token"),
        ({"azpacr": "1"}, "id-token"),
        ({"cnf": {"jkt": "x"}}, "id-token"),
        # another application's
        *[({"aud": aud}, "client") for aud in
          (..., None, "", OTHER_ID, CLIENT.upper(), f"api://{CLIENT}", [CLIENT], {"a": CLIENT}, f"{CLIENT} ")],
        # another sign-in's
        *[({"nonce": nonce}, "nonce") for nonce in
          (..., None, "", "The-nonce", "the-nonce ", ["the-nonce"], 1, True, "ä")],
        # times
        *[({"exp": exp}, "times") for exp in (..., None, str(NOW + 60), True, -1, 10**300)],
        *[({"nbf": nbf}, "times") for nbf in (..., None, str(NOW), False)],
        ({"exp": NOW - 60}, "expiry"),
        ({"nbf": NOW + 61}, "not-before"),
        ({"iat": NOW + 61}, "issued-at"),
        ({"iat": str(NOW)}, "issued-at"),
        # who
        *[({"oid": oid}, "object-id") for oid in (..., None, "", "lisa", [LISA], LISA + "\n")],
        # what came along
        *[({"at_hash": value}, "at_hash") for value in
          (None, "", half_hash("x"), half_hash(ACCESS) + "=", 1, [half_hash(ACCESS)], ACCESS)],
        *[({"c_hash": value}, "c_hash") for value in (None, "", half_hash(ACCESS), {"a": 1})],
        # types
        *[({"roles": value}, "claims") for value in (None, "Postern.Operator", [1], [""], {"a": 1})],
        ({"name": ["Lisa"]}, "claims"),
        ({"preferred_username": 1}, "claims"),
    ],
)  # fmt: skip
def test_a_token_of_our_tenant_that_is_not_for_this_sign_in_signs_nobody_in(changes: dict[str, Any], rule: str):
    refused = refusal(token(**changes))
    assert refused is not None
    assert (refused.failed.name, refused.proved) == (rule, True)


@table(
    ("text", "rule"),
    [
        (lambda: minting.token(claims(), header(alg="none")), "algorithm"),
        (lambda: minting.token(claims(), header(alg="HS256")), "algorithm"),
        (lambda: minting.token(claims(), header(crit=["x"])), "critical"),
        (lambda: minting.token(claims(), header(kid=...)), "key-id"),
        (lambda: token(by="stranger"), "signature"),
        (lambda: token(tid=OTHER_ID), "known-tenant"),
        (lambda: token(tid=minting.CONSUMERS_ID), "known-tenant"),
        (lambda: token(tid=OTHER_ID, iss=V2.replace(TENANT_ID, OTHER_ID)), "known-tenant"),
        (lambda: token(iss=V2.replace(TENANT_ID, OTHER_ID)), "issuer"),
        (lambda: token(iss=V2.replace(TENANT_ID, "{tenantid}")), "issuer"),
        (lambda: token(iss=V2 + "/"), "issuer"),
        (lambda: token(iss=V1), "version"),
        (lambda: token(ver="1.0"), "version"),
        (lambda: token(ver=...), "version"),
    ],
)
def test_what_is_not_proved_signs_nobody_in(text: Any, rule: str):
    refused = refusal(text())
    assert refused is not None
    assert (refused.failed.name, refused.proved) == (rule, False)


@pytest.mark.parametrize("head", [{"typ": "at+jwt"}, {"typ": "AT+JWT"}])
def test_a_token_that_says_that_it_is_an_access_token_is_one(head: dict[str, Any]):
    assert failed(token(header(**head))) == "id-token"
    assert failed(token(header(typ=...))) is None


def test_a_token_of_version_1_signs_nobody_in():
    """Its issuer and version agree, but sign-ins go to the endpoint of version 2."""
    assert failed(token(iss=V1, ver="1.0")) == "id-token-version"


def test_every_access_token_of_the_other_tests_is_refused_and_no_token_is_both():
    for body in (
        minting.claims(),
        minting.v1_claims(),
        minting.claims(scp=..., idtyp="app"),
        minting.claims(aud=CLIENT),
    ):
        assert failed(minting.token(body | {"nonce": "the-nonce"})) == "id-token"
    for changes in ({}, {"roles": ["Postern.Operator"]}, {"aud": "api://postern"}):
        assert minting.failed(token(**changes)) == "access-token"


def test_hashes_that_cannot_be_compared_are_refused():
    """Without the code and the access token, and also of an empty text."""
    alone = Wanted(TENANT_ID, CLIENT, "the-nonce")
    assert failed(token(), alone) is None
    for name in ("at_hash", "c_hash"):
        for text in (ACCESS, ""):
            changes: dict[str, Any] = {name: half_hash(text)}
            assert failed(token(**changes), alone) == name


@pytest.mark.parametrize("wanted", [Wanted(TENANT_ID, "", "the-nonce"), Wanted(TENANT_ID, CLIENT, "")])
def test_what_is_wanted_is_never_nothing(wanted: Wanted):
    """A mistake of the program that leaves it empty accepts no token."""
    assert failed(token(aud=wanted.client_id, nonce=wanted.nonce), wanted) in ("client", "nonce")


def test_another_served_tenant_is_not_ours():
    """Workflows may accept callers of further tenants; people of those do not sign in."""
    other = tenant(OTHER_ID)
    text = token(tid=OTHER_ID, iss=V2.replace(TENANT_ID, OTHER_ID))
    with pytest.raises(Refused) as caught:
        verify_id_token(parse(text), other, signing_key(), WANTED, NOW, 60)
    assert caught.value.failed.name == "known-tenant"


def test_every_rule_has_a_name_of_its_own_and_nothing_shows_a_token():
    assert len({rule.name for rule in rules(WANTED)}) == len(rules(WANTED))
    text = token(nonce="another-nonce", at_hash=ACCESS)
    shown = repr(WANTED) + repr(refusal(text)) + repr(refusal(token(at_hash=ACCESS)))
    assert not [secret for secret in (ACCESS, CODE, "the-nonce", "another-nonce", text) if secret in shown]


@settings(max_examples=example_count(200))
@given(
    st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit"]), JSON, max_size=2),
    st.dictionaries(st.sampled_from(sorted({*claims(), "azp", "scp", "at_hash", "c_hash", "roles"})), JSON, max_size=3),
)
def test_any_json_in_a_signed_token_is_a_person_or_a_refusal(head: dict[str, Any], body: dict[str, Any]):
    text = minting.token({**claims(), **body}, {**header(), **head})
    with contextlib.suppress(Refused):
        read(text)
        signed_in(text)


@pytest.mark.anyio
async def test_people_are_verified_by_the_served_keys_and_triggers_still_refuse_their_tokens():
    """Through Identity, which remembers access tokens and no others."""
    authority = minting.Authority(minting.jwk())
    identity = Identity(lambda _: authority.fetch, now=lambda: NOW)
    with pytest.raises(Refused) as caught:
        await identity.sign_in(token(), WANTED)  # before the tenant is served
    assert caught.value.failed.name == "known-tenant"
    identity.serve([TENANT])
    assert (await identity.sign_in(token(), WANTED)).object_id == LISA
    with pytest.raises(Refused) as caught:
        await identity.identify(bearer(token(roles=["Postern.Operator"])))
    assert caught.value.failed.name == "access-token"
    assert identity.recall(b"Bearer " + token().encode()) is None
