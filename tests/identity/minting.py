"""Tokens and key sets as Entra, or an attacker, would make them."""

import asyncio
import base64
import json
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from jwt.algorithms import RSAAlgorithm

from postern.access import Refused
from postern.identity.issuers import Tenant, tenant
from postern.identity.key_set import SigningKey
from postern.identity.token import parse, verify

TENANT_ID = "11111111-aaaa-4111-8111-111111111111"
OTHER_ID = "22222222-bbbb-4222-8222-222222222222"
CONSUMERS_ID = "9188040d-6c67-4c5b-b112-36a304b66dad"
LISA = "33333333-cccc-4333-8333-333333333333"
CLIENT = "44444444-dddd-4444-8444-444444444444"
NOW = 1_800_000_000
TENANT: Tenant = tenant(TENANT_ID)
TENANTS = {TENANT_ID: TENANT}
V1 = f"https://sts.windows.net/{TENANT_ID}/"
V2 = f"https://login.microsoftonline.com/{TENANT_ID}/v2.0"


@cache
def _made(name: str, bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def private_key(name: str = "entra", bits: int = 2048) -> rsa.RSAPrivateKey:
    """One key for each name, made once."""
    return _made(name, bits)


def signing_key(name: str = "entra", kid: str = "key-1") -> SigningKey:
    key = private_key(name).public_key()
    return SigningKey(kid, key, key.key_size)


def jwk(name: str = "entra", kid: Any = "key-1", bits: int = 2048, **members: Any) -> dict[str, Any]:
    numbers = RSAAlgorithm.to_jwk(private_key(name, bits).public_key(), as_dict=True)
    return {"kty": "RSA", "use": "sig", "kid": kid, "n": numbers["n"], "e": numbers["e"], **members}


def key_set(*entries: Any) -> bytes:
    return json.dumps({"keys": list(entries)}).encode()


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of Lisa's v2 token; a change to `...` leaves a claim out."""
    made = {
        "iss": V2,
        "aud": "api://postern",
        "tid": TENANT_ID,
        "ver": "2.0",
        "oid": LISA,
        "sub": "pairwise",
        "azp": CLIENT,
        "scp": "Triggers.Run",
        "name": "Lisa",
        "iat": NOW - 10,
        "nbf": NOW - 10,
        "exp": NOW + 3600,
        **changes,
    }
    return {name: value for name, value in made.items() if value is not ...}


def v1_claims(**changes: Any) -> dict[str, Any]:
    return claims(iss=V1, ver="1.0", azp=..., appid=CLIENT, **changes)


def header(**changes: Any) -> dict[str, Any]:
    made = {"typ": "JWT", "alg": "RS256", "kid": "key-1", **changes}
    return {name: value for name, value in made.items() if value is not ...}


def signed(head: str, body: str, name: str = "entra") -> str:
    """Any two segments with an RS256 signature over them."""
    message = f"{head}.{body}"
    signature = private_key(name).sign(message.encode("utf-8"), padding.PKCS1v15(), hashes.SHA256())
    return f"{message}.{b64(signature)}"


def token(
    body: dict[str, Any] | bytes | None = None, head: dict[str, Any] | bytes | None = None, by: str = "entra"
) -> str:
    """A token with these claims and this header (objects, or bytes as they are), signed with RS256."""
    body = claims() if body is None else body
    head = header() if head is None else head
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (head, body)]
    return signed(b64(parts[0]), b64(parts[1]), by)


def refusal(text: str, now: float = NOW, *, published: bool = True) -> Refused | None:
    """Why this token is refused; None when it is not. `published`: whether its key is found."""
    try:
        verify(parse(text), TENANTS, signing_key() if published else None, now, 60)
    except Refused as refused:
        return refused
    return None


def failed(text: str, now: float = NOW) -> str | None:
    """The rule by which this token is refused; None when it is not."""
    refused = refusal(text, now)
    return refused.failed.name if refused else None


def bearer(value: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"postern.test"), (b"authorization", b"Bearer " + value.encode()), (b"accept", b"*/*")]


class Clock:
    """A clock that is moved by hand."""

    def __init__(self, at: float = 0.0) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


class Authority:
    """Publishes a key set, counts how often it is requested, and may be slow or out of reach."""

    def __init__(self, *entries: Any) -> None:
        self.document = key_set(*entries)
        self.failure: Exception | None = None
        self.fetches = 0
        self.open = asyncio.Event()
        self.open.set()

    async def fetch(self) -> bytes:
        self.fetches += 1
        document, failure = self.document, self.failure
        await self.open.wait()
        if failure:
            raise failure
        return document
