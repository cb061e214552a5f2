"""A person's browser is sent to a provider, and its code is exchanged: what is sent, and what answers become."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from authlib.oauth2.rfc7636 import create_s256_code_challenge  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from postern.access import Refused
from postern.browser_secrets import new_secret
from postern.connections.auth.sign_in_context import SignInContext
from postern.connections.auth.token_response import Answer
from postern.connections.authorization import (
    MAX_ANSWER_BYTES,
    ClientProof,
    Exchanged,
    ExchangeFault,
    authorization_url,
    code_request,
    exchange,
    federated_proof,
    nonce_of,
    read_exchanged,
    verifier_of,
)
from postern.connections.faults import ConnectionFault
from postern.http_client import AsyncClient, http_client
from postern.identity import Identity, Wanted, fetch_endpoints, fetch_keys
from postern.identity import tenant as tenant_of
from postern.local_tenant import LocalTenant, serve
from tests.connections.token_server import Answered, TokenServer, raw, reply, token_server
from tests.identity.minting import bearer
from tests.table import table

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ENDPOINT = "https://login.example/authorize"
TOKEN_URL = "https://login.example/token"
BACK = "http://127.0.0.1:8080/console/callback"
SECRET, STATE = new_secret(), new_secret()
PROOF = ClientProof("an id", secret="a secret: 100%")
CODE = "the-code"

secrets = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", min_size=43, max_size=43)


def url(**changes: Any) -> str:
    made = {"endpoint": ENDPOINT, "client_id": "id", "redirect_uri": BACK, "scopes": ("openid", "profile")}
    return authorization_url(**{**made, "state": STATE, "browser_secret": SECRET, **changes})


def parameters(address: str) -> dict[str, str]:
    pairs = parse_qsl(urlsplit(address).query, keep_blank_values=True, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def form(proof: ClientProof = PROOF, code: str = CODE) -> dict[str, str]:
    request = code_request(TOKEN_URL, BACK, proof, code, STATE, SECRET)
    return dict(parse_qsl(request.body, strict_parsing=True))


@given(secrets, secrets, secrets)
def test_verifier_and_nonce_belong_to_one_secret_and_one_state(secret: str, state: str, other: str):
    """They have the form of PKCE's verifiers, are the same each time, and tell nothing of each other."""
    made = (verifier_of(secret, state), nonce_of(secret, state))
    assert made == (verifier_of(secret, state), nonce_of(secret, state))
    assert all(len(each) == 43 and each.replace("-", "").replace("_", "").isalnum() for each in made)
    assert len({*made, secret, state}) == len({secret, state}) + 2
    if other != state:
        assert verifier_of(secret, other) != made[0]
        assert nonce_of(secret, other) != made[1]
    if other != secret:
        assert verifier_of(other, state) != made[0]
        assert nonce_of(other, state) != made[1]


@given(st.text(max_size=50).filter(lambda text: len(text) != 43))
def test_what_is_no_secret_of_a_browser_derives_nothing(text: str):
    """A cookie or a state that was tampered with is an error, not another verifier."""
    for arguments in ((text, STATE), (SECRET, text)):
        for derive in (verifier_of, nonce_of):
            with pytest.raises(ValueError, match="neither state nor secret"):
                derive(*arguments)


def test_the_url_has_state_pkce_and_nonce_and_no_secret():
    assert parameters(url()) == {
        "response_type": "code",
        "client_id": "id",
        "redirect_uri": BACK,
        "scope": "openid profile",
        "state": STATE,
        "response_mode": "query",
        "code_challenge": create_s256_code_challenge(verifier_of(SECRET, STATE)),
        "code_challenge_method": "S256",
        "nonce": nonce_of(SECRET, STATE),
    }
    assert SECRET not in url()
    assert verifier_of(SECRET, STATE) not in url()
    assert "nonce" not in parameters(url(scopes=["repo", "user:email"]))


def test_a_provider_may_want_more_but_nothing_of_ours_is_replaced():
    asked = url(
        endpoint=f"{ENDPOINT}?tenant=x",
        more={"access_type": "offline", "prompt": "consent", **dict.fromkeys(parameters(url()), "y"), "request": "y"},
    )
    assert parameters(asked) == parameters(url()) | {"tenant": "x", "access_type": "offline", "prompt": "consent"}


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.text("abc://?&=#% é", min_size=1))
def test_every_value_arrives_as_it_was_written(client_id: str, redirect_uri: str):
    found = parameters(url(client_id=client_id, redirect_uri=redirect_uri))
    assert (found["client_id"], found["redirect_uri"], found["state"]) == (client_id, redirect_uri, STATE)


def test_a_code_is_exchanged_with_its_verifier_and_the_clients_secret():
    assert form() == {
        "grant_type": "authorization_code",
        "redirect_uri": BACK,
        "code": CODE,
        "code_verifier": verifier_of(SECRET, STATE),
        "client_id": "an id",
        "client_secret": "a secret: 100%",
    }


def test_or_with_an_assertion():
    found = form(ClientProof("an id", assertion="a.b.c"))
    assert found.keys() == {"grant_type", "redirect_uri", "code", "code_verifier", "client_id"} | {
        "client_assertion",
        "client_assertion_type",
    }
    assert (found["client_id"], found["client_assertion"]) == ("an id", "a.b.c")


@pytest.mark.parametrize("given", [{}, {"secret": "s", "assertion": "a"}])
def test_a_client_has_exactly_one_proof(given: dict[str, str]):
    with pytest.raises(ValueError, match="by a secret or by an assertion"):
        ClientProof("id", **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("code", ["", " ", "a b", "a\r\nb", "é"])
def test_what_is_no_code_is_not_sent(code: str):
    with pytest.raises(ValueError, match="not an authorization code"):
        form(code=code)


def test_no_repr_has_a_secret():
    request = code_request(TOKEN_URL, BACK, PROOF, CODE, STATE, SECRET)
    shown = repr(PROOF) + repr(ClientProof("x", assertion="a.b.c")) + repr(request)
    shown += repr(Exchanged("access-value", 1.0, "id-value", "refresh-value"))
    hidden = ("100%", "a.b.c", CODE, verifier_of(SECRET, STATE), "access-value", "id-value", "refresh-value")
    assert [each for each in hidden if each in shown] == []


def answered(status: int = 200, **members: Any) -> Exchanged:
    return read_exchanged(Answer(status, reply(status, **members).partition(b"\r\n\r\n")[2]))


def test_all_tokens_of_an_answer_are_read():
    good: dict[str, Any] = {"access_token": "a", "token_type": "Bearer", "expires_in": 3599}
    assert answered(**good) == Exchanged("a", 3599)
    more: dict[str, Any] = {"id_token": "i", "refresh_token": "r", "scope": "openid"}
    assert answered(**good, **more) == Exchanged("a", 3599, "i", "r", "openid")
    assert answered(**good, id_token=["i"], refresh_token=None, scope=1) == Exchanged("a", 3599)


@table(
    ("status", "members", "code", "aadsts"),
    [
        (400, {"error": "invalid_grant", "error_description": "AADSTS54005: told"}, "invalid_grant", (54005,)),
        (401, {"error": "invalid_client", "error_description": "AADSTS7000215: x"}, "invalid_client", (7000215,)),
        (200, {"error": "bad_verification_code"}, "other", ()),
        (200, {"error": "incorrect_client_credentials"}, "invalid_client", ()),
        (400, {"error": "invalid_grant", "error_description": ["AADSTS1"]}, "invalid_grant", ()),
        (503, {}, "", ()),
        (302, {}, "", ()),
        (200, {}, "", ()),
        (200, {"access_token": "a\nb"}, "", ()),
    ],
)
def test_an_answer_without_tokens_says_why_and_repeats_nothing(
    status: int, members: dict[str, Any], code: str, aadsts: tuple[int, ...]
):
    with pytest.raises(ExchangeFault) as caught:
        answered(status, **members)
    fault = caught.value
    assert (fault.code, fault.aadsts) == (code, aadsts)
    assert fault.fix
    assert "told" not in fault.wrong + fault.fix + repr(fault)
    assert fault.__context__ is None


@pytest.fixture
async def endpoint() -> AsyncIterator[TokenServer]:
    async with token_server() as server:
        yield server


async def exchanged(
    endpoint: TokenServer, http: AsyncClient, proof: ClientProof = PROOF, seconds: float = 5
) -> Exchanged:
    return await exchange(http, code_request(endpoint.url, BACK, proof, CODE, STATE, SECRET), seconds)


async def test_a_code_is_sent_once_without_cookies_and_by_basic_where_wanted(endpoint: TokenServer):
    async with http_client() as http:
        http.cookies.set("name", "value", domain="127.0.0.1")
        await exchanged(endpoint, http, ClientProof("an id", secret="a secret: 100%", in_header=True))
    (received,) = endpoint.received
    assert received.basic == ("an id", "a secret: 100%")
    assert "cookie" not in received.headers
    assert received.form.keys() == {"grant_type", "redirect_uri", "code", "code_verifier"}
    assert (received.headers["accept"], received.headers["accept-encoding"]) == ("application/json", "identity")


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (None, "did not respond within"),
        (b"", "cannot be reached"),
        (raw(b"", 302, "Location: https://evil.test/"), "redirects"),
        (raw(b"x" * (MAX_ANSWER_BYTES + 1)), "sent more than"),
        (raw(b"<html>"), "something other than a JSON object"),
    ],
    ids=["silent", "broken", "redirect", "large", "html"],
)
async def test_every_failure_is_a_fault_without_the_secret_and_without_another_attempt(
    endpoint: TokenServer, answer: Answered, wrong: str
):
    endpoint.answer = lambda _: answer
    async with http_client() as http:
        with pytest.raises(ExchangeFault, match=wrong) as caught:
            await exchanged(endpoint, http, seconds=0.05 if answer is None else 5)
    assert len(endpoint.received) == 1
    assert "100%" not in repr(caught.value) + caught.value.wrong + caught.value.fix


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with serve(LocalTenant.open(tmp_path_factory.mktemp("postern") / "tenant")) as tenant:
        yield tenant


async def test_a_certificate_that_is_not_trusted_is_named_as_the_cause(local: LocalTenant):
    request = code_request(f"{local.authority}/token", BACK, PROOF, CODE, STATE, SECRET)
    async with http_client() as http:
        with pytest.raises(ExchangeFault) as caught:
            await exchange(http, request)
    assert "POSTERN_CA_BUNDLE" in caught.value.fix
    assert caught.value.__context__ is None


def around(tenant: LocalTenant, azure_credential: str | None) -> SignInContext:
    of: Any = None
    return SignInContext(
        of, of, tenant.authority, tenant.tenant_id, tenant.client_id, tenant.ca_bundle, azure_credential
    )


@pytest.mark.parametrize("kind", [None, "client_secret", "developer"])
async def test_without_an_identity_here_there_is_no_federated_proof(local: LocalTenant, kind: str | None):
    with pytest.raises(ConnectionFault, match="POSTERN_AZURE_CREDENTIAL"):
        await federated_proof("console", local.client_id, around(local, kind))


@pytest.mark.parametrize("by", ["secret", "assertion"])
async def test_a_person_signs_in_at_the_local_tenant(
    local: LocalTenant, by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The whole way, with a client for a browser. The ID token signs ada in here, once more nowhere, and at no trigger;
    another request's secret gets nothing."""
    of = tenant_of(local.tenant_id, authority=local.authority)
    if by == "secret":
        proof = ClientProof(local.client_id, secret=local.client_secret("postern"))
    else:
        (tmp_path / "token").write_text(local.service_account_token())
        monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(tmp_path / "token"))
        proof = await federated_proof("console", local.client_id, around(local, "workload_identity"))
    async with http_client(local.ca_bundle, timeout=10) as http:
        places = await fetch_endpoints(http, of)
        asked = authorization_url(places.authorization, local.client_id, BACK, ("openid", "profile"), STATE, SECRET)
        assert (await http.get(asked)).status_code == 200
        clicked = await http.post(asked, data={"person": "ada"})
        back = parameters(clicked.headers["location"])
        assert back["state"] == STATE

        foreign = code_request(places.token, BACK, proof, back["code"], STATE, new_secret())
        with pytest.raises(ExchangeFault) as caught:
            await exchange(http, foreign)
        assert (caught.value.code, caught.value.aadsts) == ("invalid_grant", (501481,))
        request = code_request(places.token, BACK, proof, back["code"], STATE, SECRET)
        tokens = await exchange(http, request)
        with pytest.raises(ExchangeFault) as caught:
            await exchange(http, request)
        assert caught.value.aadsts == (54005,)

        identity = Identity(lambda served: partial(fetch_keys, http, served))
        identity.serve([of])
        wanted = Wanted(local.tenant_id, local.client_id, nonce_of(SECRET, STATE), tokens.access_token, back["code"])
        person = await identity.sign_in(tokens.id_token, wanted)
        assert (person.object_id, person.name, person.roles) == (
            local.people["ada"],
            "Ada Okafor",
            frozenset({"Postern.Operator"}),
        )
        with pytest.raises(Refused) as refused:
            await identity.sign_in(tokens.access_token, wanted)
        assert refused.value.failed.name == "id-token"
        with pytest.raises(Refused) as refused:
            await identity.sign_in(
                tokens.id_token, Wanted(local.tenant_id, local.client_id, nonce_of(new_secret(), STATE))
            )
        assert refused.value.failed.name == "nonce"
        with pytest.raises(Refused) as refused:
            await identity.identify(bearer(tokens.id_token))
        assert refused.value.failed.name == "access-token"
