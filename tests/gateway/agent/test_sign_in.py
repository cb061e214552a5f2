"""The agent's sign-in, at a local tenant that speaks as Entra does."""

import base64
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from postern.gateway.agent.settings import AgentSettings, SignIn
from postern.gateway.agent.sign_in import AGAIN, SKEW, SignInFault, Token, Tokens
from postern.local_tenant import LocalTenant
from tests.gateway.agent.test_agent import settings as agent_settings
from tests.process.identity_endpoint import identity_endpoint

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

NIGHTLY = "nightly-report"


@pytest.fixture
def tenant(local_tenant: LocalTenant) -> LocalTenant:
    return local_tenant


def settings(tenant: LocalTenant, sign_in: SignIn, **more: Any) -> AgentSettings:
    return AgentSettings(
        name="madrid",
        server="https://postern.example",
        tenant_id=tenant.tenant_id,
        audience=more.pop("audience", tenant.audiences[0]),
        authority=tenant.authority,
        ca_bundle=tenant.ca_bundle,
        sign_in=sign_in,
        **more,
    )


def by_secret(tenant: LocalTenant, folder: Path, secret: str = "") -> SignIn:
    path = folder / "secret"
    path.write_text((secret or tenant.client_secret(NIGHTLY)) + "\n", "utf-8")
    return SignIn(client_id=tenant.applications[NIGHTLY].client_id, client_secret_file=path)


async def test_a_client_secret_of_a_file_gets_a_token_for_the_audience(tenant: LocalTenant, tmp_path: Path):
    tokens = Tokens(settings(tenant, by_secret(tenant, tmp_path)))
    token = await tokens.get()
    claims = jwt.decode(token.value, options={"verify_signature": False})
    assert claims["oid"] == tenant.applications[NIGHTLY].object_id
    assert abs(token.expires_on - claims["exp"]) <= 2
    assert await tokens.get() is token
    assert token.value not in repr(token)
    assert tokens.skew is not None
    assert abs(tokens.skew) < SKEW


async def test_a_certificate_of_a_file_gets_a_token(tenant: LocalTenant, tmp_path: Path):
    pfx = base64.b64decode(tenant.vault.versions("invoice-export-certificate")[-1].value)
    key, certificate, _ = pkcs12.load_key_and_certificates(pfx, None)
    assert key is not None
    assert certificate is not None
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "agent.pem").write_bytes(certificate.public_bytes(Encoding.PEM) + plain)
    own = SignIn(client_id=tenant.applications["invoice-export"].client_id, certificate=tmp_path / "agent.pem")
    assert (await Tokens(settings(tenant, own)).get()).value


async def test_a_managed_identity_gets_a_token(tenant: LocalTenant, monkeypatch: pytest.MonkeyPatch):
    with identity_endpoint("token-of-the-machine") as endpoint:
        for name, value in endpoint.variables.items():
            monkeypatch.setenv(name, value)
        assert (await Tokens(settings(tenant, SignIn(managed_identity=True))).get()).value == "token-of-the-machine"
        assert endpoint.received[0]["resource"] == [tenant.audiences[0]]


async def fault_of(given: AgentSettings) -> SignInFault:
    with pytest.raises(SignInFault) as caught:
        await Tokens(given).get()
    assert caught.value.__cause__ is caught.value.__context__ is None
    return caught.value


async def test_a_wrong_secret_is_reported_by_its_code_and_fix_and_never_shown(tenant: LocalTenant, tmp_path: Path):
    found = await fault_of(settings(tenant, by_secret(tenant, tmp_path, "planted-secret")))
    assert "AADSTS7000215" in found.wrong
    assert "client_secret_file" in found.fix
    assert "planted" not in str(found)


async def test_an_unknown_audience_is_reported(tenant: LocalTenant, tmp_path: Path):
    found = await fault_of(settings(tenant, by_secret(tenant, tmp_path), audience="api://other"))
    assert "AADSTS500011" in found.wrong
    assert "audience" in found.fix


async def test_a_certificate_that_is_damaged_is_reported(tenant: LocalTenant, tmp_path: Path):
    (tmp_path / "agent.pem").write_text("-----BEGIN CERTIFICATE-----\nx\n-----BEGIN PRIVATE KEY-----\n", "utf-8")
    own = SignIn(client_id=tenant.applications[NIGHTLY].client_id, certificate=tmp_path / "agent.pem")
    assert "the file of sign_in cannot be used" in (await fault_of(settings(tenant, own))).wrong


class Made:
    """Tokens that a test makes, with a clock that it moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, given: AgentSettings) -> None:
        self.now = 1000.0
        self.made: list[Token | Exception] = []
        self.tokens = Tokens(given, clock=lambda: self.now)

        async def fetch() -> Token:
            found = self.made.pop(0)
            if isinstance(found, Exception):
                raise found
            return found

        monkeypatch.setattr(self.tokens, "_fetch", fetch)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    return Made(monkeypatch, agent_settings("https://postern.example"))


async def test_a_token_that_is_no_longer_fresh_is_replaced_for_new_links(made: Made):
    made.made = [Token("one", 5000.0), Token("two", 9000.0)]
    assert (await made.tokens.get()).value == "one"
    made.now = 4399.0
    assert (await made.tokens.get()).value == "one"
    made.now = 4401.0
    assert (await made.tokens.get()).value == "two"


async def test_a_token_that_is_never_fresh_is_not_requested_for_each_link(made: Made):
    """The endpoint of a managed identity gives the same token until it nearly expires."""
    made.made = [Token("one", 1300.0), Token("again", 1300.0)]
    assert [(await made.tokens.get()).value for _ in range(3)] == ["one"] * 3
    made.now += AGAIN
    assert (await made.tokens.get()).value == "again"


async def test_while_entra_is_unavailable_a_valid_token_serves(made: Made):
    made.made = [Token("one", 5000.0), SignInFault("x", "y"), SignInFault("x", "y")]
    await made.tokens.get()
    made.now = 4900.0
    assert (await made.tokens.get()).value == "one"
    made.now = 4990.0
    with pytest.raises(SignInFault):
        await made.tokens.get()


async def test_a_token_that_the_server_rejects_is_requested_again_but_not_at_once(made: Made):
    made.made = [Token("one", 9000.0), Token("two", 9000.0)]
    one = await made.tokens.get()
    made.tokens.forget(one)
    assert await made.tokens.get() is one
    made.now += AGAIN
    made.tokens.forget(one)
    assert (await made.tokens.get()).value == "two"
