"""The console and Entra: its addresses are kept, a replaced client secret is used, and an outage is said."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from postern.browser_secrets import new_secret
from postern.connections.authorization import ClientProof, Exchanged, ExchangeFault, nonce_of
from postern.connections.faults import ConnectionFault
from postern.console import entra
from postern.console.entra import KEPT_FOR, TRIED_EVERY, Entra
from postern.errors import Problem
from postern.http_client import ConnectError, http_client
from postern.identity import Endpoints, Person, Wanted

pytestmark = pytest.mark.anyio

FOUND = Endpoints("https://login.example/authorize", "https://login.example/token", "https://login.example/logout?x=1")
STATE, SECRET = new_secret(), new_secret()
LISA = Person("tenant", "lisa", "Lisa", frozenset())


@dataclass
class Tenant:
    """A tenant whose answers the test sets, at a time that it sets."""

    now: float = 0.0
    away: bool = False
    endpoints: Endpoints = FOUND
    looks: int = 0
    answers: list[Exchanged | Exception] = field(default_factory=list)
    secrets: list[str] = field(default_factory=lambda: ["old", "new"])
    rejected: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    verified: list[tuple[str, Wanted]] = field(default_factory=list)

    async def find(self) -> Endpoints:
        self.looks += 1
        await asyncio.sleep(0)
        if self.away:
            raise ConnectError("MARKER of the network")
        return self.endpoints

    async def make(self) -> ClientProof:
        if not self.secrets:
            raise ConnectionFault("POSTERN_CLIENT_SECRET_NAME", "cannot be read", "Look at the Key Vault")
        return ClientProof("client", self.secrets[0])

    async def another(self, rejected: ClientProof, /) -> ClientProof | None:
        self.rejected.append(rejected.secret)
        return ClientProof("client", self.secrets[1]) if len(self.secrets) > 1 else None

    async def exchange(self, _: Any, request: Any) -> Exchanged:
        self.sent.append(request.body)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def verify(self, id_token: str, wanted: Wanted) -> Person:
        self.verified.append((id_token, wanted))
        return LISA


@pytest.fixture
def tenant(monkeypatch: pytest.MonkeyPatch) -> Tenant:
    made = Tenant()
    monkeypatch.setattr(entra, "exchange", made.exchange)
    return made


@pytest.fixture
def at_entra(tenant: Tenant) -> Entra:
    address = "https://postern.example/base"
    return Entra(
        "tenant", "client", address, tenant.find, http_client(), tenant, tenant.verify, clock=lambda: tenant.now
    )


async def problem_of(found: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        await found
    return caught.value


async def test_the_addresses_are_looked_up_once_by_many_and_again_after_an_hour(tenant: Tenant, at_entra: Entra):
    urls = await asyncio.gather(*(at_entra.sign_in_url(new_secret(), SECRET) for _ in range(5)))
    assert all(url.startswith("https://login.example/authorize?") for url in urls)
    assert tenant.looks == 1
    tenant.now += KEPT_FOR
    tenant.endpoints = FOUND.__class__("https://other.example/authorize", FOUND.token, "")
    assert (await at_entra.sign_in_url(STATE, SECRET)).startswith("https://other.example/authorize?")
    assert tenant.looks == 2


async def test_while_entra_is_away_nobody_signs_in_and_one_request_in_five_seconds_looks(
    tenant: Tenant, at_entra: Entra
):
    tenant.away = True
    for _ in range(3):
        found = await problem_of(at_entra.sign_in_url(STATE, SECRET))
        assert (found.status, found.code, found.headers) == (503, "sign-in-unavailable", {"Retry-After": "5"})
        assert "MARKER" in found.reason
        assert "MARKER" not in found.detail
    assert tenant.looks == 1
    tenant.now += TRIED_EVERY
    tenant.away = False
    assert await at_entra.sign_in_url(STATE, SECRET)


async def test_the_addresses_outlive_an_outage(tenant: Tenant, at_entra: Entra):
    await at_entra.endpoints()
    tenant.now += KEPT_FOR
    tenant.away = True
    assert await at_entra.endpoints() == FOUND
    assert await at_entra.endpoints() == FOUND
    assert tenant.looks == 2


async def test_signing_out_of_entra_leads_back_and_needs_no_entra(tenant: Tenant, at_entra: Entra):
    assert await at_entra.sign_out_url() == (
        "https://login.example/logout?x=1&client_id=client"
        "&post_logout_redirect_uri=https%3A%2F%2Fpostern.example%2Fbase%2Fconsole%2Fsigned-out"
    )
    tenant.away, tenant.now = True, KEPT_FOR
    assert await at_entra.sign_out_url()
    away = Entra("t", "c", "https://x.example", tenant.find, http_client(), tenant, tenant.verify)
    assert await away.sign_out_url() == ""


async def test_the_id_token_is_verified_for_this_sign_in(tenant: Tenant, at_entra: Entra):
    tenant.answers = [Exchanged("an access token", 60, "an ID token")]
    assert await at_entra.person("a-code", STATE, SECRET) == LISA
    [(token, wanted)] = tenant.verified
    assert token == "an ID token"
    assert (wanted.tenant_id, wanted.client_id, wanted.code) == ("tenant", "client", "a-code")
    assert wanted.access_token == "an access token"
    assert wanted.nonce == nonce_of(SECRET, STATE)


@pytest.mark.parametrize("number", [7000215, 7000222])
async def test_a_client_secret_that_was_replaced_is_read_again(tenant: Tenant, at_entra: Entra, number: int):
    rejected = ExchangeFault("rejected the client", "Renew it", "invalid_client", (number,))
    tenant.answers = [rejected, Exchanged("", 60, "an ID token")]
    assert await at_entra.person("a-code", STATE, SECRET) == LISA
    assert tenant.rejected == ["old"]
    assert ["client_secret=old" in tenant.sent[0], "client_secret=new" in tenant.sent[1]] == [True, True]


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (ExchangeFault("cannot be reached (ConnectError)", "Try later"), 503, "sign-in-unavailable"),
        (ExchangeFault("rejected it", "Correct it", "invalid_client", (7000215,)), 503, "sign-in-unavailable"),
        (ExchangeFault("rejected it", "Correct it", "unauthorized_client", (700016,)), 503, "sign-in-unavailable"),
        (ExchangeFault("rejected it", "Start again", "invalid_grant", (54005,)), 403, "sign-in-refused"),
    ],
)
async def test_what_the_token_endpoint_answers_is_for_the_operator(
    tenant: Tenant, at_entra: Entra, answer: ExchangeFault, status: int, code: str
):
    tenant.secrets, tenant.answers = ["only"], [answer]
    found = await problem_of(at_entra.person("a-code", STATE, SECRET))
    assert (found.status, found.code) == (status, code)
    assert answer.wrong in found.reason
    assert answer.wrong not in found.detail
    assert all(f"AADSTS{number}" in found.reason for number in answer.aadsts)
    assert not tenant.verified
    assert found.__cause__ is None
    assert found.__context__ is None


async def test_a_client_secret_that_cannot_be_read_is_an_outage(tenant: Tenant, at_entra: Entra):
    tenant.secrets = []
    found = await problem_of(at_entra.person("a-code", STATE, SECRET))
    assert (found.status, found.code) == (503, "sign-in-unavailable")
    assert "POSTERN_CLIENT_SECRET_NAME cannot be read. Look at the Key Vault" in found.reason
    assert not tenant.sent


@pytest.mark.parametrize("code", ["a code", "a\ncode", "ä"])
async def test_what_is_no_code_is_not_sent(tenant: Tenant, at_entra: Entra, code: str):
    found = await problem_of(at_entra.person(code, STATE, SECRET))
    assert found.code == "sign-in-refused"
    assert not tenant.sent
