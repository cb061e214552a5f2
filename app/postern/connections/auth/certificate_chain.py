"""Signs the assertion of an application whose certificate the other side trusts by subject name and issuer: the whole
chain is sent along (`x5c`). azure-identity's asynchronous client has an option for it, and ignores it.

Reference: learn.microsoft.com/entra/identity-platform/certificate-credentials; RFC 7515, sections 4.1.6 to 4.1.8.
"""

import base64
import time
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key, pkcs12

SECONDS = 600
"""How long an assertion is valid. It is used at once, but clocks may differ."""


def signed_with_chain(content: bytes, client_id: str, token_url: str) -> str:
    """The assertion, signed with the private key of a PEM or PFX that `certificates.py` has checked."""
    found, key = _read(content)
    now = int(time.time())
    claims = {"aud": token_url, "iss": client_id, "sub": client_id, "jti": str(uuid4()), "nbf": now, "iat": now}
    return jwt.encode(
        claims | {"exp": now + SECONDS}, key, algorithm="PS256", headers=chain_headers(ordered(found[0], found[1:]))
    )


def pem_chain(pem: str, key: Any) -> list[x509.Certificate]:
    """The certificates of a PEM text, that of the private key first. Empty if there is none for the key."""
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        return []
    own = next((each for each in found if each.public_key() == key.public_key()), None)
    return ordered(own, (each for each in found if each is not own)) if own is not None else []


def ordered(own: x509.Certificate, others: Iterable[x509.Certificate]) -> list[x509.Certificate]:
    """The chain: each certificate is followed by that of its issuer. Those that belong to none are the last."""
    chain, left = [own], list(others)
    while above := next((each for each in left if each.subject == chain[-1].issuer), None):
        chain.append(above)
        left.remove(above)
    return chain + left


def chain_headers(chain: list[x509.Certificate]) -> dict[str, Any]:
    """The header of an assertion that the key of the first certificate signs."""
    x5c = [base64.b64encode(each.public_bytes(Encoding.DER)).decode() for each in chain]
    return {"x5t#S256": _thumbprint(chain[0], hashes.SHA256()), "x5c": x5c}


def sha1_header(chain: list[x509.Certificate]) -> dict[str, Any]:
    """The certificate's name as AD FS reads it. It is a name, not a check."""
    return {"x5t": _thumbprint(chain[0], hashes.SHA1())}  # noqa: S303


def _thumbprint(certificate: x509.Certificate, by: hashes.HashAlgorithm) -> str:
    return base64.urlsafe_b64encode(certificate.fingerprint(by)).decode().rstrip("=")


def _read(content: bytes) -> tuple[list[x509.Certificate], RSAPrivateKey]:
    """The certificates, that of the key first, and the key."""
    if b"-----BEGIN" in content:
        found, key = x509.load_pem_x509_certificates(content), load_pem_private_key(content, None)
    else:
        key_of_pfx, own, others = pkcs12.load_key_and_certificates(content, None)
        found, key = [each for each in (own, *others) if each is not None], key_of_pfx  # type: ignore[assignment]
    if not isinstance(key, RSAPrivateKey):
        raise TypeError("the certificate has not been checked")
    return found, key
