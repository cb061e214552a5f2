"""Reads a certificate with its private key from a Key Vault secret, and reports why one cannot be used to sign in."""

import base64
import binascii
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, pkcs12

from postern.connections.faults import ConnectionFault
from postern.connections.vault.secret import Secret

_KEY = b"PRIVATE KEY-----"
_ASN1_SEQUENCE = b"\x30"


@dataclass(frozen=True, slots=True)
class Certificate:
    """The certificate to sign in with: PEM or PFX as bytes. `ends` is when it expires, in Unix seconds. `thumbprint` is
    the SHA-1 that Entra's pages list it by."""

    content: bytes = field(repr=False)
    ends: float
    thumbprint: str


def read_certificate(entry: str, secret: Secret) -> Certificate:
    """The certificate in a secret: PEM, or PFX in base64 without a password (learn.microsoft.com/azure/key-vault/
    certificates/about-certificates, "Exportable or non-exportable key"). Checking the key takes about 100 ms.
    Raises ConnectionFault."""
    try:
        content = _content(secret)
        certificate, key = _pem(content) if b"-----BEGIN" in content else _pfx(content)
        _check(certificate, key)
    except _Wrong as wrong:
        fault = ConnectionFault(entry, f'cannot sign in: the secret "{secret.name}" {wrong.args[0]}', wrong.args[1])
    else:
        thumbprint = certificate.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303 - a name, not a check
        return Certificate(content, certificate.not_valid_after_utc.timestamp(), thumbprint)
    raise fault


class _Wrong(Exception):
    """The problem, as a predicate, and the fix."""


_FORM = (
    "Name the certificate of the Key Vault (its secret of the same name holds both parts), or store PEM text that has "
    "the certificate and its private key"
)


def _content(secret: Secret) -> bytes:
    text = secret.value.strip()
    if "-----BEGIN" in text:
        return text.encode()
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise _Wrong("is not a certificate in PEM or PFX", _FORM) from None
    if not content.startswith(_ASN1_SEQUENCE):
        raise _Wrong("is not a certificate in PEM or PFX", _FORM)
    return content


def _pem(content: bytes) -> tuple[x509.Certificate, object]:
    if _KEY not in content:
        raise _Wrong("has a certificate without its private key", _FORM)
    if b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in content or b"Proc-Type: 4,ENCRYPTED" in content:
        raise _Wrong("has a private key with a password", "Store the certificate and its key without a password")
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise _Wrong("has a private key without its certificate", _FORM)
    try:
        return x509.load_pem_x509_certificate(content), load_pem_private_key(content, None)
    except (ValueError, TypeError):
        raise _Wrong("has a certificate or a private key in PEM that cannot be read", _FORM) from None


def _pfx(content: bytes) -> tuple[x509.Certificate, object]:
    try:
        key, certificate, _ = pkcs12.load_key_and_certificates(content, None)
    except (ValueError, TypeError):
        fix = "Export it without a password (Key Vault's own certificates have none)"
        raise _Wrong("is a PFX with a password, or a damaged one", fix) from None
    if key is None:
        raise _Wrong("has a certificate without its private key", _FORM)
    if certificate is None:
        raise _Wrong("has a private key without its certificate", _FORM)
    return certificate, key


def _check(certificate: x509.Certificate, key: object) -> None:
    if not isinstance(key, RSAPrivateKey):
        raise _Wrong("has a key that is not RSA", "Make a certificate with an RSA key; Entra accepts no others here")
    if certificate.public_key() != key.public_key():
        raise _Wrong("has a private key that is another certificate's", _FORM)
