"""Keys over real HTTP, from an authority on loopback that answers well or badly."""

import asyncio
import contextlib
import gzip
import json
from functools import partial
from typing import Any

import pytest
from httpx2 import ASGITransport
from structlog.testing import capture_logs

from postern.http_client import HTTPError, http_client
from postern.identity.discovery import (
    MAX_DOCUMENT_BYTES,
    Endpoints,
    EntraFault,
    endpoints,
    fetch_endpoints,
    fetch_keys,
)
from postern.identity.issuers import tenant
from postern.identity.key_set import parse_keys
from postern.identity.keys import SigningKeys
from postern.identity.token import parse, verify
from tests.identity import minting
from tests.identity.minting import OTHER_ID, TENANT_ID, jwk, key_set
from tests.table import table

pytestmark = pytest.mark.anyio

DISCOVERY = f"/{TENANT_ID}/v2.0/.well-known/openid-configuration"
KEYS = f"/{TENANT_ID}/discovery/v2.0/keys"
HANG = b"hang"
ENDLESS = b"endless"


def answer(body: bytes, status: str = "200 OK", *fields: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *fields]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


class Server:
    """Answers each path with the bytes that `answers` holds for it, and remembers the requests."""

    def __init__(self) -> None:
        self.url = ""
        self.answers: dict[str, bytes] = {}
        self.requests: list[bytes] = []
        self.sent = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head)
            reply = self.answers.get(head.split()[1].decode(), answer(b"", "404 Not Found"))
            if reply is HANG:
                await reader.read()
            elif reply is ENDLESS:
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                while True:
                    writer.write(b" " * 65536)
                    self.sent += 65536
                    await writer.drain()
            else:
                writer.write(reply)
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()


@pytest.fixture
async def server():
    made = Server()
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as listening:
        made.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        made.answers[DISCOVERY] = answer(metadata(made))
        made.answers[KEYS] = answer(key_set(jwk()))
        yield made


@pytest.fixture
async def client():
    async with http_client() as made:
        yield made


@pytest.fixture
def ours(server):
    return tenant(TENANT_ID, authority=server.url)


def metadata(server: "Server", **changes: Any) -> bytes:
    made = {"issuer": f"{server.url}/{TENANT_ID}/v2.0", "jwks_uri": f"{server.url}{KEYS}", **changes}
    return json.dumps(made).encode()


async def test_discovery_names_the_keys_and_no_compression_is_requested(server, client, ours):
    assert await fetch_keys(client, ours) == key_set(jwk())
    assert [head.split()[1].decode() for head in server.requests] == [DISCOVERY, KEYS]
    assert all(b"accept-encoding: identity\r\n" in head.lower() for head in server.requests)


async def test_a_mirror_may_hand_out_the_clouds_own_metadata_issuer(server, client, ours):
    issuer = f"https://login.microsoftonline.com/{TENANT_ID}/v2.0"
    server.answers[DISCOVERY] = answer(metadata(server, issuer=issuer))
    assert await fetch_keys(client, ours)


@pytest.mark.parametrize(
    "issuer",
    [None, 1, "", ["x"], {"a": 1}, f"https://login.microsoftonline.com/{OTHER_ID}/v2.0",
     "https://login.microsoftonline.com/{tenantid}/v2.0", f"https://sts.windows.net/{TENANT_ID}/"],
)  # fmt: skip
async def test_metadata_of_another_issuer_is_rejected(server, client, ours, issuer):
    server.answers[DISCOVERY] = answer(metadata(server, issuer=issuer))
    with pytest.raises(EntraFault):
        await fetch_keys(client, ours)
    assert len(server.requests) == 1


NAMED = tenant(TENANT_ID, authority="https://contoso.ciamlogin.com")
BY_ID = tenant(TENANT_ID, authority=f"https://{TENANT_ID}.ciamlogin.com")


def external_id(asked: list[str]) -> ASGITransport:
    """Entra External ID: whatever host of the tenant is asked, the issuer has the tenant's id."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        base = "https://" + dict(scope["headers"])[b"host"].decode()
        asked.append(base + scope["path"])
        body = key_set(jwk(issuer="https://{tenantid}.ciamlogin.com/{tenantid}/v2.0"))
        if scope["path"] == DISCOVERY:
            document = {"issuer": f"{BY_ID.authority}/{TENANT_ID}/v2.0", "jwks_uri": base + KEYS}
            body = json.dumps(document).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    return ASGITransport(app)


async def test_external_id_works_with_the_authority_by_tenant_id():
    asked: list[str] = []
    async with http_client(transport=external_id(asked)) as client:
        document = await fetch_keys(client, BY_ID)
    assert asked == [f"{BY_ID.authority}{DISCOVERY}", f"{BY_ID.authority}{KEYS}"]
    assert parse_keys(document, BY_ID)
    token = minting.token(minting.claims(iss=f"{BY_ID.authority}/{TENANT_ID}/v2.0"))
    caller = verify(parse(token), {TENANT_ID: BY_ID}, minting.signing_key(), minting.NOW, 60)
    assert (caller.object_id, caller.guest) == (minting.LISA, False)


async def test_metadata_of_another_issuer_names_both_issuers_and_the_authority_to_set():
    """In the log, where `postern explain` and `/readyz` have it from."""
    async with http_client(transport=external_id([])) as client:
        keys = SigningKeys(NAMED, partial(fetch_keys, client, NAMED))
        with capture_logs() as lines:
            await keys.refresh()
    for text in (lines[0]["reason"], keys.last_error):
        assert f"the issuer https://{TENANT_ID}.ciamlogin.com/{TENANT_ID}/v2.0" in text
        assert f"not of https://contoso.ciamlogin.com/{TENANT_ID}/v2.0" in text
        assert text.endswith(f"set POSTERN_AUTHORITY to https://{TENANT_ID}.ciamlogin.com")


@pytest.mark.parametrize(
    ("issuer", "shown"),
    [
        (f"https://login.microsoftonline.com/{OTHER_ID}/v2.0", True),
        (f"https://evil.test/x/{TENANT_ID}/v2.0", True),
        ("https://a.test/<script>", False),
        ("https://a.test/" + "x" * 500, False),
        ("eyJhbGciOi.J9.x", False),
        (["x"], False),
    ],
)
async def test_only_an_issuer_in_the_form_of_one_is_shown_and_no_authority_is_made_up(
    server, client, ours, issuer, shown
):
    server.answers[DISCOVERY] = answer(metadata(server, issuer=issuer))
    with pytest.raises(EntraFault) as caught:
        await fetch_keys(client, ours)
    assert (str(issuer) in str(caught.value)) is shown
    assert "POSTERN_AUTHORITY" not in str(caught.value)


@pytest.mark.parametrize(
    "keys_url",
    [None, 1, [], "", KEYS, "https://evil.test/keys", "{url}.evil.test/keys", "{url}@evil.test/keys", "{url}",
     "{url}1/keys", "//evil.test", "file:///etc/passwd", "{url}/ke ys", "{url}/keys\r\nX: y",
     "{url}/ключи", "HTTP{rest}/keys"],
)  # fmt: skip
async def test_keys_that_are_not_at_the_authority_are_not_fetched(server, client, ours, keys_url):
    if isinstance(keys_url, str):
        keys_url = keys_url.format(url=server.url, rest=server.url.removeprefix("http"))
    server.answers[DISCOVERY] = answer(metadata(server, jwks_uri=keys_url))
    with pytest.raises(EntraFault):
        await fetch_keys(client, ours)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "bad",
    [
        answer(b"", "302 Found", f"Location: {KEYS}"),
        answer(b"", "301 Moved Permanently", "Location: https://evil.test/"),
        answer(key_set(jwk()), "201 Created"),
        answer(key_set(jwk()), "500 Internal Server Error"),
        answer(b"", "429 Too Many Requests"),
        answer(b" " * (MAX_DOCUMENT_BYTES + 1)),
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"\x16\x03\x01garbage\r\n\r\n",
        b"",
        ENDLESS,
    ],
)
@pytest.mark.parametrize("path", [DISCOVERY, KEYS])
async def test_a_bad_answer_at_either_step_is_a_failure(server, client, ours, path, bad):
    await fails(server, client, ours, path, bad)


@pytest.mark.parametrize("coding", ["gzip", "GZIP, identity"])
@pytest.mark.parametrize("path", [DISCOVERY, KEYS])
async def test_so_is_an_answer_that_unfolds_beyond_the_cap(server, client, ours, path, coding):
    packed = gzip.compress(b" " * 10 * MAX_DOCUMENT_BYTES, 1)
    await fails(server, client, ours, path, answer(packed, "200 OK", f"Content-Encoding: {coding}"))


async def fails(server, client, ours, path, bad):
    """The keys cannot be read, and no more is requested or taken."""
    server.answers[path] = bad
    with pytest.raises((EntraFault, HTTPError)):
        await fetch_keys(client, ours)
    assert server.requests[-1].split()[1].decode() == path
    assert server.sent < 30 * MAX_DOCUMENT_BYTES  # no more than what fits into the sockets' buffers


@pytest.mark.parametrize("path", [DISCOVERY, KEYS])
async def test_both_steps_together_have_little_time(server, client, ours, path):
    server.answers[path] = HANG
    with pytest.raises(TimeoutError):
        await fetch_keys(client, ours, seconds=0.05)


@pytest.mark.parametrize("bad", [b"[]", b"null", b"<html>", b"{", b"\xff"])
async def test_metadata_that_is_no_object_is_rejected(server, client, ours, bad):
    server.answers[DISCOVERY] = answer(bad)
    with pytest.raises(ValueError, match="JSON"):
        await fetch_keys(client, ours)


async def test_an_authority_out_of_reach_leaves_the_last_good_keys(server, client, ours):
    seconds = 30.0
    keys = SigningKeys(ours, lambda: fetch_keys(client, ours, seconds=seconds))
    assert await keys.find("key-1") is not None
    for bad, seconds in (  # noqa: B007 - the fetch reads it
        (HANG, 0.2),
        (ENDLESS, 0.2),
        (answer(b"{}"), 30.0),
        (answer(b"", "302 Found", "Location: /"), 30.0),
        (answer(key_set(None, jwk(use="enc"))), 30.0),
    ):
        server.answers[KEYS] = bad
        await keys.refresh()
        assert keys.last_error
        assert keys.get("key-1") is not None


LOCAL = "https://127.0.0.1:9443"
CLOUD = "https://login.microsoftonline.com"


def named(authority: str, **changes: Any) -> dict[str, Any]:
    at = f"{authority}/{TENANT_ID}/oauth2/v2.0"
    made = {
        "authorization_endpoint": f"{at}/authorize",
        "token_endpoint": f"{at}/token",
        "end_session_endpoint": f"{at}/logout",
        **changes,
    }
    return {name: value for name, value in made.items() if value is not ...}


def test_the_endpoints_for_people_are_at_the_authority():
    at = f"{CLOUD}/{TENANT_ID}/oauth2/v2.0"
    assert endpoints(named(CLOUD), CLOUD) == Endpoints(f"{at}/authorize", f"{at}/token", f"{at}/logout")
    assert endpoints(named(CLOUD, end_session_endpoint=...), CLOUD).end_session == ""


@table("name", ["authorization_endpoint", "end_session_endpoint"])
@table(
    ("authority", "page", "taken"),
    [
        (LOCAL, "http://127.0.0.1:8000/x/authorize", True),
        (LOCAL, "http://localhost:8000/authorize", True),
        ("http://localhost:1", "http://127.0.0.1/authorize", True),
        (LOCAL, "http://192.0.2.1:8000/authorize", False),
        (LOCAL, "http://127.0.0.1.evil.test/authorize", False),
        (LOCAL, "http://127.0.0.1@evil.test/authorize", False),
        (LOCAL, "http://127.0.0.1:8000@evil.test/authorize", False),
        (LOCAL, "http://127.0.0.1\\@evil.test/authorize", False),
        (LOCAL, "http://evil.test/?http://127.0.0.1/authorize", False),
        (LOCAL, "http://127.0.0.1:8000/authorize#x", False),
        (LOCAL, "http://999.0.0.1/authorize", False),
        (LOCAL, "http://127.999.0.1/authorize", False),
        (LOCAL, "https://127.0.0.1:8000/authorize", False),
        (LOCAL, "javascript:alert(1)", False),
        (CLOUD, "http://127.0.0.1:8000/authorize", False),
        (CLOUD, "http://localhost/authorize", False),
        (CLOUD, "http://login.microsoftonline.com/authorize", False),
        (CLOUD, "https://evil.test/authorize", False),
        (CLOUD, f"{CLOUD}.evil.test/authorize", False),
        (CLOUD, f"{CLOUD}/authorize#fragment", False),
        (CLOUD, 1, False),
        (CLOUD, "", False),
    ],
)
def test_http_is_taken_on_loopback_beside_a_loopback_authority_only(name: str, authority: str, page: Any, taken: bool):
    metadata = named(authority, **{name: page})
    if taken:
        assert page in (endpoints(metadata, authority).authorization, endpoints(metadata, authority).end_session)
    else:
        with pytest.raises(EntraFault, match=name) as caught:
            endpoints(metadata, authority)
        assert "evil" not in str(caught.value)


@pytest.mark.parametrize("token", [..., None, 1, "", "http://127.0.0.1:8000/token", "https://evil.test/token"])
def test_codes_go_to_the_authority_itself_only(token: Any):
    """They are sent with the client's secret, so the exception of the pages does not hold for them."""
    for authority in (LOCAL, CLOUD):
        with pytest.raises(EntraFault, match="token endpoint"):
            endpoints(named(authority, token_endpoint=token), authority)


async def test_the_endpoints_are_those_of_the_tenants_own_metadata(server, client, ours):
    server.answers[DISCOVERY] = answer(metadata(server, **named(server.url)))
    assert (await fetch_endpoints(client, ours)).token == f"{server.url}/{TENANT_ID}/oauth2/v2.0/token"
    server.answers[DISCOVERY] = answer(metadata(server, **named(server.url), issuer="https://evil.test"))
    with pytest.raises(EntraFault, match="not of http"):
        await fetch_endpoints(client, ours)
