"""Selects the usable keys of a tenant's published key set. Pure.

Source: RFC 7517, RFC 7518 section 6.3, and Microsoft, "Signing key rollover". The document comes from the authority
over the network and is still not trusted: an entry that cannot be an RS256 verification key is skipped.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK

from postern.identity.documents import json_object
from postern.identity.issuers import TEMPLATE, Tenant

MAX_KEYS = 1000
"""Entries of a key set. Microsoft advises to plan for growth ("Signing key rollover")."""
MAX_KID_LENGTH = 256
MIN_BITS = 2048
MAX_BITS = 16384
MIN_EXPONENT = 65537
_MAX_MODULUS_TEXT = MAX_BITS // 6 + 8
_MAX_EXPONENT_TEXT = 11  # 64 bits: a larger exponent only makes verifying expensive
_PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


class KeysFault(ValueError):
    """A key set that cannot be used. The message holds nothing of the document."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The public key of a tenant's signing key. Equal ones are the same key material under the same name."""

    kid: str
    public_key: RSAPublicKey
    bits: int


def parse_keys(document: bytes, tenant: Tenant) -> dict[str, SigningKey]:
    """The usable keys of a JWK Set (RFC 7517) by `kid`. Unusable entries are skipped one by one. Two different keys of
    one name are ambiguous, so both are dropped.

    Raises KeysFault if the document is not a key set, has more than MAX_KEYS entries, or no usable one.
    """
    try:
        entries = json_object(document).get("keys")
    except ValueError as error:
        raise KeysFault(f"the key set is {error}") from None
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise KeysFault(f"the key set has no list of at most {MAX_KEYS} keys")
    keys: dict[str, SigningKey] = {}
    ambiguous: set[str] = set()
    for entry in entries:
        key = _signing_key(entry, tenant)
        if key is not None and keys.setdefault(key.kid, key) != key:
            ambiguous.add(key.kid)
    usable = {kid: key for kid, key in keys.items() if kid not in ambiguous}
    if not usable:
        raise KeysFault(f"the key set has no usable key among {len(entries)}")
    return usable


def _signing_key(entry: Any, tenant: Tenant) -> SigningKey | None:
    """The key of one entry, or None if it is not a key for verifying this tenant's RS256 signatures."""
    if not isinstance(entry, dict) or not _is_meant_for_rs256(entry) or not _speaks_for(tenant, entry):
        return None
    try:
        key = PyJWK({name: entry[name] for name in ("kty", "n", "e")}, "RS256").key
    except Exception:  # PyJWT and cryptography raise many kinds for numbers that are not a key
        return None
    if not isinstance(key, RSAPublicKey) or not MIN_BITS <= key.key_size <= MAX_BITS:
        return None
    numbers = key.public_numbers()
    if numbers.e < MIN_EXPONENT or numbers.e % 2 == 0 or numbers.n % 2 == 0:
        return None
    return SigningKey(entry["kid"], key, key.key_size)


def _is_meant_for_rs256(entry: Mapping[str, Any]) -> bool:
    kid, operations = entry.get("kid"), entry.get("key_ops", ["verify"])
    return (
        entry.get("kty") == "RSA"
        and entry.get("use", "sig") == "sig"
        and entry.get("alg", "RS256") == "RS256"
        and isinstance(operations, list)
        and "verify" in operations
        and isinstance(kid, str)
        and 1 <= len(kid) <= MAX_KID_LENGTH
        and _is_short_text(entry.get("n"), _MAX_MODULUS_TEXT)
        and _is_short_text(entry.get("e"), _MAX_EXPONENT_TEXT)
        and not entry.keys() & _PRIVATE_MEMBERS
    )


def _speaks_for(tenant: Tenant, entry: Mapping[str, Any]) -> bool:
    """Entra's shared keys name the issuers that they may sign for, as a template or in full. A key of another tenant,
    or of consumers, must not sign for ours (Microsoft: "Validate the signing key issuer")."""
    if "issuer" not in entry:
        return True
    issuer = entry["issuer"]
    return isinstance(issuer, str) and issuer.replace(TEMPLATE, tenant.tenant_id) in tenant.issuers


def _is_short_text(value: Any, longest: int) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= longest
