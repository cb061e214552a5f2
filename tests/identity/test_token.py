"""The token rules, as tables: which token is refused by which rule."""

import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding

from postern.identity.token import DISCLOSED, RULES, Parsed, checks, parse, verify
from tests.identity import minting
from tests.identity.minting import (
    CLIENT,
    LISA,
    NOW,
    OTHER_ID,
    TENANT_ID,
    TENANTS,
    V1,
    V2,
    b64,
    claims,
    failed,
    header,
    refusal,
    token,
)
from tests.table import table


def hs256(secret: bytes, **head: Any) -> str:
    message = f"{b64(json.dumps(header(alg='HS256', **head)).encode())}.{b64(json.dumps(claims()).encode())}"
    return f"{message}.{b64(hmac.digest(secret, message.encode(), hashlib.sha256))}"


def public_bytes(
    encoding: serialization.Encoding,
    kind: serialization.PublicFormat = serialization.PublicFormat.SubjectPublicKeyInfo,
) -> bytes:
    return minting.private_key().public_key().public_bytes(encoding, kind)


def by_another_algorithm(name: str) -> str:
    message = f"{b64(json.dumps(header(alg=name)).encode())}.{b64(json.dumps(claims()).encode())}"
    ours = minting.private_key()
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    signature = {
        "RS384": lambda raw: ours.sign(raw, padding.PKCS1v15(), hashes.SHA384()),
        "RS512": lambda raw: ours.sign(raw, padding.PKCS1v15(), hashes.SHA512()),
        "PS256": lambda raw: ours.sign(raw, pss, hashes.SHA256()),
        "ES256": lambda raw: ec.generate_private_key(ec.SECP256R1()).sign(raw, ec.ECDSA(hashes.SHA256())),
    }[name](message.encode())
    return f"{message}.{b64(signature)}"


def relabelled(name: str) -> str:
    """A signature of another algorithm under a header that says RS256."""
    body = by_another_algorithm(name).split(".")
    return ".".join([b64(json.dumps(header()).encode()), *body[1:]])


def raw_claims(text: str) -> str:
    return token(json.dumps(claims())[:-1].encode() + b", " + text.encode() + b"}")


def respelled(change: Callable[[str], str]) -> str:
    """A valid token whose text was changed."""
    return change(token())


def spare_bits() -> str:
    """The signature in a second spelling: 256 bytes leave four bits of the last character unused."""
    valid = token()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return valid[:-1] + alphabet[alphabet.index(valid[-1]) + 1]


def test_valid_tokens_of_both_versions_pass_every_rule():
    for body in (claims(), minting.v1_claims(aud=CLIENT)):
        parsed = parse(token(body))
        assert all(check.passed for check in checks(parsed, TENANTS, minting.signing_key(), NOW, 60))
        assert verify(parsed, TENANTS, minting.signing_key(), NOW, 60).object_id == LISA


@table(
    ("forged", "rule"),
    [
        # the algorithm
        (lambda: jwt.encode(claims(), "", "none", headers={"kid": "key-1"}), "algorithm"),
        *[(lambda alg=alg: token(head=header(alg=alg)), "algorithm") for alg in
          ("none", "None", "", "rs256", "RS256 ", "HS256", "RS384", None, ["RS256"], {"RS256": 1}, True, 1, ...)],
        (lambda: hs256(public_bytes(serialization.Encoding.PEM)), "algorithm"),
        (lambda: hs256(public_bytes(serialization.Encoding.DER)), "algorithm"),
        (lambda: hs256(public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1)), "algorithm"),
        (lambda: hs256(json.dumps(minting.jwk()).encode()), "algorithm"),
        (lambda: hs256(b""), "algorithm"),
        *[(lambda alg=alg: by_another_algorithm(alg), "algorithm") for alg in ("RS384", "RS512", "PS256", "ES256")],
        *[(lambda alg=alg: relabelled(alg), "signature") for alg in ("RS384", "RS512", "PS256", "ES256")],
        # the header
        *[(lambda crit=crit: token(head=header(crit=crit)), "critical") for crit in
          (["b64"], [], None, "exp", ["exp"])],
        (lambda: token(head=header(crit=["b64"], b64=False)), "critical"),
        *[(lambda name=name: token(head=header(**{name: "x"})), "plain-payload") for name in ("zip", "b64", "cty")],
        *[(lambda typ=typ: token(head=header(typ=typ)), "token-type") for typ in
          ("dpop+jwt", "logout+jwt", "secevent+jwt", "JWS", "", None, 1, ["JWT"], "JWT ")],
        *[(lambda kid=kid: token(head=header(kid=kid)), "key-id") for kid in
          (..., None, "", 1, 1.5, True, ["key-1"], {"a": 1}, "k" * 257)],
        # the form
        *[(lambda text=text: text, "form") for text in
          ("", ".", "..", "a.b", "a.b.c.d", "....", "x" * 70_000, "." * 70_000, "ä.b.c", "{}.{}.{}")],
        (lambda: f"{b64(b'{}')}.{b64(b'{}')}.{b64(b'{}')}.{b64(b'{}')}.{b64(b'{}')}", "form"),  # JWE
        (lambda: respelled(lambda text: text + "="), "form"),
        (lambda: respelled(lambda text: text + "=="), "form"),
        (lambda: respelled(lambda text: text + "\n"), "form"),
        (lambda: respelled(lambda text: " " + text), "form"),
        (lambda: respelled(lambda text: text.replace(".", "=.", 1)), "form"),
        (lambda: respelled(lambda text: text[:9] + "\n" + text[9:]), "form"),
        (lambda: respelled(lambda text: text[:9] + "!" + text[9:]), "form"),
        (spare_bits, "form"),
        *[(lambda raw=raw: token(raw), "form") for raw in
          (b"[]", b"null", b'"x"', b"1", b"", b"{", b"{}{}", b"\xff{}", b"[" * 20_000, b'{"a":' * 9_000,
           json.dumps(claims()).encode("utf-16"), json.dumps(claims()).encode("utf-16-le"),
           json.dumps(claims()).encode("utf-32"), b"\xef\xbb\xbf" + json.dumps(claims()).encode())],
        *[(lambda raw=raw: token(head=raw), "form") for raw in
          (b"[]", b"{", json.dumps(header()).encode("utf-16"), b'{"alg":"none","alg":"RS256","kid":"key-1"}')],
        *[(lambda text=text: raw_claims(text), "form") for text in
          (f'"oid": "{LISA}"', '"a": NaN', '"a": Infinity', '"a": -Infinity', '"a": {"b": 1, "b": 2}',
           '"a": ' + "9" * 5_000, '"a": "\\ud800"', "'a': 1", '"a": 01')],
        # the key and the signature
        (lambda: token(by="stranger"), "signature"),
        (lambda: token(head=header(jwk=minting.jwk("stranger")), by="stranger"), "signature"),
        (lambda: token(head=header(jku="https://evil.test/keys", x5u="https://evil.test", x5c=["MII"]), by="stranger"),
         "signature"),
        (lambda: respelled(lambda text: text.rpartition(".")[0] + "."), "signature"),
        (lambda: respelled(lambda text: text.rpartition(".")[0] + "." + b64(b"\0" * 256)), "signature"),
        (lambda: respelled(lambda text: text.rpartition(".")[0] + "." + b64(b"\0" + b"x" * 256)), "signature"),
        (lambda: respelled(lambda text: ".".join([*token(claims(oid=CLIENT)).split(".")[:2], text.split(".")[2]])),
         "signature"),
        # whose it is
        *[(lambda tid=tid: token(claims(tid=tid)), "known-tenant") for tid in
          (OTHER_ID, TENANT_ID.upper(), f" {TENANT_ID}", "", None, 1, [TENANT_ID], {"a": 1}, ...)],
        (lambda: token(claims(tid=OTHER_ID, iss=V2.replace(TENANT_ID, OTHER_ID))), "known-tenant"),
        *[(lambda iss=iss: token(claims(iss=iss)), "issuer") for iss in
          (..., None, "", 1, [V2], {"a": V2}, V2 + "/", V2.upper(), V2[:-1], " " + V2, V2.replace(TENANT_ID, OTHER_ID),
           "https://login.microsoftonline.com/{tenantid}/v2.0", V2.replace("https", "http"),
           V2.replace(".com", ".us"), f"https://evil.test/?{V2}")],
        (lambda: token(claims(iss=V1)), "version"),
        (lambda: token(minting.v1_claims() | {"iss": V2}), "version"),
        *[(lambda ver=ver: token(claims(ver=ver)), "version") for ver in
          (..., None, "1.0", "2", 2.0, 2, "2.0 ", ["2.0"], {"a": 1})],
    ],
)  # fmt: skip
def test_a_forged_token_is_rejected_and_its_bearer_not_shown_why(forged, rule):
    refused = refusal(forged())
    assert refused is not None
    assert refused.failed.name == rule
    assert not refused.proved
    assert all(check.passed for check in refused.checks[:-1])


@table(
    ("changes", "rule"),
    [
        *[({"oid": oid}, "object-id") for oid in
          (..., None, "", 1, [LISA], "lisa", f" {LISA}", LISA + "\n", "{" + LISA + "}", LISA.replace("-", ""),
           LISA.replace("3", "３"))],  # noqa: RUF001 - a look-alike digit
        *[({"aud": aud}, "audience-form") for aud in (..., None, "", 1, ["api://postern"], {"a": 1}, True)],
        *[({"exp": exp}, "times") for exp in
          (..., None, str(NOW + 60), True, [NOW + 60], {"a": 1}, -1, 10**300, 10**4000, "never")],
        *[({"nbf": nbf}, "times") for nbf in (..., None, str(NOW), True, False, [NOW], -1, 10**4000)],
        *[({"exp": exp}, "expiry") for exp in (0, 0.0, NOW - 60, NOW - 60.5, NOW - 3600)],
        *[({"nbf": nbf}, "not-before") for nbf in (NOW + 61, NOW + 60.5, 253_402_300_799)],
        *[({"iat": iat}, "issued-at") for iat in
          (None, str(NOW), True, [NOW], -1, 10**4000, NOW + 61, NOW + 60.5, 253_402_300_799)],
        ({"azp": ..., "scp": ...}, "access-token"),
        ({"azp": ..., "scp": ..., "roles": ["Reader"]}, "access-token"),
        ({"azp": ..., "scp": "", "idtyp": "user"}, "access-token"),
        ({"azp": ..., "scp": ..., "roles": ["Reader"], "nonce": "n"}, "access-token"),
        ({"azp": ..., "scp": ..., "idtyp": "user", "at_hash": "h"}, "access-token"),
        ({"cnf": {"jkt": "x"}}, "proof-of-possession"),
        ({"cnf": None}, "proof-of-possession"),
        *[({"scp": scp}, "claims") for scp in (None, ["a"], 1, {"a": 1}, True)],
        *[({"roles": roles}, "claims") for roles in (None, "Reader", [1], [None], [["a"]], [""], {"a": 1})],
        *[({"azp": azp}, "claims") for azp in (None, "", "client", 1, [CLIENT])],
        *[({"appid": appid}, "claims") for appid in (None, 1, LISA)],
        *[({"idtyp": idtyp}, "claims") for idtyp in (None, "", "device", 1, ["app"], "app")],
        *[({"acct": acct}, "claims") for acct in (None, "1", True, 1.0, [1])],
        *[({"idp": idp}, "claims") for idp in (None, "", 1, [V2])],
        *[({name: 1}, "claims") for name in ("name", "preferred_username", "app_displayname", "sub")],
    ],
)  # fmt: skip
def test_a_token_of_our_tenant_that_does_not_do_is_rejected_and_its_bearer_shown_why(changes, rule):
    refused = refusal(token(claims(**changes)))
    assert refused is not None
    assert refused.failed.name == rule
    assert refused.proved
    assert refused.failed.advice.isascii()
    assert refused.failed.advice.endswith(".")


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1e400", "-0.5", "253402300800"])
def test_numbers_that_are_no_times_are_rejected(number):
    body = json.dumps(claims(exp="EXP")).replace('"EXP"', number)
    assert failed(token(body.encode())) == "times"


def test_the_leeway_holds_at_both_ends_and_no_further():
    text = token(claims(nbf=NOW, exp=NOW + 100))
    assert [failed(text, now=now) for now in (NOW - 60.1, NOW - 60, NOW + 159.9, NOW + 160)] == [
        "not-before", None, None, "expiry",
    ]  # fmt: skip
    assert [failed(token(claims(iat=iat))) for iat in (..., 0, NOW, NOW + 60)] == [None] * 4


@table(
    "head",
    [{"typ": ...}, {"typ": "jwt"}, {"typ": "AT+JWT"}, {"x5t": "thumb"}, {"jwk": minting.jwk("stranger")},
     {"jku": "https://evil.test"}, {"x5u": "https://evil.test", "x5c": ["MII"]}, {"nonce": "n"}],
)  # fmt: skip
def test_other_header_members_have_no_say(head):
    assert failed(token(head=header(**head))) is None


def test_without_a_published_key_nothing_is_verified():
    refused = refusal(token(), published=False)
    assert refused is not None
    assert (refused.failed.name, refused.proved) == ("key-published", False)


def accepted_by_pyjwt_alone(text: str) -> bool:
    try:
        jwt.decode(
            text,
            minting.private_key().public_key(),
            algorithms=["RS256"],
            audience="api://postern",
            issuer=[V1, V2],
            options={"require": ["exp", "nbf", "iss", "aud"]},
            leeway=10**9,  # the tokens of these tests live in a time of their own
        )
    except Exception:
        return False
    return True


@table(
    ("forged", "rule"),
    [
        (lambda: token(claims(ver="1.0")), "version"),
        (lambda: token(claims(iss=V1)), "version"),
        (lambda: token(claims(tid=OTHER_ID)), "known-tenant"),
        (lambda: token(claims(oid=[LISA])), "object-id"),
        (lambda: token(claims(aud=["api://postern", "other"])), "audience-form"),
        (lambda: token(claims(exp=str(NOW + 60))), "times"),
        (lambda: token(claims(nbf=True)), "times"),
        (lambda: token(claims(azp=..., scp=...)), "access-token"),
        (lambda: token(claims(cnf={"jkt": "x"})), "proof-of-possession"),
        (lambda: respelled(lambda text: text + "=="), "form"),
        (lambda: token(json.dumps(claims()).encode("utf-16")), "form"),
        (lambda: raw_claims(f'"oid": "{CLIENT}"'), "form"),
        (lambda: raw_claims('"a": NaN'), "form"),
        (lambda: token(head=header(typ="logout+jwt")), "token-type"),
        (lambda: token(head=header(kid=...)), "key-id"),
        (lambda: token(head=header(zip="DEF")), "plain-payload"),
    ],
)
def test_the_rules_close_what_pyjwt_alone_leaves_open(forged, rule):
    assert accepted_by_pyjwt_alone(forged())
    assert failed(forged()) == rule


def test_every_rule_has_a_name_of_its_own_and_advice_exactly_where_it_may_be_shown():
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert {rule.name for rule in RULES if rule.advice} == DISCLOSED
    assert all('"' not in rule.advice and "\\" not in rule.advice for rule in RULES)


def test_all_checks_are_answered_even_for_a_token_that_has_nothing():
    parsed = Parsed({}, {}, b"", b"")
    answers = {check.name: check.passed for check in checks(parsed, TENANTS, None, NOW, 60)}
    assert len(answers) == len(RULES) + 1
    assert not any(answers[name] for name in ("algorithm", "key-id", "known-tenant", "key-published", "signature"))


def test_what_the_operator_reads_is_short_printable_and_no_token():
    text = token(claims(iss="\n\x1b[31m" + "x" * 5_000, aud=["secret"], oid={"a": 1}))
    for check in checks(parse(text), TENANTS, minting.signing_key(), NOW, 60):
        assert str(check.found).isascii()
        assert str(check.found).isprintable()
        assert len(str(check.found)) <= 200
        assert "secret" not in str(check)
    assert text.split(".")[2] not in repr(parse(text)) + str(refusal(text)) + repr(refusal(text))
