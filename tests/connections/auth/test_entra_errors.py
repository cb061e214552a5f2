"""Every error of signing in at Entra that a user can cause: its message names the entry and the fix."""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from azure.core.exceptions import ServiceResponseTimeoutError
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from postern.connections.auth.entra import EntraSignIn
from postern.connections.auth.entra_errors import FAULTS, TokenDetails, advice_on, codes_of, issuer_and_subject
from postern.connections.faults import ConnectionFault
from postern.local_tenant import LocalTenant, serve
from postern.local_tenant.client_certificates import ClientCertificate, new_certificate
from tests.connections.entra_entries import around, by_certificate, by_secret, fault_of, reference
from tests.table import table

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

UNKNOWN = "00000000-0000-0000-0000-000000000001"
FLOW = "https://service.flow.microsoft.com"

DETAILS = TokenDetails(
    way="application",
    authority="https://login.example",
    tenant_id="TENANT",
    client_id="CLIENT",
    scope="SCOPE",
    secret="SECRET-NAME",
    thumbprint="THUMBPRINT",
    issuer="ISSUER",
    subject="SUBJECT",
)


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTenant]:
    with serve(LocalTenant.open(tmp_path_factory.mktemp("tenant"))) as tenant:
        yield tenant


# Entra's error code -> words of what is wrong, words of the fix.
ADVICE = {
    7000215: ("wrong value SECRET-NAME", "Store value SECRET-NAME not the secret's id"),
    7000222: ("SECRET-NAME expired", "new client secret CLIENT SECRET-NAME"),
    700016: ("CLIENT TENANT does not know", "client_id tenant_id"),
    90002: ("TENANT does not know", "tenant_id POSTERN_TENANT_ID POSTERN_CLOUD"),
    500011: ("SCOPE TENANT no such resource", "audience slash missing or doubled service principal"),
    1002012: ("SCOPE /.default", "audience scopes"),
    70011: ("SCOPE", "audience scope /.default"),
    700027: ("certificate SECRET-NAME CLIENT", "Upload THUMBPRINT SECRET-NAME"),
    700024: ("not valid now", "clock AZURE_FEDERATED_TOKEN_FILE"),
    70021: ("ISSUER SUBJECT CLIENT", "federated credential issuer subject"),
    700213: ("ISSUER SUBJECT CLIENT", "Compare issuer subject"),
    700212: ("audience ISSUER SUBJECT CLIENT", "api://AzureADTokenExchange"),
    7000112: ("CLIENT disabled TENANT", "administrator enable"),
    65001: ("CLIENT consent SCOPE", "administrator TENANT consent"),
    650057: ("SCOPE permissions CLIENT", "API permissions audience"),
    53003: ("conditional access TENANT", "administrator policy CLIENT"),
}


def test_the_table_has_every_code():
    assert set(ADVICE) == set(FAULTS)


@table("code", FAULTS)
def test_each_code_names_the_request_and_how_to_fix_it(code: int):
    answer = SimpleNamespace(json=lambda: {"error_codes": [code], "error_description": "AADSTS1: MARKER"})
    error = Exception("MARKER")
    error.response = answer  # type: ignore[attr-defined]
    row = advice_on(error, 400, DETAILS)
    wrong, fix = ADVICE[code]
    assert all(word in row.wrong for word in wrong.split())
    assert all(word in row.fix for word in fix.split())
    assert "MARKER" not in f"{row}"
    assert "{" not in f"{row.wrong}{row.fix}"
    assert not row.fix.endswith(".")


@pytest.mark.parametrize("code", FAULTS)
async def test_each_code_comes_through_the_real_client(tenant: LocalTenant, code: int):
    """The code decides the advice, not the status."""
    tenant.faults.entra.refuse(code, 401 if code in (7000215, 7000222) else 400)
    fault = await fault_of(tenant, by_secret(tenant))
    tenant.faults.entra.restore()
    assert str(fault).startswith("connections.books ")
    assert fault.wrong.partition(" ")[0] == FAULTS[code].wrong.partition(" ")[0]
    assert "Advice to say so" not in str(fault)


async def test_a_code_that_is_not_in_the_table_is_named_with_where_to_look_it_up(tenant: LocalTenant):
    tenant.faults.entra.refuse(50194)
    fault = await fault_of(tenant, by_secret(tenant))
    tenant.faults.entra.restore()
    assert fault.wrong.endswith("(AADSTS50194)")
    assert fault.fix.endswith("https://login.microsoftonline.com/error?code=50194")


CAUSES: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown client": ({"client_id": UNKNOWN}, f"names the application {UNKNOWN}", "Compare client_id"),
    "unknown tenant": ({"tenant_id": UNKNOWN}, f"names the tenant {UNKNOWN}", "Compare tenant_id"),
    "another's audience": ({"audience": "api://unknown"}, "scope api://unknown/.default", "letter by letter"),
    "slash too many": ({"audience": "api://postern/"}, "scope api://postern//.default", "missing or doubled"),
    "two slashes too many": ({"audience": f"{FLOW}//"}, f"scope {FLOW}///.default", "missing or doubled"),
    "scope of a user": ({"audience": "", "scopes": ("api://postern/read",)}, "not end with /.default", "audience"),
    "no resource": ({"audience": "postern"}, "cannot read", "Application ID URI"),
}


@pytest.mark.parametrize("cause", CAUSES)
async def test_what_a_user_writes_wrongly_is_reported(tenant: LocalTenant, cause: str):
    changed, wrong, fix = CAUSES[cause]
    fault = await fault_of(tenant, by_secret(tenant, **changed))
    assert wrong in fault.wrong
    assert fix in fault.fix
    assert fault.entry == "connections.books"


def made() -> ClientCertificate:
    return new_certificate("books", datetime.now(UTC))


def parts(pem: str) -> tuple[str, str]:
    key, mark, certificate = pem.partition("-----BEGIN CERTIFICATE-----")
    return key, mark + certificate


def protected() -> str:
    own = made()
    key = own.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"MARKER"))
    return key.decode() + parts(own.pem())[1]


def elliptic() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return pem + parts(made().pem())[1]


def pfx_without_key() -> str:
    content = pkcs12.serialize_key_and_certificates(None, None, made().certificate, None, NoEncryption())
    return base64.b64encode(content).decode()


CERTIFICATES: dict[str, tuple[Callable[[], str], str]] = {
    "PEM without its key": (lambda: parts(made().pem())[1], "without its private key"),
    "PFX without its key": (pfx_without_key, "without its private key"),
    "key without a certificate": (lambda: parts(made().pem())[0], "without its certificate"),
    "PFX with a password": (lambda: made().pfx(b"MARKER"), "is a PFX with a password, or a damaged one"),
    "PEM with a password": (protected, "has a private key with a password"),
    "PFX cut short": (lambda: made().pfx()[:400], "is a PFX with a password, or a damaged one"),
    "PEM cut short": (lambda: made().pem()[:-200], "cannot be read"),
    "another's key": (lambda: parts(made().pem())[0] + parts(made().pem())[1], "another certificate's"),
    "a key that is not RSA": (elliptic, "not RSA"),
    "a password": (lambda: "MARKER-password", "is not a certificate in PEM or PFX"),
    "base64 of anything": (lambda: base64.b64encode(b"MARKER").decode(), "is not a certificate in PEM or PFX"),
    "nothing": (lambda: "", "is not a certificate in PEM or PFX"),
}


@pytest.mark.parametrize("kind", CERTIFICATES)
async def test_a_certificate_that_cannot_sign_in_is_reported_before_any_request(tenant: LocalTenant, kind: str):
    make, wrong = CERTIFICATES[kind]
    value = make()
    tenant.put_secret("books-certificate", value)
    received = tenant.faults.entra.requests
    fault = await fault_of(tenant, by_certificate(tenant, certificate=reference("books-certificate")))
    assert fault.wrong.startswith('cannot sign in: the secret "books-certificate" ')
    assert wrong in fault.wrong
    assert fault.fix
    assert "MARKER" not in str(fault)
    assert tenant.faults.entra.requests == received


def test_a_pfx_in_lines_is_read_as_one():
    from postern.connections.auth.certificates import read_certificate
    from postern.connections.vault.secret import Secret

    own = made()
    written = own.pfx()
    lines = "\n".join(written[start : start + 64] for start in range(0, len(written), 64))
    found = read_certificate("connections.books", Secret("x", lines))
    assert found.ends == own.certificate.not_valid_after_utc.timestamp()
    assert "content" not in repr(found)


def test_codes_are_read_from_the_answer_and_else_from_the_message():
    error = Exception("Microsoft Entra ID error '(invalid_client) AADSTS7000215: Invalid, see AADSTS50194'")
    assert codes_of(error) == (7000215, 50194)
    for document in ("[]", "{}", '{"error_codes": 5}', "null", "<html>"):
        error.response = SimpleNamespace(json=lambda document=document: json.loads(document))  # type: ignore[attr-defined]
        assert codes_of(error) == (7000215, 50194)
    error.response = SimpleNamespace(json=lambda: {"error_codes": [700016, "x"]})  # type: ignore[attr-defined]
    assert codes_of(error) == (700016,)


@pytest.mark.parametrize("token", ["", "no.token", "e30.e30.", "\x00"])
def test_a_federated_token_that_says_nothing_shows_nothing(token: str):
    assert issuer_and_subject(token) == ("", "")


def test_what_a_federated_token_shows_is_short_and_printable(tenant: LocalTenant):
    shown = issuer_and_subject(tenant.mint({"iss": "x" * 5000, "sub": "a\nb"}))
    assert shown == ("x" * 200, "")


def test_a_managed_identity_names_its_endpoint():
    identity = TokenDetails(way="managed_identity", authority="https://a", tenant_id="", client_id="", scope="s")
    for status, words in ((0, "Azure only"), (400, "not assigned"), (401, "rejects"), (404, "Azure only")):
        assert words in advice_on(Exception("MARKER"), status, identity).wrong
    assert "the managed identity endpoint has an error" in advice_on(Exception(), 503, identity).wrong
    there = replace(identity, endpoint=True)
    assert "which IDENTITY_ENDPOINT names, could not be reached" in advice_on(Exception(), 0, there).wrong
    assert "the managed identity endpoint gets too many" in advice_on(Exception(), 429, identity).wrong


@pytest.mark.parametrize("late", [TimeoutError(), ServiceResponseTimeoutError("MARKER")])
def test_a_slow_identity_endpoint_is_not_said_to_be_missing(late: Exception):
    identity = TokenDetails(way="managed_identity", authority="https://a", tenant_id="", client_id="", scope="s")
    unavailable = Exception("MARKER")
    unavailable.__cause__ = late
    for error in (late, unavailable):
        row = advice_on(error, 0, identity)
        assert "the managed identity endpoint did not respond in time" in row.wrong
        assert "Azure only" not in row.wrong


def test_a_403_without_a_code_is_not_said_to_be_entra_s():
    row = advice_on(Exception("MARKER"), 403, DETAILS)
    assert "is not Entra's" in row.wrong
    assert "a firewall or proxy" in row.fix


@pytest.mark.parametrize("value", ["{}\n", " {}", "{}\r\n", "\t{}"])
async def test_white_space_around_a_client_secret_is_reported_as_that(tenant: LocalTenant, value: str):
    """Entra answers AADSTS7000215, as it does to a wrong one."""
    tenant.put_secret("padded", value.format(tenant.client_secret("backup-job")))
    fault = await fault_of(tenant, by_secret(tenant, client_secret=reference("padded")))
    assert "the secret 'padded' has white space or a line end around it" in fault.wrong
    assert "as one line" in fault.fix


async def test_the_secret_of_postern_s_own_application_is_named_by_its_setting(tenant: LocalTenant):
    auth = by_secret(tenant, client_secret=reference("misspelt"))
    with pytest.raises(ConnectionFault) as caught:
        await EntraSignIn("POSTERN_CLIENT_ID", auth, around(tenant)).credential()
    assert caught.value.entry == "POSTERN_CLIENT_SECRET_NAME"
