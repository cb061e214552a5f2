"""The rules for ID tokens, by which people sign in with a browser. Pure.

A token passes the rules of access tokens up to the proof (`token.py`), then those here. So no token is both: a trigger
rejects an ID token, and a sign-in rejects an access token. Source: OpenID Connect Core 1.0, sections 3.1.3.7 and
3.1.3.8, and Microsoft, "ID token claims reference".
"""

import base64
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from postern.access import Caller, Refused
from postern.identity.claims import KIND_CLAIMS, is_id_token, is_text, name_in
from postern.identity.issuers import Tenant
from postern.identity.key_set import SigningKey
from postern.identity.token import (
    CLAIM_TYPES,
    HEADER_RULES,
    OBJECT_ID,
    PROOF_RULES,
    TIME_RULES,
    Parsed,
    Rule,
    checks_by,
    shown,
)


@dataclass(frozen=True, slots=True, repr=False)
class Wanted:
    """What an ID token must be for: the tenant, the application and the authorization request that it was requested
    with. `access_token` and `code` are those that came along. It has no repr, so that no traceback shows a token."""

    tenant_id: str
    client_id: str
    nonce: str
    access_token: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """A person who signed in. The name is for showing only: it can be reassigned. `issued_at` is when the ID token was
    issued (iat), 0 if it does not say."""

    tenant_id: str
    object_id: str
    name: str
    roles: frozenset[str]
    issued_at: float = field(default=0.0, compare=False)

    def as_caller(self, client_id: str) -> Caller:
        """The person as a caller by way of this application."""
        return Caller("user", self.object_id, self.tenant_id, client_id, client_id, self.name, issued_at=self.issued_at)


def verify_id_token(
    parsed: Parsed, tenant: Tenant, key: SigningKey | None, wanted: Wanted, now: float, leeway: float
) -> Person:
    """The person of an ID token that passes every check. `key` is the one that the tenant publishes under the token's
    `kid`. The first failed check raises Refused; `proved` says if the token is one of the tenant's."""
    of_proof = len(HEADER_RULES) + len(PROOF_RULES) + 1
    tenants = {wanted.tenant_id: tenant} if tenant.tenant_id == wanted.tenant_id else {}
    made = []
    for check in checks_by(rules(wanted), parsed, tenants, key, now, leeway):
        made.append(check)
        if not check.passed:
            raise Refused(made, proved=len(made) > of_proof)
    claims = parsed.claims
    roles, issued_at = frozenset(claims.get("roles", ())), float(claims.get("iat", 0))
    return Person(tenant.tenant_id, claims["oid"].lower(), name_in(claims), roles, issued_at)


def rules(wanted: Wanted) -> tuple[Rule, ...]:
    """All rules, in order."""
    return (
        *HEADER_RULES,
        *PROOF_RULES,
        Rule(
            "id-token",
            lambda t: t.header.get("typ", "JWT").lower() == "jwt" and is_id_token(t.claims),
            lambda _: "an ID token: no azp, appid or scp",
            lambda t: ", ".join(name for name in KIND_CLAIMS if name in t.claims) or "none of these claims",
        ),
        Rule(
            "client",
            lambda t: is_text(wanted.client_id) and t.claims.get("aud") == wanted.client_id,
            lambda _: wanted.client_id,
            lambda t: shown(t.claims.get("aud")),
        ),
        Rule(
            "id-token-version",
            lambda t: t.claims.get("ver") == "2.0",
            lambda _: "2.0",
            lambda t: shown(t.claims.get("ver")),
        ),
        Rule(
            "nonce",
            lambda t: is_text(wanted.nonce) and _same(t.claims["nonce"], wanted.nonce),
            lambda _: "that of this sign-in",
            lambda t: "another" if "nonce" in t.claims else "none",
        ),
        *TIME_RULES,
        OBJECT_ID,
        _hash_rule("at_hash", wanted.access_token),
        _hash_rule("c_hash", wanted.code),
        CLAIM_TYPES,
    )


def half_hash(text: str) -> str:
    """The left half of the SHA-256 of a token or code: what `at_hash` and `c_hash` are in a token that is signed with
    RS256 (OpenID Connect Core 1.0, section 3.1.3.6)."""
    return base64.urlsafe_b64encode(sha256(text.encode()).digest()[:16]).rstrip(b"=").decode()


def _hash_rule(name: str, of: str) -> Rule:
    """Entra's tokens from the token endpoint have no such claim. One that is there must be right, also if there is
    nothing to compare it with."""

    def holds(claims: Mapping[str, Any]) -> bool:
        return name not in claims or (of != "" and _same(claims[name], half_hash(of)))

    return Rule(
        name,
        lambda t: holds(t.claims),
        lambda _: "none, or that of what came along",
        lambda t: "none" if name not in t.claims else "the right one" if holds(t.claims) else "another",
    )


def _same(found: Any, expected: str) -> bool:
    """Compared in constant time; only a string can be the same."""
    return isinstance(found, str) and hmac.compare_digest(found.encode("utf-8", "replace"), expected.encode())
