"""The strict provider of the tests and the local tenant agree where the rules of OAuth do. They differ where Entra
does: it does not end a grant when a refresh token comes again."""

import base64
import secrets
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import pytest

from postern.http_client import AsyncClient, Response
from tests.local_tenant.browser import CALLBACK, Browser, answer
from tests.strict_provider import CLIENT_ID, CLIENT_SECRET, StrictProvider

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

SCOPES = "User.Read offline_access openid profile"
WRONG = secrets.token_urlsafe(32)


class Side(Protocol):
    """A provider, and a client that somebody consents to."""

    async def code(self) -> str: ...

    async def token(self, **form: str) -> Response: ...

    @property
    def verifier(self) -> str: ...


class Strict:
    """The provider of the tests."""

    def __init__(self, provider: StrictProvider) -> None:
        self._provider = provider
        self.verifier = secrets.token_urlsafe(32)

    async def code(self) -> str:
        challenge = base64.urlsafe_b64encode(sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "client_id": CLIENT_ID,
            "response_type": "code",
            "redirect_uri": CALLBACK,
            "scope": SCOPES,
            "state": "the-state",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        async with AsyncClient(trust_env=False) as client:
            response = await client.get(f"{self._provider.url}/authorize", params=asked)
        back = {name: value for name, (value,) in parse_qs(urlsplit(response.headers["location"]).query).items()}
        assert back["state"] == "the-state"
        return back["code"]

    async def token(self, **form: str) -> Response:
        form = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, **form}
        async with AsyncClient(trust_env=False) as client:
            return await client.post(f"{self._provider.url}/token", data=form)


class Tenant:
    """The local tenant."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self.verifier = browser.verifier

    async def code(self) -> str:
        back = answer(await self._browser.allow("lisa", scope=SCOPES))
        assert back["state"] == "the-state"
        return back["code"]

    async def token(self, **form: str) -> Response:
        left_out = {name: ... for name in ("code_verifier", "redirect_uri") if name not in form}
        return await self._browser.exchange(form.pop("code", ...), **left_out, **form)  # type: ignore[arg-type]


@pytest.fixture(params=["strict", pytest.param("tenant", marks=pytest.mark.network)])
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    if request.param == "strict":
        with StrictProvider().serving() as provider:
            yield Strict(provider)
        return
    yield Tenant(Browser(request.getfixturevalue("tenant"), request.getfixturevalue("client")))


async def redeemed(side: Side, **changes: str) -> Response:
    form = {"grant_type": "authorization_code", "code": await side.code(), "redirect_uri": CALLBACK}
    return await side.token(**{**form, "code_verifier": side.verifier, **changes})


async def refreshed(side: Side, token: str, **changes: str) -> Response:
    return await side.token(**{"grant_type": "refresh_token", "refresh_token": token, **changes})


def error(response: Response) -> tuple[bool, Any]:
    return 400 <= response.status_code < 500, response.json().get("error")


async def test_a_code_and_then_each_refresh_token_give_new_tokens(side: Side) -> None:
    found = [(await redeemed(side)).json()]
    for _ in range(3):
        response = await refreshed(side, found[-1]["refresh_token"])
        assert response.status_code == 200
        found.append(response.json())
    assert len({tokens["access_token"] for tokens in found}) == 4
    assert {tokens["token_type"] for tokens in found} == {"Bearer"}
    assert all(int(tokens["expires_in"]) > 0 for tokens in found)
    assert all("User.Read" in tokens["scope"] for tokens in found)


async def test_a_code_is_good_once_and_for_its_own_verifier_and_address(side: Side) -> None:
    code = await side.code()
    assert (await redeemed(side, code=code)).status_code == 200
    assert error(await redeemed(side, code=code)) == (True, "invalid_grant")
    for changes in ({"code_verifier": WRONG}, {"redirect_uri": f"{CALLBACK}/other"}):
        assert error(await redeemed(side, **changes)) == (True, "invalid_grant")


async def test_a_code_or_refresh_token_that_was_never_issued_is_rejected(side: Side) -> None:
    """Entra calls it malformed (AADSTS9002313)."""
    said = "invalid_grant" if isinstance(side, Strict) else "invalid_request"
    assert error(await redeemed(side, code="no-code")) == (True, said)
    assert error(await refreshed(side, "refresh-of-nobody")) == (True, said)


async def test_a_wrong_client_secret_is_an_error_of_the_client_and_uses_nothing_up(side: Side) -> None:
    token = (await redeemed(side)).json()["refresh_token"]
    assert error(await refreshed(side, token, client_secret="wrong")) == (True, "invalid_client")
    assert (await refreshed(side, token)).status_code == 200


async def test_a_refresh_token_that_comes_again_ends_the_grant_at_the_strict_provider_only(side: Side) -> None:
    token = (await redeemed(side)).json()["refresh_token"]
    newer = (await refreshed(side, token)).json()["refresh_token"]
    strict = isinstance(side, Strict)
    assert (await refreshed(side, token)).status_code == (400 if strict else 200)
    assert (await refreshed(side, newer)).status_code == (400 if strict else 200)
