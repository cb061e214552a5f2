"""The certificate authority that clients have to trust, and the server's certificate for loopback."""

import ipaddress
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from postern.local_tenant.state import CA_FILE, HOST, SERVER_FILE, SERVER_KEY_FILE, TenantFault, create_file, write_file

_CA_KEY_FILE = "ca-key.pem"

_CA_LIFE, _CA_RENEWED_BEFORE = timedelta(days=3650), timedelta(days=400)  # renewed earlier than a server's life
_SERVER_LIFE, _SERVER_RENEWED_BEFORE = timedelta(days=365), timedelta(days=30)
_CLOCK_SKEW = timedelta(days=1)
_T = TypeVar("_T")


def ensure_certificates(folder: Path, now: datetime) -> None:
    """Make missing certificates, and renew those that expire soon. The keys stay, so a client that still trusts the
    former authority certificate accepts certificates that the renewed one signs."""
    ca_key = _key(folder / _CA_KEY_FILE)
    server_key = _key(folder / SERVER_KEY_FILE)
    ca = _kept(folder / CA_FILE, ca_key, now + _CA_RENEWED_BEFORE)
    if ca is None:
        ca = _authority(ca_key, now)
        write_file(folder / CA_FILE, ca.public_bytes(Encoding.PEM))
    server = _kept(folder / SERVER_FILE, server_key, now + _SERVER_RENEWED_BEFORE)
    if server is None or not _issued_by(ca, server):
        server = _server(server_key, ca, ca_key, now)
        write_file(folder / SERVER_FILE, server.public_bytes(Encoding.PEM))


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    content = create_file(path, _new_key)
    return _parsed(path, lambda: _elliptic(content))


def _new_key() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _elliptic(content: bytes) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(content, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not an elliptic-curve key")  # noqa: TRY004
    return key


def _kept(path: Path, key: ec.EllipticCurvePrivateKey, good_until: datetime) -> x509.Certificate | None:
    """The certificate in the file, if it is for this key and does not expire before `good_until`."""
    if not path.exists():
        return None
    certificate = _parsed(path, lambda: x509.load_pem_x509_certificate(path.read_bytes()))
    if certificate.public_key() != key.public_key() or certificate.not_valid_after_utc < good_until:
        return None
    return certificate


def _parsed(path: Path, parse: Callable[[], _T]) -> _T:
    try:
        return parse()
    except (ValueError, TypeError) as error:
        raise TenantFault(
            f"{path} is damaged: delete the folder {path.parent}; it is made again at the next start"
        ) from error


def _issued_by(ca: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _authority(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = _name("Postern local tenant authority")
    loopback = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_network(HOST))]
    return (
        _builder(key, name, name, now, _CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        # If its key ever leaves the laptop, this authority can still certify only loopback.
        .add_extension(x509.NameConstraints(permitted_subtrees=loopback, excluded_subtrees=None), critical=True)
        .sign(key, hashes.SHA256())
    )


def _server(
    key: ec.EllipticCurvePrivateKey, ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey, now: datetime
) -> x509.Certificate:
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(HOST))]
    # OpenSSL's strict verification (the default from Python 3.13 on) requires both key identifiers.
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    return (
        _builder(key, _name("Postern local tenant"), ca.subject, now, _SERVER_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(signer, critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _builder(
    key: ec.EllipticCurvePrivateKey, subject: x509.Name, issuer: x509.Name, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.astimezone(UTC) - _CLOCK_SKEW)
        .not_valid_after(now.astimezone(UTC) + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
