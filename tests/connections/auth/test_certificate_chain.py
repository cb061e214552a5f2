"""A certificate whose chain is sent along, for an application that trusts a subject name and issuer."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from postern.local_tenant import LocalTenant, serve
from postern.local_tenant.assertions import Assertions
from postern.local_tenant.client_certificates import ClientCertificate, new_certificate
from tests.connections.entra_entries import by_certificate, sign_in

pytestmark = pytest.mark.anyio

LEAF, AUTHORITY = (new_certificate(name, datetime.now(UTC), 30) for name in ("leaf", "authority"))


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTenant]:
    with serve(LocalTenant.open(tmp_path_factory.mktemp("tenant"))) as tenant:
        yield tenant


@pytest.fixture
def headers(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The headers of the assertions that Entra gets."""
    found: list[dict[str, Any]] = []
    check = Assertions.check

    def noted(self: Assertions, application: Any, assertion: str) -> None:
        found.append(jwt.get_unverified_header(assertion))
        check(self, application, assertion)

    monkeypatch.setattr(Assertions, "check", noted)
    return found


def pem(*parts: bytes) -> str:
    return b"".join(parts).decode()


def pfx() -> str:
    made = pkcs12.serialize_key_and_certificates(
        b"leaf", LEAF.key, LEAF.certificate, [AUTHORITY.certificate], NoEncryption()
    )
    return base64.b64encode(made).decode()


def certificate(of: ClientCertificate) -> bytes:
    return of.certificate.public_bytes(Encoding.PEM)


KEY = LEAF.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
FORMS = {
    "pfx": (pfx(), "application/x-pkcs12"),
    "pem": (pem(KEY, certificate(LEAF), certificate(AUTHORITY)), "application/x-pem-file"),
    "pem with the key between": (pem(certificate(LEAF), KEY, certificate(AUTHORITY)), "application/x-pem-file"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("chain", [True, False])
async def test_the_chain_is_sent_on_demand_and_the_key_never(
    tenant: LocalTenant, headers: list[dict[str, Any]], form: str, chain: bool
):
    value, content_type = FORMS[form]
    tenant.put_secret(tenant.applications["invoice-export"].certificate_name, value, content_type=content_type)
    await sign_in(tenant, by_certificate(tenant, certificate_chain=chain)).credential()
    [header] = headers
    sent = [x509.load_der_x509_certificate(base64.b64decode(part)) for part in header.get("x5c", [])]
    assert sent == ([LEAF.certificate, AUTHORITY.certificate] if chain else [])
    assert "PRIVATE" not in str(header)
