"""The token rules: how an access token is read, and the table of its checks. Pure.

RULES is applied from top to bottom, and a token is accepted only when the last row has passed. PyJWT and cryptography
verify the signature; the other rows check what they leave open
(RFC 8725, and Microsoft's "Access tokens in the Microsoft identity platform").
"""

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from jwt.algorithms import RSAAlgorithm

from postern.access import Caller, Check, Refused
from postern.audiences import of_microsoft
from postern.identity.bearer import MAX_TOKEN_BYTES
from postern.identity.claims import (
    KIND_CLAIMS,
    LATEST,
    caller_of,
    is_access_token,
    is_guid,
    is_text,
    is_time,
    malformed,
)
from postern.identity.documents import json_object
from postern.identity.issuers import NO_TENANT, Tenant
from postern.identity.key_set import MAX_KID_LENGTH, SigningKey

_RS256 = RSAAlgorithm(RSAAlgorithm.SHA256)
_SHOWN = 200
FORM = "form"
"""The first check: that a token can be read."""


@dataclass(frozen=True, slots=True, repr=False)
class Parsed:
    """A token in its parts, not verified yet. It has no repr, so that no traceback shows a token."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, repr=False)
class Evidence:
    """What the rules check. `tenant` is NO_TENANT if the token claims an unknown tenant, and `key` None if it claims an
    unknown key. Times are in seconds since 1970."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes
    tenants: Mapping[str, Tenant]
    tenant: Tenant
    key: SigningKey | None
    now: float
    leeway: float


class Rule(NamedTuple):
    """One check of a token. `expected`, `found` and `hint` are for the operator, `advice` for a caller whose token is
    verified as one of our tenants'."""

    name: str
    holds: Callable[[Evidence], bool]
    expected: Callable[[Evidence], Any]
    found: Callable[[Evidence], Any]
    advice: str = ""
    hint: Callable[[Evidence], str] = lambda _: ""

    def check(self, evidence: Evidence) -> Check:
        """The result. An exception counts as a failed check: a malformed token is rejected, never a server error."""
        try:
            passed = self.holds(evidence)
        except Exception:  # claims that are missing or of another type
            passed = False
        hint = "" if passed else self.hint(evidence)
        return Check(self.name, passed, self.expected(evidence), self.found(evidence), self.advice, hint)


def read(token: str) -> Parsed:
    """Take a token apart: three segments, each the canonical base64url text of its bytes, the first two JSON objects.

    Raises Refused (check `form`).
    """
    if len(token) > MAX_TOKEN_BYTES or token.count(".") != 2:
        raise Refused([_form(False)])
    try:
        header, claims, signature = token.encode("ascii").split(b".")
        return Parsed(
            json_object(_decoded(header)), json_object(_decoded(claims)), header + b"." + claims, _decoded(signature)
        )
    except ValueError:
        raise Refused([_form(False)]) from None


def parse(token: str) -> Parsed:
    """Take a token apart, and reject it if its form or its header is wrong. Raises Refused."""
    parsed = read(token)
    evidence = _evidence(parsed, {}, None, 0, 0)
    made = [_form(True)]
    for rule in HEADER_RULES:
        made.append(rule.check(evidence))
        if not made[-1].passed:
            raise Refused(made)
    return parsed


def checks(
    parsed: Parsed, tenants: Mapping[str, Tenant], key: SigningKey | None, now: float, leeway: float
) -> Iterator[Check]:
    """Every check of an access token, in order, including those after a failure. `key` is the one that the claimed
    tenant publishes under the token's `kid`."""
    return checks_by(RULES, parsed, tenants, key, now, leeway)


def checks_by(
    rules: Iterable[Rule],
    parsed: Parsed,
    tenants: Mapping[str, Tenant],
    key: SigningKey | None,
    now: float,
    leeway: float,
) -> Iterator[Check]:
    """The same by the rules of another kind of token."""
    evidence = _evidence(parsed, tenants, key, now, leeway)
    yield _form(True)
    for rule in rules:
        yield rule.check(evidence)


def verify(parsed: Parsed, tenants: Mapping[str, Tenant], key: SigningKey | None, now: float, leeway: float) -> Caller:
    """The caller of a token that passes every check. The first failed check raises Refused."""
    made = []
    for check in checks(parsed, tenants, key, now, leeway):
        made.append(check)
        if not check.passed:
            raise Refused(made, proved=check.name in DISCLOSED)
    return caller_of(parsed.claims, claimed_tenant(parsed, tenants))


def claimed_tenant(parsed: Parsed, tenants: Mapping[str, Tenant]) -> Tenant:
    """The tenant that the token claims. The claim only selects among the known tenants, compared exactly."""
    tenant_id = parsed.claims.get("tid")
    return tenants.get(tenant_id, NO_TENANT) if isinstance(tenant_id, str) else NO_TENANT


def when(moment: Any) -> str:
    """A time in seconds since 1970, as text (RFC 3339)."""
    if not is_time(moment):
        return shown(moment)
    return f"{datetime.fromtimestamp(min(int(moment), LATEST), UTC):%Y-%m-%dT%H:%M:%SZ}"


def shown(value: Any) -> str:
    """A value of a token as an operator may read it: short, printable ASCII, and of lists and objects only the kind."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    if isinstance(value, str):
        value = value[:_SHOWN]
        return value if value.isascii() and value.isprintable() else ascii(value)[:_SHOWN]
    return "none" if value is None else str(value)[:_SHOWN]


def _decoded(segment: bytes) -> bytes:
    """Base64url without padding. Comparing with the canonical text rejects padding, white space, foreign characters
    and stray bits, which would give one signature many spellings (RFC 7515, section 2)."""
    decoded = base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
    if base64.urlsafe_b64encode(decoded).rstrip(b"=") != segment:
        raise ValueError("not canonical base64url")
    return decoded


def _form(passed: bool) -> Check:
    return Check(FORM, passed, "a signed JWT in compact form", "one" if passed else "something else")


def _evidence(
    parsed: Parsed, tenants: Mapping[str, Tenant], key: SigningKey | None, now: float, leeway: float
) -> Evidence:
    tenant = claimed_tenant(parsed, tenants)
    return Evidence(parsed.header, parsed.claims, parsed.signed, parsed.signature, tenants, tenant, key, now, leeway)


def _is(text: str) -> Callable[[Evidence], str]:
    return lambda t: text


def _header(name: str) -> Callable[[Evidence], str]:
    return lambda t: shown(t.header.get(name))


def _claim(name: str) -> Callable[[Evidence], str]:
    return lambda t: shown(t.claims.get(name))


def _has_plain_type(t: Evidence) -> bool:
    kind = t.header.get("typ", "JWT")
    return isinstance(kind, str) and kind.lower() in ("jwt", "at+jwt")


def _is_signed_by_key(t: Evidence) -> bool:
    return (
        t.key is not None
        and len(t.signature) == (t.key.bits + 7) // 8
        and _RS256.verify(t.signed, t.key.public_key, t.signature)
    )


def _of_another_api(t: Evidence) -> str:
    """What a token says that nobody but its own API can verify. Tokens for Microsoft Graph have a `nonce` in their
    header, of which the signed one is a digest."""
    audience = t.claims.get("aud")
    api = of_microsoft(audience) if isinstance(audience, str) else ""
    if api:
        return f"The token says that it is for {api}, which alone can verify it. Request one with Postern's own scope"
    if "nonce" in t.header:
        return "The token has a nonce in its header, as those for Microsoft Graph do. Request one with Postern's scope"
    return ""


def _version_fits(t: Evidence) -> bool:
    fitting = {"1.0": t.tenant.issuers_v1, "2.0": t.tenant.issuers_v2}
    return t.claims["iss"] in fitting[t.claims["ver"]]


def _is_issued(t: Evidence) -> bool:
    """`iat` is optional (RFC 7519, section 4.1.6). A time in the future is a wrong clock, or not Entra's."""
    return "iat" not in t.claims or (is_time(t.claims["iat"]) and t.claims["iat"] <= t.now + t.leeway)


# fmt: off
HEADER_RULES = (
    Rule("algorithm", lambda t: t.header.get("alg") == "RS256", _is("RS256"), _header("alg")),
    Rule("critical", lambda t: "crit" not in t.header, _is("no crit"), _header("crit")),
    Rule("plain-payload", lambda t: not t.header.keys() & {"zip", "b64", "cty"}, _is("no zip, b64 or cty"),
         lambda t: ", ".join(sorted(t.header.keys() & {"zip", "b64", "cty"})) or "none"),
    Rule("token-type", _has_plain_type, _is("JWT or at+jwt"), _header("typ")),
    Rule("key-id", lambda t: is_text(t.header.get("kid")) and len(t.header["kid"]) <= MAX_KID_LENGTH,
         _is(f"a string of 1 to {MAX_KID_LENGTH} characters"), _header("kid")),
)
PROOF_RULES = (
    Rule("known-tenant", lambda t: t.tenant is not NO_TENANT, lambda t: frozenset(t.tenants), _claim("tid")),
    Rule("key-published", lambda t: t.key is not None, _is("a signing key of the tenant"), _header("kid"),
         hint=_of_another_api),
    Rule("signature", _is_signed_by_key, _is("by that key"), lambda t: f"{len(t.signature)} bytes",
         hint=_of_another_api),
    Rule("issuer", lambda t: is_text(t.claims["iss"]) and t.claims["iss"] in t.tenant.issuers,
         lambda t: t.tenant.issuers, _claim("iss")),
    Rule("tenant", lambda t: t.claims["tid"] == t.tenant.tenant_id and f"/{t.tenant.tenant_id}/" in t.claims["iss"],
         lambda t: t.tenant.tenant_id, _claim("tid")),
    Rule("version", _version_fits, _is("1.0 or 2.0, as the issuer says"), _claim("ver")),
)
TIME_RULES = (
    Rule("times", lambda t: is_time(t.claims.get("exp")) and is_time(t.claims.get("nbf")), _is("exp and nbf, numbers"),
         lambda t: f"{shown(t.claims.get('exp'))}, {shown(t.claims.get('nbf'))}",
         "The token has no usable times (exp and nbf)."),
    Rule("expiry", lambda t: t.now < t.claims["exp"] + t.leeway, lambda t: f"later than {when(t.now - t.leeway)}",
         lambda t: when(t.claims.get("exp")), "The token has expired; request a new one."),
    Rule("not-before", lambda t: t.claims["nbf"] <= t.now + t.leeway, lambda t: f"not after {when(t.now + t.leeway)}",
         lambda t: when(t.claims.get("nbf")), "The token is not valid yet; check the clocks."),
    Rule("issued-at", _is_issued, lambda t: f"a number, not after {when(t.now + t.leeway)}",
         lambda t: when(t.claims.get("iat")), "The token was issued in the future; check the clocks."),
)
OBJECT_ID = Rule("object-id", lambda t: is_guid(t.claims.get("oid")), _is("a GUID"), _claim("oid"),
                 "The token names no object id (oid).")
CLAIM_TYPES = Rule("claims", lambda t: not malformed(t.claims), _is("claims of the right types"),
                   lambda t: ", ".join(malformed(t.claims)) or "all are", "A claim of the token has the wrong type.")
# A caller whose token passed the rules of proof has a token of one of our tenants, and is shown what is wrong with it.
CLAIM_RULES = (
    OBJECT_ID,
    Rule("audience-form", lambda t: is_text(t.claims.get("aud")), _is("one string"), _claim("aud"),
         "The token names no single audience (aud)."),
    *TIME_RULES,
    Rule("access-token", lambda t: is_access_token(t.claims), _is("an access token: azp, appid or scp"),
         lambda t: ", ".join(name for name in KIND_CLAIMS if name in t.claims) or "none of its claims",
         "This is an ID token; send an access token."),
    Rule("proof-of-possession", lambda t: "cnf" not in t.claims, _is("a bearer token"), _claim("cnf"),
         "The token is bound to a key (cnf); send a bearer token."),
    CLAIM_TYPES,
)
# fmt: on
RULES = HEADER_RULES + PROOF_RULES + CLAIM_RULES
DISCLOSED = frozenset(rule.name for rule in CLAIM_RULES)
"""The checks whose failure is shown to the caller: the token has passed every rule of proof by then."""
