"""Reads private keys that sign client assertions (RFC 7523) from PEM, and rejects weak ones."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from joserfc.jwk import ECKey, RSAKey

LEAST_RSA_BITS = 2048


class KeyFault(ValueError):
    """A private key that cannot sign. The message is a predicate and contains no part of the key."""


def private_key(pem: str) -> "tuple[RSAKey | ECKey, str]":
    """The key in a PEM text, and its signing algorithm (RFC 7518, section 3.1). Accepted are RSA keys of at least 2048
    bits, and the curves P-256 and P-384. Raises KeyFault."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from joserfc.jwk import ECKey, RSAKey

    if "PRIVATE KEY-----" not in pem:
        raise KeyFault("is not a private key in PEM")
    try:
        key = load_pem_private_key(pem.encode(), None)
    except TypeError:
        raise KeyFault("is encrypted with a password") from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyFault("is not a private key in PEM, or lost its line ends") from None
    if isinstance(key, RSAPrivateKey):
        if key.key_size < LEAST_RSA_BITS:
            raise KeyFault(f"is an RSA key of fewer than {LEAST_RSA_BITS} bits")
        return RSAKey.import_key(pem), "RS256"
    if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1 | SECP384R1):
        return ECKey.import_key(pem), "ES256" if isinstance(key.curve, SECP256R1) else "ES384"
    raise KeyFault("is neither an RSA key nor one of the curves P-256 and P-384")
