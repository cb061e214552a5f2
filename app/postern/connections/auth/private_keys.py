"""Private keys that sign assertions of a client (RFC 7523): read from PEM, and only those that are strong enough."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from joserfc.jwk import ECKey, RSAKey

LEAST_RSA_BITS = 2048


class KeyFault(ValueError):
    """A private key that cannot sign; the message is a predicate, and has nothing of the key."""


def private_key(pem: str) -> "tuple[RSAKey | ECKey, str]":
    """The key in a PEM text, and the algorithm that it signs by (RFC 7518, section 3.1): RSA of 2048 bits and more, or
    an elliptic curve P-256 or P-384. Raises KeyFault."""
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
