"""The certificates that an application signs in with, with their keys, in PEM or PFX as Key Vault exports them."""

import base64
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID

PEM = "application/x-pem-file"
PFX = "application/x-pkcs12"
"""Key Vault's content types for the two forms."""

_CLOCK_SKEW = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A self-signed certificate, as Entra accepts it, with its key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey = field(repr=False)

    def pem(self) -> str:
        """The key and the certificate, one after the other."""
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return (key + self.certificate.public_bytes(Encoding.PEM)).decode()

    def pfx(self, password: bytes = b"") -> str:
        """Both as PKCS #12 in base64: without a password as in Key Vault, with one as people may upload it."""
        encryption = BestAvailableEncryption(password) if password else NoEncryption()
        content = pkcs12.serialize_key_and_certificates(None, self.key, self.certificate, None, encryption)
        return base64.b64encode(content).decode()


def new_certificate(common_name: str, now: datetime, days: int = 365) -> ClientCertificate:
    """A certificate with a new RSA key, valid for so many days."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return ClientCertificate(certificate, key)


def certificate_in(value: str, content_type: str) -> x509.Certificate | None:
    """The certificate in a secret that the tenant wrote; None if there is none."""
    if content_type == PFX:
        return pkcs12.load_key_and_certificates(base64.b64decode(value), None)[1]
    return x509.load_pem_x509_certificate(value.encode())
