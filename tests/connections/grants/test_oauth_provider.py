"""The provider of a grant, against a real token endpoint on loopback: what is sent, and what comes of the answers."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt
import pytest
from structlog.testing import capture_logs

from postern.access import Check, Refused
from postern.browser_secrets import new_secret
from postern.connections import Connections
from postern.connections.auth.sign_in_context import SignInContext
from postern.connections.authorization import nonce_of, verifier_of
from postern.connections.faults import ConnectionFault
from postern.connections.grants import sending
from postern.connections.grants.entra_addresses import EntraAddresses
from postern.connections.grants.oauth_provider import OAuthProvider, provider_of
from postern.connections.grants.provider import RefusedByProvider
from postern.connections.grants.reasons import REASONS
from postern.connections.grants.revocation import NO_ENDPOINT, NOT_AT_ENTRA, NOT_DONE
from postern.connections.grants.sending import MAX_ANSWER_BYTES
from postern.connections.grants.tokens import GrantTokens, Issued
from postern.errors import problem
from postern.http_client import http_client
from postern.identity import Endpoints, Person
from postern.settings import GrantedAuth, load_settings
from postern.settings.grant_presets import GRANT_PRESETS
from tests.connections.conftest import Hand
from tests.connections.token_server import Answered, Kept, Received, TokenServer, raw, reply, token_server

pytestmark = pytest.mark.anyio

BACK = "https://postern.example/connect/tickets/callback"
STATE, SECRET = new_secret(), new_secret()
ID = "aaaaaaaa-0000-4000-8000-000000000001"
OTHER = "bbbbbbbb-0000-4000-8000-000000000002"
LISA = "33333333-cccc-4333-8333-333333333333"
MARKER = "the-secret-100%"
TOKENS = GrantTokens("old-access", "old-refresh")


@pytest.fixture
async def endpoint() -> AsyncIterator[TokenServer]:
    async with token_server() as server:
        yield server


def context(secrets: Kept | None = None, **changed: Any) -> SignInContext:
    values: dict[str, Any] = {
        "secrets": secrets or Kept({"a-secret": MARKER}),
        "http": http_client(),
        "authority": "https://login.example",
        "tenant_id": ID,
        "client_id": None,
        "ca_bundle": None,
        "azure_credential": None,
    }
    return SignInContext(**{**values, **changed})


def auth(endpoint: TokenServer | None = None, **changed: Any) -> GrantedAuth:
    values: dict[str, Any] = {
        "flow": "authorization_code",
        "client_id": "an id",
        "client_secret": {"key_vault": "a-secret"},
    }
    if endpoint is not None:
        at = f"http://127.0.0.1:{endpoint.port}"
        values |= {"authorization_url": f"{at}/authorize", "token_url": endpoint.url}
    return GrantedAuth(**{**values, **changed})


def provider(endpoint: TokenServer | None = None, secrets: Kept | None = None, **changed: Any) -> OAuthProvider:
    return provider_of("tickets", auth(endpoint, **changed), context(secrets))


async def redeemed(of: OAuthProvider, code: str = "the-code") -> Issued:
    return await of.redeem(code, BACK, STATE, SECRET)


async def refusal(of: OAuthProvider) -> RefusedByProvider:
    with pytest.raises(RefusedByProvider) as raised:
        await redeemed(of)
    assert raised.value.__context__ is raised.value.__cause__ is None or MARKER not in repr(raised.value.__context__)
    return raised.value


def parameters(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query, strict_parsing=True))


# The authorization request


async def test_the_browser_is_sent_with_pkce_and_the_parameters_of_the_entry(endpoint: TokenServer):
    of = provider(endpoint, scopes=["a", "b"], parameters={"prompt": "consent", "audience": "x"})
    url = await of.authorization_url(BACK, STATE, SECRET, claims='{"a": 1}')
    found = parameters(url)
    assert url.startswith(f"http://127.0.0.1:{endpoint.port}/authorize?")
    assert (found["scope"], found["redirect_uri"], found["state"]) == ("a b", BACK, STATE)
    assert (found["prompt"], found["audience"], found["claims"]) == ("consent", "x", '{"a": 1}')
    assert (found["code_challenge_method"], found["response_type"]) == ("S256", "code")
    assert SECRET not in url
    assert verifier_of(SECRET, STATE) not in url
    assert endpoint.received == []


async def test_a_preset_adds_its_parameters_and_the_entry_may_change_them():
    google = provider(identity_provider="google", scopes=["https://a.example/drive"])
    found = parameters(await google.authorization_url(BACK, STATE, SECRET))
    assert (found["access_type"], found["prompt"]) == ("offline", "consent")
    assert found["scope"] == "openid email https://a.example/drive"
    assert found["nonce"] == nonce_of(SECRET, STATE)
    other = provider(identity_provider="google", scopes=["x"], parameters={"prompt": "select_account consent"})
    assert parameters(await other.authorization_url(BACK, STATE, SECRET))["prompt"] == "select_account consent"


# The code


@pytest.mark.parametrize("authentication", ["header", "body"])
async def test_a_code_is_exchanged_with_its_verifier_and_the_client_s_secret(
    endpoint: TokenServer, authentication: str
):
    endpoint.answer = lambda _: reply(access_token="t", refresh_token="r", expires_in="60", scope="a,b")
    found = await redeemed(provider(endpoint, client_authentication=authentication))
    assert found == Issued(GrantTokens("t", "r"), 60, None, ("a", "b"))
    (received,) = endpoint.received
    form = received.form
    assert (form["grant_type"], form["code"], form["redirect_uri"]) == ("authorization_code", "the-code", BACK)
    assert form["code_verifier"] == verifier_of(SECRET, STATE)
    if authentication == "header":
        assert received.basic == ("an id", MARKER)
        assert "client_secret" not in form
    else:
        assert (form["client_id"], form["client_secret"]) == ("an id", MARKER)
        assert "authorization" not in received.headers
    assert "cookie" not in received.headers


@pytest.mark.parametrize("code", ["", "a b", "a\r\nb", "ü"])
async def test_what_is_no_code_is_not_sent(endpoint: TokenServer, code: str):
    with pytest.raises(RefusedByProvider) as raised:
        await redeemed(provider(endpoint), code)
    assert (raised.value.code, raised.value.reason) == ("invalid_grant", "code-used")
    assert endpoint.received == []


async def test_a_code_that_was_used_says_so_and_not_that_the_grant_has_ended(endpoint: TokenServer):
    endpoint.answer = lambda _: reply(400, error="invalid_grant")
    assert (await refusal(provider(endpoint))).reason == "code-used"
    endpoint.answer = lambda _: reply(200, error="bad_verification_code")
    assert (await refusal(provider(endpoint))).reason == "code-used"


@pytest.mark.parametrize(
    ("answer", "reason", "wrong"),
    [
        (None, "provider-unavailable", "no response from the provider within 0.1 s"),
        (b"", "provider-unavailable", "does not reach the provider"),
        (raw(b"", 302, "Location: https://evil.example/"), "provider-rejects", "redirects (status 302)"),
        (raw(b"x" * (MAX_ANSWER_BYTES + 1)), "provider-rejects", "more than"),
        (raw(b"<html>"), "provider-rejects", "something other than a JSON object"),
        (raw(b"", 503, "Retry-After: 7"), "provider-unavailable", ""),
        (raw(b"", 429, "Retry-After: 7"), "too-many-requests", ""),
    ],
    ids=["silent", "broken", "redirect", "large", "html", "503", "429"],
)  # fmt: skip
async def test_every_failure_is_one_request_and_may_pass(
    endpoint: TokenServer, answer: Answered, reason: str, wrong: str, monkeypatch: pytest.MonkeyPatch
):
    """A code may be used once only, and so may a refresh token: nothing is sent again by itself."""
    if answer is None:
        monkeypatch.setattr(sending, "SECONDS", 0.1)
    endpoint.answer = lambda _: answer
    found = await refusal(provider(endpoint))
    assert (found.code, found.reason) == ("", reason)
    assert wrong in found.wrong
    assert found.retry_after == (7 if reason == "too-many-requests" or (answer and b"503" in answer) else None)
    assert MARKER not in found.wrong + found.fix
    assert len(endpoint.received) == 1


# The refresh


async def test_a_refresh_sends_the_token_alone_and_keeps_it_if_there_is_no_new_one(endpoint: TokenServer):
    endpoint.answer = lambda _: reply(access_token="new", expires_in=60)
    found = await provider(endpoint, scopes=["a"]).refresh(TOKENS, ("a",), "")
    assert found == Issued(GrantTokens("new", "old-refresh"), 60)
    assert endpoint.received[0].form == {"grant_type": "refresh_token", "refresh_token": "old-refresh"}
    endpoint.answer = lambda _: reply(access_token="newer", refresh_token="rotated")
    assert (await provider(endpoint).refresh(TOKENS, (), "")).tokens == GrantTokens("newer", "rotated")


async def test_a_refresh_goes_to_its_own_url_if_there_is_one(endpoint: TokenServer):
    of = provider(endpoint, refresh_url=f"http://127.0.0.1:{endpoint.port}/refresh")
    await of.refresh(TOKENS, (), "")
    await redeemed(of)
    assert [each.line.split()[1] for each in endpoint.received] == ["/refresh", "/token"]


async def test_a_rejected_client_secret_is_read_again_once(endpoint: TokenServer):
    """The vault has a newer one: the request is sent once more. It has none: the error is that of the provider."""
    endpoint.answer = lambda received: (
        reply(access_token="t") if received.basic[1] == "new" else reply(401, error="invalid_client")
    )
    secrets = Kept({"a-secret": "new"}, remembered={"a-secret": "old"})
    of = provider(endpoint, secrets)
    assert (await of.refresh(TOKENS, (), "")).tokens.access_token == "t"
    assert (secrets.fresh_reads, len(endpoint.received)) == (1, 2)
    endpoint.answer = lambda _: reply(200, error="incorrect_client_credentials")
    with pytest.raises(RefusedByProvider) as raised:
        await of.refresh(TOKENS, (), "")
    assert (raised.value.code, raised.value.reason) == ("invalid_client", "client-rejected")
    assert len(endpoint.received) == 3


@pytest.mark.parametrize("answer", [raw(b"", 503, "Retry-After: 0"), raw(b"", 429, "Retry-After: 0"), b""])
async def test_the_server_s_own_client_sends_a_refresh_token_once(endpoint: TokenServer, tmp_path: Path, answer: bytes):
    """It repeats requests that may be repeated. This one may not: the provider may have used the token up."""
    connections = Connections(load_settings({}, folder=tmp_path), "", secrets=Kept({"a-secret": MARKER}))
    endpoint.answer = lambda _: answer
    of = provider_of("tickets", auth(endpoint), connections.context)
    with pytest.raises(RefusedByProvider) as raised:
        await of.refresh(TOKENS, (), "")
    assert (raised.value.code, len(endpoint.received)) == ("", 1)
    await connections.aclose()


async def test_a_grant_that_has_ended_is_one_request(endpoint: TokenServer):
    endpoint.answer = lambda _: reply(400, error="invalid_grant")
    with pytest.raises(RefusedByProvider) as raised:
        await provider(endpoint).refresh(TOKENS, (), "")
    assert (raised.value.code, raised.value.reason, len(endpoint.received)) == ("invalid_grant", "ended", 1)


async def test_a_secret_that_is_not_in_the_vault_is_a_fault_of_the_entry(endpoint: TokenServer):
    for call in (redeemed(provider(endpoint, Kept({}))), provider(endpoint, Kept({})).refresh(TOKENS, (), "")):
        with pytest.raises(ConnectionFault, match=r"connections\.tickets cannot read its client_secret"):
            await call
    assert endpoint.received == []


# The issuer of a response


@pytest.mark.parametrize(
    ("iss", "passes"),
    [
        (None, True),
        ("http://127.0.0.1:{port}", True),
        ("http://127.0.0.1:{port}/some/path", True),
        ("http://127.0.0.1", False),
        ("https://127.0.0.1:{port}", False),
        ("https://evil.example", False),
        ("", False),
        ("127.0.0.1:{port}", False),
        ("https://[", False),
    ],
)
async def test_a_response_that_names_another_server_is_rejected(endpoint: TokenServer, iss: str | None, passes: bool):
    """Where no issuer is known, it has to be of the origin that the browser was sent to (RFC 9207)."""
    of = provider(endpoint)
    named = iss.format(port=endpoint.port) if iss is not None else None
    if passes:
        await of.check_issuer(named)
        return
    with pytest.raises(RefusedByProvider) as raised:
        await of.check_issuer(named)
    assert (raised.value.code, raised.value.reason) == ("other", "other-issuer")


async def test_a_known_issuer_is_compared_exactly():
    google = provider(identity_provider="google", scopes=["x"])
    await google.check_issuer(None)
    await google.check_issuer("https://accounts.google.com")
    for other in ("https://accounts.google.com/", "https://Accounts.google.com", "accounts.google.com"):
        with pytest.raises(RefusedByProvider):
            await google.check_issuer(other)


# Whose account it is


def id_token(endpoint: TokenServer, **changes: Any) -> str:
    now = int(time.time())
    claims = {
        "iss": "https://accounts.google.com",
        "aud": "an id",
        "sub": "110169484474386276334",
        "email": "lisa@example.com",
        "nonce": nonce_of(SECRET, STATE),
        "iat": now,
        "exp": now + 3600,
        **changes,
    }
    return jwt.encode(claims, "k" * 32, "HS256")


def preset(monkeypatch: pytest.MonkeyPatch, endpoint: TokenServer, name: str) -> OAuthProvider:
    """The provider of this name, with its addresses on loopback."""
    at = f"http://127.0.0.1:{endpoint.port}"
    moved = {
        "authorization_url": f"{at}/authorize",
        "token_url": endpoint.url,
        "account_url": f"{at}/me",
        "revocation_url": f"{at}/end/{{client_id}}" if name == "github" else f"{at}/end",
    }
    monkeypatch.setitem(GRANT_PRESETS, name, GRANT_PRESETS[name]._replace(**moved))  # type: ignore[arg-type]
    return provider(identity_provider=name, scopes=["x"])


async def test_google_s_account_is_in_its_id_token(endpoint: TokenServer, monkeypatch: pytest.MonkeyPatch):
    of = preset(monkeypatch, endpoint, "google")
    endpoint.answer = lambda _: reply(access_token="t", id_token=id_token(endpoint))
    found = await redeemed(of)
    assert (found.account, found.account_name, found.tenant) == ("110169484474386276334", "lisa@example.com", "")
    for changed, reason in (({"nonce": "other"}, "id-token"), ({"aud": "other"}, "id-token")):
        endpoint.answer = lambda _, changed=changed: reply(  # type: ignore[misc]
            access_token="t", id_token=id_token(endpoint, **changed)
        )
        assert (await refusal(of)).reason == reason
    endpoint.answer = lambda _: reply(access_token="t")
    assert (await refusal(of)).reason == "no-account"


@pytest.mark.parametrize(
    ("name", "profile", "account"),
    [
        ("github", {"id": 583231, "login": "octocat"}, ("583231", "octocat")),
        ("facebook", {"id": "10158", "name": "Lisa Moreau"}, ("10158", "Lisa Moreau")),
    ],
)
async def test_the_account_of_a_profile(
    endpoint: TokenServer, monkeypatch: pytest.MonkeyPatch, name: str, profile: dict[str, Any], account: Any
):
    of = preset(monkeypatch, endpoint, name)

    def answer(received: Received) -> bytes:
        return reply(**profile) if received.line.startswith("GET /me") else reply(access_token="t")

    endpoint.answer = answer
    found = await redeemed(of)
    assert (found.account, found.account_name) == account
    assert endpoint.received[-1].headers["authorization"] == "Bearer t"
    for broken in (reply(404), reply(), reply(id=None), reply(id="../x"), reply(id=True), raw(b"<html>")):
        endpoint.answer = lambda received, broken=broken: (  # type: ignore[misc]
            broken if received.line.startswith("GET") else reply(access_token="t")
        )
        assert (await refusal(of)).reason == "no-account"


async def test_salesforce_names_the_base_url_and_the_account(endpoint: TokenServer, monkeypatch: pytest.MonkeyPatch):
    of = preset(monkeypatch, endpoint, "salesforce")
    ids = "00Dx0000000BV7z/005x00000012Q9P"
    good: dict[str, Any] = {
        "id": f"https://login.salesforce.com/id/{ids}",
        "instance_url": "https://acme.my.salesforce.com",
    }
    endpoint.answer = lambda _: reply(access_token="t", refresh_token="r", **good)
    found = await redeemed(of)
    assert (found.instance_url, found.account, found.seconds) == ("https://acme.my.salesforce.com", ids, None)
    for wrong, reason in (
        ({**good, "instance_url": "https://evil.example"}, "instance-url"),
        ({"id": good["id"]}, "instance-url"),
        ({**good, "id": f"https://evil.example/id/{ids}"}, "no-account"),
        ({"instance_url": good["instance_url"]}, "no-account"),
    ):
        members: dict[str, Any] = {"access_token": "t", **wrong}
        endpoint.answer = lambda _, members=members: reply(**members)  # type: ignore[misc]
        assert (await refusal(of)).reason == reason


async def test_a_refresh_loses_no_tokens_for_a_base_url_that_cannot_be_used(
    endpoint: TokenServer, monkeypatch: pytest.MonkeyPatch
):
    of = preset(monkeypatch, endpoint, "salesforce")
    endpoint.answer = lambda _: reply(access_token="t", refresh_token="r", instance_url="https://evil.example")
    found = await of.refresh(TOKENS, (), "")
    assert (found.tokens, found.instance_url) == (GrantTokens("t", "r"), "")


async def test_a_plain_provider_does_not_say_whose_account_it_is(endpoint: TokenServer):
    """An instance URL or an ID token of one that nobody vouches for is not used."""
    endpoint.answer = lambda _: reply(access_token="t", instance_url="https://evil.example", id_token="x", id="y")
    found = await redeemed(provider(endpoint, scopes=["openid"]))
    assert (found.account, found.instance_url) == ("", "")


# The end of a grant


@pytest.mark.parametrize(("tokens", "sent"), [(TOKENS, "refresh"), (GrantTokens("old-access"), "access")])
async def test_a_grant_is_ended_at_the_provider(endpoint: TokenServer, tokens: GrantTokens, sent: str):
    of = provider(endpoint, revocation_url=f"http://127.0.0.1:{endpoint.port}/revoke")
    endpoint.answer = lambda _: raw(b"")
    assert await of.revoke(tokens) == ""
    (received,) = endpoint.received
    assert received.line.startswith("POST /revoke ")
    assert received.form == {"token": f"old-{sent}", "token_type_hint": f"{sent}_token"}
    assert received.basic == ("an id", MARKER)


async def test_github_s_authorization_is_deleted_with_basic(endpoint: TokenServer, monkeypatch: pytest.MonkeyPatch):
    of = preset(monkeypatch, endpoint, "github")
    of = provider_of("tickets", replace_client(of, "Iv1.abc"), context())
    bodies: list[str] = []

    def read(body: str, **_: Any) -> dict[str, list[str]]:
        bodies.append(body)
        return {}

    monkeypatch.setattr("tests.connections.token_server.parse_qs", read)
    endpoint.answer = lambda _: raw(b"", 204)
    assert await of.revoke(TOKENS) == ""
    (received,) = endpoint.received
    assert received.line.startswith("DELETE /end/Iv1.abc ")
    assert received.basic == ("Iv1.abc", MARKER)
    assert json.loads(bodies[0]) == {"access_token": "old-access"}


async def test_github_s_expired_token_is_renewed_to_end_its_grant(
    endpoint: TokenServer, monkeypatch: pytest.MonkeyPatch
):
    """GitHub ends a grant by a valid access token only, and one of a GitHub App is for eight hours."""
    of = preset(monkeypatch, endpoint, "github")
    bodies: list[str] = []

    def read(body: str, **_: Any) -> dict[str, list[str]]:
        bodies.append(body)
        return {}

    def answer(received: Received) -> bytes:
        if received.line.startswith("POST"):
            return reply(access_token="new-access", refresh_token="new-refresh")
        return raw(b"", 204) if "new-access" in bodies[-1] else reply(404, message="Not Found")

    monkeypatch.setattr("tests.connections.token_server.parse_qs", read)
    endpoint.answer = answer
    assert await of.revoke(TOKENS) == ""
    assert [each.line.split()[0] for each in endpoint.received] == ["DELETE", "POST", "DELETE"]
    endpoint.answer = lambda received: (
        reply(200, error="bad_refresh_token") if received.line[0] == "P" else raw(b"", 404)
    )
    assert await of.revoke(TOKENS) == NOT_DONE.format("ended")
    assert await of.revoke(GrantTokens("old-access")) == NOT_DONE.format("status 404")


async def test_a_token_that_has_ended_already_is_ended(endpoint: TokenServer):
    """Google and Salesforce say so with an error, where RFC 7009 has 200."""
    of = provider(endpoint, revocation_url=f"http://127.0.0.1:{endpoint.port}/revoke")
    endpoint.answer = lambda _: reply(400, error="invalid_token")
    assert await of.revoke(TOKENS) == ""


def replace_client(of: OAuthProvider, client_id: str) -> GrantedAuth:
    return of._auth.model_copy(update={"client_id": client_id})


async def test_facebook_s_permissions_are_deleted(endpoint: TokenServer, monkeypatch: pytest.MonkeyPatch):
    of = preset(monkeypatch, endpoint, "facebook")
    assert await of.revoke(TOKENS) == ""
    (received,) = endpoint.received
    assert (received.line.split()[:2], received.headers["authorization"]) == (["DELETE", "/end"], "Bearer old-access")


@pytest.mark.parametrize("answer", [reply(400, error="x"), raw(b"", 302, "Location: https://evil.example"), b""])
async def test_what_is_not_ended_there_is_said_to_the_person(endpoint: TokenServer, answer: bytes):
    of = provider(endpoint, revocation_url=f"http://127.0.0.1:{endpoint.port}/revoke")
    endpoint.answer = lambda _: answer
    said = await of.revoke(TOKENS)
    assert said.startswith("The provider did not confirm it")
    assert said.endswith(".")
    assert "old-" not in said
    assert "did not confirm" in await provider(
        endpoint, Kept({}), revocation_url=f"http://127.0.0.1:{endpoint.port}/revoke"
    ).revoke(TOKENS)
    assert await provider(endpoint).revoke(TOKENS) == NO_ENDPOINT


# Entra


class Accounts:
    """Entra's accounts, as `identity` would have them."""

    def __init__(self, endpoint: TokenServer) -> None:
        self.base = f"http://127.0.0.1:{endpoint.port}"
        self.looked: list[str] = []
        self.verified: list[dict[str, Any]] = []
        self.raises: Exception | None = None

    async def endpoints(self, tenant: str) -> Endpoints:
        self.looked.append(tenant)
        if tenant == "away":
            raise OSError(MARKER)
        return Endpoints(f"{self.base}/{tenant}/authorize", f"{self.base}/{tenant}/token", "")

    async def verify(self, id_token: str, **wanted: Any) -> Person:
        self.verified.append({"id_token": id_token, **wanted})
        if self.raises is not None:
            raise self.raises
        return Person(OTHER, LISA, "Lisa Moreau", frozenset())

    def issues(self, iss: str, tenant: str) -> bool:
        return iss == f"the issuer of {tenant}"


def of_entra(endpoint: TokenServer, accounts: Accounts, **changed: Any) -> OAuthProvider:
    values: dict[str, Any] = {
        "identity_provider": "entra",
        "client_id": ID,
        "scopes": ["offline_access", "User.Read"],
        "tenant": "organizations",
        **changed,
    }
    return provider_of("graph", auth(**values), context(), accounts)


async def test_a_code_goes_to_the_endpoint_it_was_asked_from_and_refreshes_to_the_account_s_tenant(
    endpoint: TokenServer,
):
    accounts = Accounts(endpoint)
    of = of_entra(endpoint, accounts, tenants=[OTHER])
    assert (await of.authorization_url(BACK, STATE, SECRET)).startswith(f"{accounts.base}/organizations/authorize?")
    endpoint.answer = lambda _: reply(access_token="t", refresh_token="r", id_token="a.b.c", scope="User.Read openid")
    found = await redeemed(of)
    assert (found.account, found.account_name, found.tenant) == (LISA, "Lisa Moreau", OTHER)
    assert found.scopes == ("User.Read", "openid")
    assert accounts.verified == [
        {
            "id_token": "a.b.c",
            "tenant": "organizations",
            "tenants": (OTHER,),
            "client_id": ID,
            "nonce": nonce_of(SECRET, STATE),
        }
    ]
    await of.refresh(TOKENS, ("User.Read", "openid"), OTHER)
    assert [each.line.split()[1] for each in endpoint.received] == ["/organizations/token", f"/{OTHER}/token"]
    form = endpoint.received[-1].form
    assert form["scope"].split() == ["User.Read", "openid", "profile", "offline_access"]
    assert accounts.looked == ["organizations", OTHER]


async def test_a_scope_that_was_not_granted_is_not_requested_at_a_refresh(endpoint: TokenServer):
    """Entra would end the grant by it (AADSTS65001)."""
    of = of_entra(endpoint, Accounts(endpoint), scopes=["offline_access", "User.Read", "Mail.Read"])
    await of.refresh(TOKENS, ("User.Read",), OTHER)
    assert "Mail.Read" not in endpoint.received[-1].form["scope"]


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (Refused([Check("admitted-tenant", False)]), "other", "tenant-not-allowed"),
        (Refused([Check("personal-account", False)]), "other", "personal-account"),
        (Refused([Check("nonce", False)]), "other", "id-token"),
        (Refused([Check("form", False)]), "other", "id-token"),
        (problem("identity-unavailable"), "", "provider-unavailable"),
    ],
)
async def test_an_account_that_may_not_connect_is_said(endpoint: TokenServer, error: Exception, code: str, reason: str):
    accounts = Accounts(endpoint)
    accounts.raises = error
    endpoint.answer = lambda _: reply(access_token="t", id_token="a.b.c")
    found = await refusal(of_entra(endpoint, accounts))
    assert (found.code, found.reason) == (code, reason)


async def test_without_an_id_token_nothing_is_connected(endpoint: TokenServer):
    accounts = Accounts(endpoint)
    endpoint.answer = lambda _: reply(access_token="t")
    assert (await refusal(of_entra(endpoint, accounts))).reason == "no-account"
    assert accounts.verified == []


async def test_entra_s_issuer_may_be_missing_and_else_must_be_right(endpoint: TokenServer):
    of = of_entra(endpoint, Accounts(endpoint))
    await of.check_issuer(None)
    await of.check_issuer("the issuer of organizations")
    with pytest.raises(RefusedByProvider):
        await of.check_issuer("https://evil.example")


async def test_without_a_tenant_of_its_own_it_is_that_of_the_settings(endpoint: TokenServer):
    accounts = Accounts(endpoint)
    await of_entra(endpoint, accounts, tenant="").authorization_url(BACK, STATE, SECRET)
    assert accounts.looked == [ID]


async def test_entra_away_is_a_fault_that_shows_nothing_and_is_tried_again_later(endpoint: TokenServer):
    accounts = Accounts(endpoint)
    of = provider_of(
        "graph", of_entra(endpoint, accounts)._auth.model_copy(update={"tenant": "away"}), context(), accounts
    )
    for _ in range(2):
        with pytest.raises(ConnectionFault) as raised:
            await of.authorization_url(BACK, STATE, SECRET)
        assert MARKER not in str(raised.value)
    assert accounts.looked == ["away"]
    with pytest.raises(RefusedByProvider) as refused:
        await of.refresh(TOKENS, (), "")
    assert (refused.value.code, refused.value.reason) == ("", "provider-unavailable")


async def test_the_addresses_of_a_tenant_do_not_wait_for_those_of_another(endpoint: TokenServer):
    """They are looked up again after an hour; meanwhile, and while Entra is away, the old ones serve."""
    clock, going_on = Hand(), asyncio.Event()

    class Slow(Accounts):
        async def endpoints(self, tenant: str) -> Endpoints:
            found = await super().endpoints(tenant)
            if len(self.looked) > 1:
                await going_on.wait()
                raise OSError(MARKER)
            return found

    accounts = Slow(endpoint)
    of = EntraAddresses(ID, accounts, clock)
    found = await of.find()
    other = asyncio.ensure_future(of.find(OTHER))
    while len(accounts.looked) < 2:
        await asyncio.sleep(0)
    clock.now += 3600
    assert await of.find() == found
    going_on.set()
    with pytest.raises(RefusedByProvider), capture_logs() as logs:
        await other
    assert [(line["event"], line["tenant"]) for line in logs] == [("entra-metadata-not-read", OTHER)]
    assert await of.find() == found
    assert accounts.looked == [ID, OTHER, ID]


async def test_entra_cannot_end_a_grant_and_says_so(endpoint: TokenServer):
    assert await of_entra(endpoint, Accounts(endpoint)).revoke(TOKENS) == NOT_AT_ENTRA
    assert endpoint.received == []


async def test_an_entry_for_entra_needs_its_accounts():
    with pytest.raises(ValueError, match="needs Entra's accounts"):
        provider_of("graph", auth(identity_provider="entra", client_id=ID, scopes=["x"]), context())


async def test_a_challenge_of_entra_goes_to_the_caller_of_the_provider(endpoint: TokenServer):
    claims = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'
    endpoint.answer = lambda _: reply(400, error="interaction_required", error_codes=[50076], claims=claims)
    with pytest.raises(RefusedByProvider) as raised:
        await of_entra(endpoint, Accounts(endpoint)).refresh(TOKENS, (), OTHER)
    found = raised.value
    assert (found.code, found.reason, found.claims) == ("interaction_required", "mfa-required", claims)
    assert found.wrong == REASONS["mfa-required"].text


async def test_a_refresh_asks_for_the_claims_of_a_challenge_and_otherwise_for_none(endpoint: TokenServer):
    claims = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'
    endpoint.answer = lambda _: reply(access_token="new", expires_in=60)
    await provider(endpoint).refresh(TOKENS, (), "", claims)
    await of_entra(endpoint, Accounts(endpoint)).refresh(TOKENS, (), OTHER, claims)
    await provider(endpoint).refresh(TOKENS, (), "")
    assert [received.form.get("claims") for received in endpoint.received] == [claims, claims, None]
    assert {received.form["grant_type"] for received in endpoint.received} == {"refresh_token"}


async def test_nothing_secret_is_in_a_repr(endpoint: TokenServer):
    issued = Issued(TOKENS, 1.0)
    shown = repr((issued, replace(issued, account="a"), provider(endpoint), context()))
    assert "old-access" not in shown
    assert "old-refresh" not in shown
