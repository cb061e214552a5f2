"""OAuth 2.0 client credentials, with a real token endpoint that looks at what it is received."""

import asyncio
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from httpx2 import MockTransport

from postern.connections.auth.oauth2 import MAX_ANSWER_BYTES, OAuth2
from postern.connections.auth.sign_in import signed
from postern.connections.faults import ConnectionFault
from postern.connections.stage import Stage
from postern.http_client import AsyncClient, Request, Response, http_client
from postern.settings import OAuth2Auth
from tests.connections.counterparts import Waits
from tests.connections.token_server import Kept, TokenServer, raw, reply, token_server

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

PLANTED = "planted+/=&: ~S3cret%"
CLIENT = "client+1"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def pem(key, encryption: serialization.KeySerializationEncryption | None = None) -> str:
    form = serialization.PrivateFormat.PKCS8
    text: bytes = key.private_bytes(serialization.Encoding.PEM, form, encryption or serialization.NoEncryption())
    return text.decode()


RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
async def server() -> AsyncIterator[TokenServer]:
    async with token_server() as server:
        yield server


@pytest.fixture
async def http() -> AsyncIterator[AsyncClient]:
    async with http_client() as http:
        yield http


@pytest.fixture
def make(server: TokenServer, http: AsyncClient):
    """make(values, key=…) -> OAuth2 that sends requests to the server."""

    waits = Waits()

    def make(vault: Kept | None = None, seconds: float = 5, **keys: object) -> OAuth2:
        auth = {"token_url": server.url, "client_id": CLIENT} | keys
        if "private_key" not in auth:
            auth["client_secret"] = {"key_vault": "sap-secret"}
        kept = vault or Kept({"sap-secret": PLANTED})
        return OAuth2("connections.sap", OAuth2Auth(**auth), kept, http, seconds, waits.retries())

    return make


async def fault_text(sign_in: OAuth2) -> str:
    """What the fault says; it names the entry, and has nothing secret."""
    with pytest.raises(ConnectionFault) as caught:
        await sign_in.credential()
    assert caught.value.entry == "connections.sap"
    assert caught.value.fix
    assert caught.value.__cause__ is None
    assert "planted" not in str(caught.value) + repr(caught.value)
    return str(caught.value)


async def test_the_client_authenticates_in_the_header(make, server: TokenServer):
    """Id and secret are form-encoded before they are joined (RFC 6749, section 2.3.1)."""
    sign_in = make(scopes=["a", "b"], audience="https://api.example/?a=b")
    assert await sign_in.credential() == "token"
    (received,) = server.received
    assert received.line == "POST /token HTTP/1.1"
    assert received.basic == (CLIENT, PLANTED)
    assert received.form == {"grant_type": "client_credentials", "scope": "a b", "audience": "https://api.example/?a=b"}
    assert received.headers["content-type"] == "application/x-www-form-urlencoded"
    assert received.headers["accept"] == "application/json"


async def test_the_client_authenticates_in_the_body(make, server: TokenServer):
    await make(client_authentication="body").credential()
    (received,) = server.received
    assert received.form == {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": PLANTED}
    assert "authorization" not in received.headers


@pytest.mark.parametrize(("key", "algorithm"), [(RSA, "RS256"), (EC, "ES256")])
async def test_the_client_authenticates_by_private_key_jwt(make, server: TokenServer, key, algorithm: str):
    """RFC 7523, section 3; each request has an assertion of its own."""
    vault = Kept({"key": pem(key)})
    sign_in = make(vault, private_key={"key_vault": "key"}, client_authentication="private_key_jwt", scopes=["a"])
    server.answer = lambda _: reply(access_token="token", token_type="bearer", expires_in=0)
    await sign_in.credential()
    await sign_in.credential()
    ids = set()
    for received in server.received:
        assert received.form["client_assertion_type"] == ASSERTION
        assert set(received.form) == {"grant_type", "scope", "client_assertion_type", "client_assertion"}
        claims = jwt.decode(
            received.form["client_assertion"],
            key.public_key(),
            algorithms=[algorithm],
            audience=server.url,
            issuer=CLIENT,
            options={"require": ["exp", "iat", "jti", "sub"]},
        )
        assert claims["sub"] == CLIENT
        assert 0 < claims["exp"] - time.time() <= 300
        ids.add(claims["jti"])
    assert len(ids) == 2


async def test_a_service_account_of_google_signs_the_grant(make, server: TokenServer):
    """RFC 7523, section 2.1: the assertion has the scopes, and nothing else authenticates the client."""
    scopes = ["https://www.googleapis.com/auth/drive", "https://www.googleapis.com/auth/calendar"]
    vault = Kept({"key": pem(RSA)})
    email = "postern@project.iam.gserviceaccount.com"
    sign_in = make(vault, identity_provider="google", client_id=email, private_key={"key_vault": "key"}, scopes=scopes)
    assert await sign_in.credential() == "token"
    (received,) = server.received
    assert set(received.form) == {"grant_type", "assertion"}
    assert received.form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    claims = jwt.decode(
        received.form["assertion"], RSA.public_key(), algorithms=["RS256"], audience=server.url, issuer=email
    )
    assert claims["scope"] == " ".join(scopes)
    assert "sub" not in claims


@pytest.mark.parametrize("first", [raw(b"x", 503), raw(b"x", 429, "Retry-After: 2.5"), raw(b"x" * 9)[:-1], b""])
async def test_a_token_endpoint_that_fails_for_a_moment_is_tried_again(
    server: TokenServer, http: AsyncClient, first: bytes
):
    """As Entra's is. An assertion may be used once, so each attempt has one of its own."""
    waits, answers = Waits(), [first, reply(access_token="token", expires_in=60)]
    server.answer = lambda _: answers.pop(0)
    auth = OAuth2Auth(
        token_url=server.url,
        client_id=CLIENT,
        private_key={"key_vault": "key"},
        client_authentication="private_key_jwt",
    )
    sign_in = OAuth2("connections.sap", auth, Kept({"key": pem(RSA)}), http, retries=waits.retries())
    assert await sign_in.credential() == "token"
    assert waits.seconds == [3.0 if b"429" in first[:20] else 0.5]
    assert len({received.form["client_assertion"] for received in server.received}) == 2


async def test_a_token_endpoint_that_wants_a_longer_wait_than_there_is_time_for_is_not_waited_for(
    make, server: TokenServer
):
    server.answer = lambda _: raw(b"x", 429, "Retry-After: 60")
    assert "responds with status 429" in await fault_text(make())
    assert len(server.received) == 1


async def test_the_token_is_put_on_the_request(make):
    sign_in = make()
    request = Request("GET", "https://x.example", headers={"Authorization": "of the author"})
    sign_in.sign(request, await sign_in.credential())
    assert request.headers["Authorization"] == "Bearer token"
    await sign_in.aclose()


async def test_fifty_cold_calls_make_one_token_request_and_read_the_secret_once(make, server: TokenServer):
    vault = Kept({"sap-secret": PLANTED})
    sign_in = make(vault)
    await asyncio.gather(*(sign_in.credential() for _ in range(50)))
    await sign_in.credential()
    assert (len(server.received), vault.reads) == (1, 1)
    assert await sign_in.another("token") is None, "it is quite new"


async def test_a_rotated_secret_is_read_again_and_tried_once_more(make, server: TokenServer):
    vault = Kept({"sap-secret": "old"})
    await vault.read("sap-secret")
    vault.values["sap-secret"] = "new"
    server.answer = lambda received: (
        reply(access_token="token", token_type="Bearer")
        if received.basic[1] == "new"
        else reply(401, error="invalid_client")
    )
    assert await make(vault).credential() == "token"
    assert ([received.basic[1] for received in server.received], vault.fresh_reads) == (["old", "new"], 1)


@pytest.mark.parametrize(
    "answer",
    [
        reply(401, error="invalid_client", error_description=PLANTED),
        reply(400, error="invalid_client"),
        reply(200, error="incorrect_client_credentials"),
        raw(b"<html>", 401),
    ],
)
async def test_a_wrong_secret_is_read_again_once_and_then_named(make, server: TokenServer, answer: bytes):
    vault = Kept({"sap-secret": PLANTED})
    server.answer = lambda _: answer
    message = await fault_text(make(vault))
    assert (
        "rejects the request with invalid_client, so client_id or client_secret (the secret 'sap-secret') is wrong"
        in message
    )
    assert (len(server.received), vault.fresh_reads) == (1, 1)


async def test_a_rotated_secret_that_is_rejected_too_is_tried_once(make, server: TokenServer):
    vault = Kept({"sap-secret": "old"})
    await vault.read("sap-secret")
    vault.values["sap-secret"] = "new"
    server.answer = lambda _: reply(401, error="invalid_client")
    assert "client_secret" in await fault_text(make(vault))
    assert (len(server.received), vault.fresh_reads) == (2, 1)


async def test_google_s_answer_to_a_wrong_key_has_it_read_again(make, server: TokenServer):
    vault = Kept({"key": pem(RSA)})
    server.answer = lambda _: reply(400, error="invalid_grant", error_description="Invalid JWT Signature.")
    sign_in = make(vault, identity_provider="google", private_key={"key_vault": "key"}, scopes=["a"])
    message = await fault_text(sign_in)
    assert "private_key (the secret 'key') is wrong" in message
    assert "clock" in message
    assert vault.fresh_reads == 1


@pytest.mark.parametrize("code", ["unsupported_grant_type", "bad_verification_code"])
async def test_what_to_write_instead_where_github_rejects(make, server: TokenServer, code: str):
    """It answers errors with status 200."""
    server.answer = lambda _: reply(200, error=code)
    assert 'Write type = "api_key", header = "Authorization"' in await fault_text(make(identity_provider="github"))
    assert server.received[0].form["client_secret"] == PLANTED


@pytest.mark.parametrize(
    ("answer", "wrong", "fix"),
    [
        (
            reply(400, error="invalid_scope", error_description=PLANTED),
            "rejects the request with invalid_scope",
            "Correct scopes",
        ),
        (
            reply(400, error="unauthorized_client"),
            "with unauthorized_client",
            "Allow client credentials",
        ),
        (reply(400, error="unsupported_grant_type"), "rejects the request with unsupported_grant_type", "Allow client"),
        (reply(400, error="invalid_request"), "rejects the request with invalid_request", "client_authentication"),
        (
            reply(400, error=PLANTED),
            "with status 400 and an error code that RFC 6749 does not define",
            "log",
        ),
        (reply(400, error=["invalid_client"]), "an error code that RFC 6749", "log"),
        (reply(400, error="invalid_client\r\nX: y"), "an error code that RFC 6749", "log"),
        (raw(b"", 302, "Location: https://elsewhere.example/?" + "planted"), "redirects (status 302)", "token_url"),
        (raw(b"planted", 404), "responds with status 404", "Check token_url"),
        (raw(b"planted", 403), "responds with status 403", "no firewall or gateway in front of it rejects requests"),
        (raw(b"planted", 408), "responds with status 408", "Try again later"),
        (raw(b"planted", 503), "responds with status 503", "Try again later"),
        (raw(b"planted", 429), "responds with status 429", "Try again later"),
        (raw(b"planted"), "something other than a JSON object", "token_url"),
        (raw(b"[1]"), "something other than a JSON object", "token_url"),
        (raw(b"[" * 100_000), "something other than a JSON object", "token_url"),
        (raw(b"\xff\xfe"), "something other than a JSON object", "token_url"),
        (reply(token_type="Bearer"), "responds without an access_token", "token_url"),
        (reply(access_token="", token_type="Bearer"), "responds without an access_token", "token_url"),
        (reply(access_token=5, token_type="Bearer"), "responds without an access_token", "token_url"),
        (reply(access_token="a\r\nplanted: x", token_type="Bearer"), "no header can carry", "token_url"),
        (reply(access_token="planted é", token_type="Bearer"), "no header can carry", "token_url"),
        (reply(access_token="planted", token_type="mac"), "token_type is another than Bearer", "bearer"),
        (reply(access_token="planted", token_type=["Bearer"]), "token_type is another than Bearer", "bearer"),
        (reply(error=None), "responds without an access_token", "token_url"),
        (raw(b"x" * (MAX_ANSWER_BYTES + 1)), f"more than {MAX_ANSWER_BYTES} bytes", "token_url"),
        (b"planted", "cannot be reached (RemoteProtocolError)", "token_url"),
        (None, "did not respond within 0.2 s", "later"),
        (raw(b"x" * 9)[:-1], "cannot be reached (RemoteProtocolError)", "token_url"),
    ],
)
async def test_what_a_token_endpoint_does_wrong(make, server: TokenServer, answer: bytes | None, wrong: str, fix: str):
    """Each fault names the entry and the fix, and repeats nothing of the response."""
    server.answer = lambda _: answer
    message = await fault_text(make(seconds=0.2 if answer is None else 5))
    assert message.startswith(f"connections.sap gets no token: {server.url} ")
    assert wrong in message
    assert fix in message
    passing = ("status 408", "status 503", "status 429", "RemoteProtocolError")
    if answer is not None:  # the other one may end before its request is sent
        assert len(server.received) == (4 if any(each in message for each in passing) else 1)


async def test_an_endpoint_that_is_not_there_is_a_clear_fault(make):
    message = await fault_text(make(token_url="http://127.0.0.1:9/token?key=planted"))
    assert "gets no token: http://127.0.0.1:9/token cannot be reached (ConnectError)" in message
    assert "POSTERN_CA_BUNDLE" in message


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ({}, 300),
        ({"expires_in": 3599}, 3599),
        ({"expires_in": "3599"}, 3599),
        ({"expires_in": 1.5}, 1.5),
        ({"expires_in": -5}, 0),
        ({"expires_in": 1e300}, 86400),
        ({"expires_in": 10**400}, 300),
        ({"expires_in": float("nan")}, 300),
        ({"expires_in": True}, 300),
        ({"expires_in": None}, 300),
        ({"expires_in": "soon"}, 300),
        ({"expires_in": [1]}, 300),
    ],
)
async def test_how_long_a_token_lives(make, server: TokenServer, written: dict[str, Any], seconds: float):
    server.answer = lambda _: reply(200, access_token="token", token_type="Bearer", **written)
    stages = [stage async for stage in make().try_out()]
    assert f"valid for {seconds:.0f} s" in stages[-1].detail


async def test_what_another_provider_s_cookie_says_is_not_sent(make, server: TokenServer):
    server.answer = lambda _: raw(b'{"access_token":"t","token_type":"Bearer"}', 200, "Set-Cookie: a=b; Path=/")
    await make().credential()
    await make().credential()
    assert ["cookie" in received.headers for received in server.received] == [False, False]


OLD = rsa.generate_private_key(65537, 1024)
LOCKED = pem(RSA, serialization.BestAvailableEncryption(b"x"))


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("planted", "is not a private key in PEM"),
        ('{"private_key": "planted"}', "is not a private key in PEM"),
        (pem(RSA).replace("\n", "\\n"), "lost its line ends"),
        (pem(RSA)[:600], "is not a private key in PEM"),
        (LOCKED, "is encrypted with a password"),
        (pem(OLD), "of fewer than 2048 bits"),
        (pem(ed25519.Ed25519PrivateKey.generate()), "is neither an RSA key nor"),
        (pem(ec.generate_private_key(ec.SECP521R1())), "is neither an RSA key nor"),
    ],
)
async def test_a_private_key_that_cannot_sign_is_a_clear_fault(make, server: TokenServer, key: str, wrong: str):
    auth = {"private_key": {"key_vault": "key"}, "client_authentication": "private_key_jwt"}
    message = await fault_text(make(Kept({"key": key}), **auth))
    assert message.startswith("connections.sap has a private_key that cannot be used: the secret 'key' ")
    assert wrong in message
    assert server.received == []


async def test_a_secret_that_is_not_one_line_is_a_clear_fault(make):
    assert "has white space or a line end around it" in await fault_text(make(Kept({"sap-secret": f"{PLANTED}\n"})))


async def tried(sign_in: OAuth2) -> list[Stage]:
    stages = [stage async for stage in sign_in.try_out()]
    assert "planted" not in repr(stages)
    return stages


async def test_trying_out_shows_each_stage(make, server: TokenServer):
    secret, token = await tried(make(scopes=["a", "b"], audience="c"))
    assert (secret.name, secret.passed) == ("secret", True)
    assert secret.detail == "sap-secret (client_secret), no expiry date"
    assert (token.name, token.passed) == ("token", True)
    assert token.detail == f"{server.url} as client {CLIENT} for scopes a b, audience c, valid for 3600 s"


async def test_trying_out_ends_where_it_fails(make, server: TokenServer):
    (secret,) = await tried(make(Kept({})))
    assert (secret.name, secret.passed, secret.fix) == ("secret", False, "Correct its name")
    server.answer = lambda _: reply(400, error="invalid_scope", error_description=PLANTED)
    secret, token = await tried(make())
    assert (secret.passed, token.passed) == (True, False)
    assert "rejects the request with invalid_scope" in token.detail
    assert token.fix.startswith("Correct scopes")


# A claims challenge of the API

C1 = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'


def numbered(server: TokenServer) -> None:
    """The server issues another token each time."""
    server.answer = lambda _: reply(access_token=f"token-{len(server.received)}", expires_in=3600)


def challenge(document: str) -> str:
    return f'Bearer realm="", error="insufficient_claims", claims="{b64encode(document.encode()).decode()}"'


@pytest.mark.parametrize(
    ("keys", "grant"),
    [
        ({}, "client_credentials"),
        ({"client_authentication": "body"}, "client_credentials"),
        ({"private_key": {"key_vault": "key"}, "identity_provider": "google", "scopes": ["a"]}, JWT_BEARER),
    ],
    ids=str,
)
async def test_a_challenge_is_answered_by_a_token_request_with_its_claims_past_the_cache(
    make, server: TokenServer, keys: dict[str, Any], grant: str
):
    """Callers with the same challenge share it. What is requested later is without them."""
    numbered(server)
    sign_in = make(Kept({"sap-secret": PLANTED, "key": pem(RSA)}), **keys)
    first = await sign_in.credential()
    assert await asyncio.gather(*(sign_in.answer(first, C1) for _ in range(5))) == ["token-2"] * 5
    assert await sign_in.credential() == "token-2"
    sign_in.accepted("token-2")
    assert await sign_in.another("token-2") == "token-3"
    assert [(each.form["grant_type"], each.form.get("claims")) for each in server.received] == [
        (grant, None),
        (grant, C1),
        (grant, None),
    ]


@pytest.mark.parametrize(
    ("challenges", "statuses", "claims"),
    [
        ([challenge(C1)], [200, 200], [None, C1]),
        ([challenge(C1)] * 9, [401, 401], [None, C1]),
        ([challenge("[]")], [200, 200], [None, None]),
        (['Bearer error="insufficient_claims", claims="!"'], [200, 200], [None, None]),
    ],
)
async def test_a_call_is_repeated_once_with_the_token_that_has_the_claims(
    make, server: TokenServer, challenges: list[str], statuses: list[int], claims: list[str | None]
):
    """An API that no token satisfies gets no further token request. Claims that cannot be read make a plain 401."""
    numbered(server)
    left, tokens = list(challenges), []

    def api(request: Request) -> Response:
        tokens.append(signed(request).headers["Authorization"])
        return Response(401, headers={"WWW-Authenticate": left.pop(0)}) if left else Response(200)

    async with http_client(base_url="https://x.example", auth=make(), transport=MockTransport(api)) as http:
        assert [(await http.get("/a")).status_code for _ in range(2)] == statuses
    assert [received.form.get("claims") for received in server.received] == claims
    assert tokens[:2] == ["Bearer token-1", "Bearer token-2"]
    assert set(tokens[2:]) == {"Bearer token-2"}


async def test_a_provider_that_rejects_the_claims_is_named_and_they_are_not(make, server: TokenServer):
    sign_in = make()
    first = await sign_in.credential()
    server.answer = lambda _: reply(400, error="interaction_required", claims=C1)
    with pytest.raises(ConnectionFault) as caught:
        await sign_in.answer(first, C1)
    assert "acrs" not in f"{caught.value}{caught.value!r}{vars(caught.value)}"
    assert server.received[-1].form["claims"] == C1
