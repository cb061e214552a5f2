"""Signs the assertion of an application whose certificate Entra trusts by subject name and issuer: the whole chain is
sent along (`x5c`). azure-identity's asynchronous client has an option for it, and ignores it.

Reference: learn.microsoft.com/entra/identity-platform/certificate-credentials; RFC 7515, section 4.1.6.
"""

import base64
import time
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
    chain, key = _read(content)
    now = int(time.time())
    claims = {"aud": token_url, "iss": client_id, "sub": client_id, "jti": str(uuid4()), "nbf": now, "iat": now}
    thumbprint = base64.urlsafe_b64encode(chain[0].fingerprint(hashes.SHA256())).decode().rstrip("=")
    x5c = [base64.b64encode(each.public_bytes(Encoding.DER)).decode() for each in chain]
    return jwt.encode(
        claims | {"exp": now + SECONDS}, key, algorithm="PS256", headers={"x5t#S256": thumbprint, "x5c": x5c}
    )


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
