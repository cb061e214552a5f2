"""The addresses of a provider by its issuer: from both forms of metadata, compared exactly, and kept."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.connections.grants.addresses import Addresses
from postern.connections.grants.metadata import KEPT_FOR, TRIED_EVERY, MetadataAddresses, addresses_in, well_known
from postern.connections.grants.provider import RefusedByProvider
from postern.http_client import http_client
from postern.settings import GrantedAuth
from tests.connections.conftest import Hand
from tests.connections.token_server import Received, TokenServer, raw, reply, token_server
from tests.table import table

pytestmark = pytest.mark.anyio

ISSUER = "https://login.example/t"
GOOD = {
    "issuer": ISSUER,
    "authorization_endpoint": "https://login.example/t/authorize",
    "token_endpoint": "https://tokens.example/t/token",
}
OIDC, RFC8414 = "/t/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/t"


@pytest.fixture
async def server() -> AsyncIterator[TokenServer]:
    async with token_server() as made:
        yield made


def issuer_at(server: TokenServer) -> str:
    return f"http://127.0.0.1:{server.port}/t"


def published(server: TokenServer, **changes: Any) -> dict[str, Any]:
    at = issuer_at(server)
    return {"issuer": at, "authorization_endpoint": f"{at}/authorize", "token_endpoint": f"{at}/token", **changes}


def directory(server: TokenServer, clock: Hand | None = None) -> MetadataAddresses:
    auth = GrantedAuth(
        flow="authorization_code", issuer=issuer_at(server), client_id="c", client_secret={"key_vault": "s"}
    )
    return MetadataAddresses(auth, http_client(), clock or Hand())


def paths(server: TokenServer) -> list[str]:
    return [each.line.split()[1] for each in server.received]


def at(path: str, server: TokenServer, **changes: Any) -> Any:
    def answer(received: Received) -> bytes:
        return reply(**published(server, **changes)) if received.line.split()[1] == path else raw(b"", 404)

    return answer


@pytest.mark.parametrize("path", [OIDC, RFC8414])
async def test_either_form_of_metadata_has_the_addresses(server: TokenServer, path: str):
    server.answer = at(path, server, revocation_endpoint=f"{issuer_at(server)}/revoke")
    of = directory(server)
    at_issuer = issuer_at(server)
    expected = Addresses(
        f"{at_issuer}/authorize", f"{at_issuer}/token", f"{at_issuer}/token", f"{at_issuer}/revoke", at_issuer
    )
    assert await of.find() == expected
    assert await of.find() == expected
    assert paths(server) == ([OIDC] if path == OIDC else [OIDC, RFC8414])


async def test_metadata_is_kept_and_serves_while_the_provider_is_away(server: TokenServer):
    clock = Hand()
    of = directory(server, clock)
    server.answer = lambda _: raw(b"", 503)
    for _ in range(2):
        with pytest.raises(RefusedByProvider) as raised:
            await of.find()
        assert (raised.value.code, raised.value.reason) == ("", "provider-unavailable")
    assert len(server.received) == 1
    clock.now += TRIED_EVERY
    server.answer = at(OIDC, server)
    found = await of.find()
    clock.now += KEPT_FOR
    server.answer = lambda _: raw(b"", 503)
    assert await of.find() == found
    assert len(server.received) == 3


async def test_old_addresses_serve_while_one_request_looks_them_up(server: TokenServer):
    clock = Hand()
    of = directory(server, clock)
    server.answer = at(OIDC, server)
    found = await of.find()
    clock.now += KEPT_FOR
    server.answer = lambda _: None
    looking = asyncio.ensure_future(of.find())
    while len(server.received) < 2:
        await asyncio.sleep(0)
    assert await of.find() == found
    looking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await looking
    assert len(server.received) == 2


@pytest.mark.parametrize(
    "answer",
    [raw(b"", 302, "Location: https://evil.example"), raw(b"<html>"), raw(b"x" * 200_000), b"", raw(b"[]")],
    ids=["redirect", "html", "large", "broken", "list"],
)
async def test_no_other_response_is_metadata(server: TokenServer, answer: bytes):
    server.answer = lambda _: answer
    with pytest.raises(RefusedByProvider):
        await directory(server).find()


async def test_where_metadata_promises_the_issuer_it_has_to_come(server: TokenServer):
    server.answer = at(OIDC, server, authorization_response_iss_parameter_supported=True)
    of = directory(server)
    found = await of.find()
    assert found.names_itself
    checks = {iss: of.check_issuer(found, iss) for iss in (None, issuer_at(server), issuer_at(server) + "/", "x")}
    assert list(checks.values()) == [False, True, False, False]
    server.answer = at(OIDC, server)
    other = directory(server)
    found = await other.find()
    assert [other.check_issuer(found, iss) for iss in (None, issuer_at(server), "x")] == [True, True, False]


def test_the_two_places_of_metadata():
    """They differ where the issuer has a path (RFC 8414, section 3.1)."""
    assert well_known("https://a.example/t/") == well_known("https://a.example/t")
    assert well_known("https://a.example/t") == (
        "https://a.example/t/.well-known/openid-configuration",
        "https://a.example/.well-known/oauth-authorization-server/t",
    )
    assert well_known("https://a.example") == (
        "https://a.example/.well-known/openid-configuration",
        "https://a.example/.well-known/oauth-authorization-server",
    )


def test_endpoints_may_be_at_another_host_but_only_over_https():
    token = "https://tokens.example/t/token"
    assert addresses_in(GOOD, ISSUER) == Addresses(
        "https://login.example/t/authorize", token, token, "", ISSUER, names_itself=False
    )


@table("name", ["authorization_endpoint", "token_endpoint", "revocation_endpoint"])
@table(
    "address",
    [None, 5, "", "http://login.example/x", "https://u:p@login.example", "https://x.example#a", "javascript:alert(1)",
     "https://x.example/\n", "//x.example", ["https://x.example"], "http://127.0.0.1:2375/build", "http://localhost"],
)  # fmt: skip
def test_an_endpoint_that_is_not_https_is_rejected(name: str, address: Any):
    if name == "revocation_endpoint" and address is None:
        return
    with pytest.raises(RefusedByProvider, match=f"no usable {name}"):
        addresses_in({**GOOD, name: address}, ISSUER)


@pytest.mark.parametrize("issuer", [None, "", ISSUER + "/", ISSUER.upper(), "https://evil.example", [ISSUER]])
def test_metadata_of_another_issuer_is_rejected(issuer: Any):
    with pytest.raises(RefusedByProvider, match="of another one"):
        addresses_in({**GOOD, "issuer": issuer}, ISSUER)


@given(
    st.dictionaries(
        st.sampled_from([*GOOD, "revocation_endpoint", "authorization_response_iss_parameter_supported"]),
        st.one_of(st.none(), st.booleans(), st.text(max_size=20), st.sampled_from(sorted(GOOD.values()))),
    )
)
def test_any_metadata_gives_https_addresses_or_a_fault(metadata: dict[str, Any]):
    try:
        found = addresses_in(json.loads(json.dumps(metadata)), ISSUER)
    except RefusedByProvider as refused:
        assert not [value for value in metadata.values() if isinstance(value, str) and len(value) > 3
                    and value in refused.wrong + refused.fix]  # fmt: skip
        return
    assert all(each.startswith("https://") for each in (found.authorization, found.token, found.refresh))
    assert found.issuer == ISSUER
