"""Which published keys are used: a hostile entry is skipped and does no harm to its neighbours."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.identity.discovery import MAX_DOCUMENT_BYTES
from postern.identity.key_set import MAX_KEYS, KeysFault, parse_keys
from tests.identity.minting import (
    CONSUMERS_ID,
    OTHER_ID,
    TENANT,
    V1,
    V2,
    b64,
    jwk,
    key_set,
    private_key,
    v1_claims,
)
from tests.table import table

MODULUS = private_key().public_key().public_numbers().n


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8 or 1))


def of_size(bits: int) -> str:
    return number((1 << (bits - 1)) | 1)


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"alg": "RS256"},
        {"key_ops": ["verify"]},
        {"x5c": ["MII"], "x5t": "thumb"},
        {"issuer": V2},
        {"issuer": V1},
        {"issuer": "https://login.microsoftonline.com/{tenantid}/v2.0"},
    ],
)
def test_what_entra_publishes_is_used(members):
    keys = parse_keys(key_set(jwk(**members)), TENANT)
    assert keys["key-1"].public_key == private_key().public_key()
    assert keys["key-1"].bits == 2048


def test_a_key_needs_no_use():
    entry = jwk()
    del entry["use"]
    assert parse_keys(key_set(entry), TENANT)


@table(
    "entry",
    [
        None, 1, "key", [], {},
        jwk(kty="EC"), jwk(kty="oct", k="AAAA"), jwk(kty=None), jwk(kty=["RSA"]),
        jwk(use="enc"), jwk(use=None), jwk(alg="RS512"), jwk(alg="HS256"), jwk(alg="none"), jwk(alg=None),
        jwk(key_ops=[]), jwk(key_ops=["sign"]), jwk(key_ops="verify"), jwk(key_ops=None),
        jwk(kid=""), jwk(kid=None), jwk(kid=1), jwk(kid=["key-1"]), jwk(kid="k" * 257),
        jwk("weak", bits=1024), jwk(n=of_size(2047)), jwk(n=of_size(16400)),
        jwk(n="A" * 500_000), jwk(n=number(MODULUS - 1)), jwk(n=""), jwk(n=None), jwk(n=1),
        jwk(n="ä" * 300), jwk(n="!" * 300),
        jwk(e="AQ"), jwk(e="Aw"), jwk(e=number(17)), jwk(e=number(65536)), jwk(e=number(65538)), jwk(e=""), jwk(e=3),
        jwk(e=number(2**200 + 1)), jwk(e=None),
        *[{**jwk(), name: "AQAB"} for name in ("d", "p", "q", "dp", "dq", "qi", "oth", "k")],
        jwk(issuer=V2.replace(V2.split("/")[3], CONSUMERS_ID)), jwk(issuer=V1.replace(V1.split("/")[3], OTHER_ID)),
        jwk(issuer="https://evil.test/{tenantid}/v2.0"), jwk(issuer=""), jwk(issuer=None), jwk(issuer=[V2]),
    ],
)  # fmt: skip
def test_an_entry_that_is_no_key_for_this_is_skipped_alone(entry):
    keys = parse_keys(key_set(entry, jwk("next", "key-2"), entry), TENANT)
    assert keys.keys() == {"key-2"}
    with pytest.raises(KeysFault):
        parse_keys(key_set(entry), TENANT)


def test_a_thousand_keys_with_their_certificates_are_usable():
    """More than a tenant has today: Microsoft advises to plan for growth. The document is one that is fetched whole."""
    document = key_set(*[jwk(str(number % 3), f"key-{number}", x5c=["M" * 1400], issuer=V2) for number in range(1000)])
    assert len(document) < MAX_DOCUMENT_BYTES
    assert len(parse_keys(document, TENANT)) == 1000


def test_two_keys_of_one_name_are_both_dropped_but_the_same_key_twice_is_one():
    good = jwk("next", "key-2")
    assert parse_keys(key_set(jwk(), jwk("stranger"), jwk(), good), TENANT).keys() == {"key-2"}
    assert parse_keys(key_set(jwk(), good, jwk(alg="RS256")), TENANT).keys() == {"key-1", "key-2"}


def test_a_foreign_tenants_key_of_the_same_name_drops_nothing():
    foreign = jwk("stranger", issuer=V2.replace(V2.split("/")[3], CONSUMERS_ID))
    assert parse_keys(key_set(foreign, jwk()), TENANT)["key-1"].public_key == private_key().public_key()


@table(
    "document",
    [b"", b"x", b"[]", b"null", b"{}", b'{"keys": {}}', b'{"keys": null}', b'{"keys": []}', b"[" * 100_000, b"\xff",
     key_set(*[jwk(kid=str(number)) for number in range(MAX_KEYS + 1)]), key_set(jwk()).decode().encode("utf-16"),
     key_set(jwk())[:-1] + b', "keys": []}', json.dumps(v1_claims()).encode(), b"<html>"],
)  # fmt: skip
def test_a_document_that_is_no_key_set_is_a_fault(document):
    with pytest.raises(KeysFault):
        parse_keys(document, TENANT)


@given(
    st.binary(max_size=100)
    | st.dictionaries(st.sampled_from(["kty", "n", "e", "kid"]), st.text(max_size=9)).map(key_set)
)
def test_any_document_is_a_key_set_or_a_fault(document):
    with pytest.raises(KeysFault):
        parse_keys(document, TENANT)
