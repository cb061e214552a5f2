"""Access tokens: their claims as in Entra, signing keys, and the check of the vault and Graph. Pure.

Claims: learn.microsoft.com/entra/identity-platform/access-token-claims-reference.

Cryptography and PyJWT are imported by what signs and verifies: most commands only need the names and addresses.
"""

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from postern.local_tenant.directory import FOREIGN_TENANT_ID, SIGN_IN_CLIENT_ID, Application, Person

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import rsa

LIFETIME = 3600  # seconds
BACKDATED = 300
"""Seconds by which `iat` and `nbf` lie before the issue, as at Entra."""
Version = Literal[1, 2]

_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_PEM = re.compile(rb"-----BEGIN PRIVATE KEY-----.+?-----END PRIVATE KEY-----\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One RSA-2048 key of the tenant. Its `kid` is its JWK thumbprint (RFC 7638)."""

    kid: str
    private: "rsa.RSAPrivateKey" = field(repr=False)

    def jwk(self) -> dict[str, Any]:
        """The public half, as RFC 7517 writes it."""
        from jwt.algorithms import RSAAlgorithm

        public = RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        return {"kty": "RSA", "use": "sig", "kid": self.kid, "n": public["n"], "e": public["e"]}


def new_key() -> bytes:
    """A new private key, as PEM."""
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def split_keys(content: bytes) -> list[bytes]:
    """The single PEM keys of a file that holds several, in order."""
    return _PEM.findall(content)


@lru_cache(maxsize=8)
def read_keys(content: bytes) -> tuple[SigningKey, ...]:
    """The keys of a PEM file, in order. Cached, because parsing a key costs more than signing with it."""
    return tuple(_signing_key(pem) for pem in split_keys(content))


def _signing_key(pem: bytes) -> SigningKey:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from jwt.algorithms import RSAAlgorithm

    key = load_pem_private_key(pem, password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("not an RSA key")  # noqa: TRY004
    public = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    required = json.dumps({"e": public["e"], "kty": "RSA", "n": public["n"]}, separators=(",", ":"))
    return SigningKey(_base64url(hashlib.sha256(required.encode()).digest()), key)


def issuer(version: Version, authority: str, tenant_id: str) -> str:
    """The issuer of a token of this version. The v1 issuer is the same in every tenant of the cloud."""
    return f"{authority}/{tenant_id}/v2.0" if version == 2 else f"https://sts.windows.net/{tenant_id}/"


def claims_of(
    who: Person | Application,
    *,
    audience: str,
    issued_by: str,
    tenant_id: str,
    version: Version,
    scopes: Collection[str],
    roles: Collection[str],
    now: int,
    through: Application | None = None,
) -> dict[str, Any]:
    """The claims of an access token for a person, or for an application that acts as itself. `now` in seconds.
    `through`: the application through which a person signed in; None for the public client of the command line."""
    claims: dict[str, Any] = {
        "aud": audience,
        "iss": issued_by,
        "iat": now - BACKDATED,
        "nbf": now - BACKDATED,
        "exp": now + LIFETIME,
        "oid": who.object_id,
        "rh": f"1.{secrets.token_urlsafe(24)}.",
        "tid": tenant_id,
        "uti": secrets.token_urlsafe(16),
        "ver": f"{version}.0",
    }
    if roles:
        claims["roles"] = list(roles)
    if isinstance(who, Person):
        claims |= _of_person(who, audience, version, scopes)
        public = through is None or through.public
        client, proof = SIGN_IN_CLIENT_ID if through is None else through.client_id, "0" if public else "1"
        claims |= facets_of(through, who) if through is not None else {}
    else:
        claims |= {"idtyp": "app", "sub": who.object_id, **facets_of(who, who)}
        client, proof = who.client_id, "1"
        if version == 1:
            claims["idp"] = issued_by
    claims |= {"azp": client, "azpacr": proof} if version == 2 else {"appid": client, "appidacr": proof}
    return claims


def facets_of(client: Application, who: Person | Application) -> dict[str, Any]:
    """The claims of an agent's tokens, {} if the client is none. Facets are in any order, with others among them.

    Source: learn.microsoft.com/entra/agent-id/identity-platform/agent-token-claims."""
    if not client.blueprint:
        return {}
    subject = {"xms_sub_fct": "9 3 11"} if client is who else {}
    return {"xms_act_fct": "3 9 11", "xms_par_app_azp": client.blueprint, **subject}


def id_claims_of(
    person: Person, *, client_id: str, issued_by: str, tenant_id: str, nonce: str, scopes: Collection[str], now: int
) -> dict[str, Any]:
    """The claims of an ID token (learn.microsoft.com/entra/identity-platform/id-token-claims-reference). Those that
    name the person require the scope `profile`, `email` its own."""
    subject = hashlib.sha256(f"{person.object_id} {client_id}".encode()).digest()
    claims: dict[str, Any] = {
        "aud": client_id,
        "iss": issued_by,
        "iat": now - BACKDATED,
        "nbf": now - BACKDATED,
        "exp": now + LIFETIME,
        "rh": f"1.{secrets.token_urlsafe(24)}.",
        "sid": secrets.token_urlsafe(16),
        "sub": _base64url(subject),
        "tid": tenant_id,
        "uti": secrets.token_urlsafe(16),
        "ver": "2.0",
    }
    if nonce:
        claims["nonce"] = nonce
    if person.guest:
        claims["idp"] = issuer(1, "", FOREIGN_TENANT_ID)
    if "profile" in scopes:
        claims |= {"name": person.display_name, "oid": person.object_id, "preferred_username": person.mail}
    if "email" in scopes:
        claims["email"] = person.mail
    return claims | ({"roles": list(person.roles)} if person.roles else {})


def _of_person(person: Person, audience: str, version: Version, scopes: Collection[str]) -> dict[str, Any]:
    subject = hashlib.sha256(f"{person.object_id} {audience}".encode()).digest()  # differs by audience
    claims: dict[str, Any] = {
        "acct": int(person.guest),
        "name": person.display_name,
        "sub": _base64url(subject),
    }
    if scopes:
        claims["scp"] = " ".join(scopes)
    if person.guest:
        claims["idp"] = issuer(1, "", FOREIGN_TENANT_ID)
    if version == 2:
        return claims | {"preferred_username": person.mail}
    if not person.guest:
        claims["upn"] = person.user_principal_name
    return claims | {"acr": "1", "amr": ["pwd"], "unique_name": person.mail}


def version_for(audience: str) -> Version:
    """The version of tokens for a resource. Entra's own APIs, and registrations by default, get v1 tokens with the
    App ID URI as audience."""
    return 2 if _GUID.fullmatch(audience) else 1


def encode(claims: Mapping[str, Any] | bytes, headers: Mapping[str, Any], key: Any) -> str:
    """The compact form of a token (RFC 7515, section 7.1), signed with the header's `alg`, or with RS256 if that is
    unknown.

    The parts are joined here because PyJWT does not write what forged tokens need: odd types, `crit`, an RSA key's PEM
    as an HMAC secret. `claims` as bytes are not changed.
    """
    payload = claims if isinstance(claims, bytes) else _json(claims)
    from jwt.algorithms import get_default_algorithms

    head = f"{_base64url(_json(headers))}.{_base64url(payload)}"
    algorithms = get_default_algorithms()
    named = headers.get("alg")
    algorithm = algorithms.get(named) if isinstance(named, str) else None
    signature = (algorithm or algorithms["RS256"]).sign(head.encode(), key)
    return f"{head}.{_base64url(signature)}"


def verify(
    token: str, keys: Sequence[SigningKey], *, issuers: Collection[str], audience: str, now: float
) -> dict[str, Any] | None:
    """The claims of a token that this tenant signed for `audience` and that is valid `now`; otherwise None."""
    return _decoded(token, keys, now, audience=audience, issuer=list(issuers))


def verify_for_any(token: str, keys: Sequence[SigningKey], *, now: float | None) -> dict[str, Any] | None:
    """The same for any audience and issuer, both strings, for a service that reports which of them is wrong. At any
    time if `now` is None; its times are numbers then."""
    claims = _decoded(token, keys, now, any_audience=True)
    known = claims is not None and isinstance(claims["aud"], str) and isinstance(claims["iss"], str)
    return claims if known else None


def _decoded(
    token: str, keys: Sequence[SigningKey], now: float | None, *, any_audience: bool = False, **named: Any
) -> dict[str, Any] | None:
    """The claims of a token that one of the keys signed and that is valid `now`; otherwise None."""
    import jwt

    try:
        kid = jwt.get_unverified_header(token).get("kid")
        key = next((key for key in keys if key.kid == kid), None)
        if key is None:
            return None
        claims: dict[str, Any] = jwt.decode(
            token,
            key.private.public_key(),
            algorithms=["RS256"],
            options={
                "require": ["exp", "nbf", "iss", "aud"],
                "verify_exp": False,  # by `now`, below
                "verify_nbf": False,
                "verify_aud": not any_audience,
            },
            **named,
        )
        return claims if claims["nbf"] <= (claims["nbf"] if now is None else now) < claims["exp"] else None
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
        return None


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
