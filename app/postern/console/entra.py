"""Microsoft Entra, as the console uses it: where it sends browsers, and who comes back with a code."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol
from urllib.parse import urlencode

from postern.browser_secrets import new_secret
from postern.connections.auth.entra_errors import SECRET_REFUSED
from postern.connections.authorization import (
    ClientProof,
    Exchanged,
    ExchangeFault,
    authorization_url,
    code_request,
    exchange,
    nonce_of,
)
from postern.connections.faults import ConnectionFault
from postern.console.faults import fault
from postern.console.return_query import error_in
from postern.errors import Problem
from postern.http_client import AsyncClient
from postern.identity import Endpoints, Person, Wanted

KEPT_FOR = 3600.0
"""Seconds for which the addresses of Entra are used until they are looked up again."""
TRIED_EVERY = 5.0
"""Seconds between two attempts to look them up while Entra is away."""
SCOPES = ("openid", "profile")
LATER = {"Retry-After": "5"}


class Proof(Protocol):
    """How the application authenticates (see `connections.own_proof`)."""

    async def make(self) -> ClientProof:
        """The proof. Raises ConnectionFault."""

    async def another(self, rejected: ClientProof, /) -> ClientProof | None:
        """A newer one, if there is one. Raises ConnectionFault."""


class Entra:
    """The tenant that people sign in at. `find` looks its addresses up, `verify` verifies an ID token. `http` sends
    codes to the token endpoint. It belongs to one event loop."""

    def __init__(
        self,
        tenant_id: str,
        client_id: str,
        address: str,
        find: Callable[[], Awaitable[Endpoints]],
        http: AsyncClient,
        proof: Proof,
        verify: Callable[[str, Wanted], Awaitable[Person]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tenant_id = tenant_id
        self._client_id = client_id
        self._address = address
        self._find = find
        self._http = http
        self._proof = proof
        self._verify = verify
        self._clock = clock
        self._found: Endpoints | None = None
        self._look_at = float("-inf")
        self._last_error = ""
        self._looking = asyncio.Lock()

    async def sign_in_url(self, state: str, browser_secret: str) -> str:
        """Where to send the browser. Raises Problem `sign-in-unavailable`."""
        found = await self.endpoints()
        at = found.authorization
        return authorization_url(at, self._client_id, self._redirect_uri, SCOPES, state, browser_secret)

    async def sign_out_url(self) -> str:
        """Where a person signs out of Entra itself; "" if that is not known now."""
        try:
            found = await self.endpoints()
        except Problem:
            return ""
        if not found.end_session:
            return ""
        back = urlencode(
            {"client_id": self._client_id, "post_logout_redirect_uri": self._address + "/console/signed-out"}
        )
        return f"{found.end_session}{'&' if '?' in found.end_session else '?'}{back}"

    async def person(self, code: str, state: str, browser_secret: str) -> Person:
        """Who signed in. Raises Problem, and Refused if the ID token is rejected."""
        found = await self.endpoints()
        try:
            proof = await self._proof.make()
            try:
                exchanged = await self._exchange(found.token, proof, code, state, browser_secret)
            except ExchangeFault as error:
                newer = await self._proof.another(proof) if SECRET_REFUSED.intersection(error.aadsts) else None
                if newer is None:
                    raise
                exchanged = await self._exchange(found.token, newer, code, state, browser_secret)
        except ConnectionFault as error:
            shown = _unavailable(f"{error.entry} {error.wrong}. {error.fix}", "Postern cannot authenticate at Entra.")
        except ExchangeFault as error:
            shown = _of_exchange(error)
        else:
            nonce = nonce_of(browser_secret, state)
            wanted = Wanted(self._tenant_id, self._client_id, nonce, exchanged.access_token, code)
            return await self._verify(exchanged.id_token, wanted)
        raise shown  # outside of the handler: what is in its context may hold the code

    async def endpoints(self) -> Endpoints:
        """The addresses of the tenant. They are looked up by one request at a time; if Entra is away, those that were
        found before are used. Raises Problem `sign-in-unavailable`."""
        async with self._looking:
            if self._clock() >= self._look_at:
                await self._look()
        if self._found is None:
            raise _unavailable(self._last_error)
        return self._found

    async def _look(self) -> None:
        try:
            self._found = await self._find()
        except Exception as error:  # any failure of the network or of the document
            self._last_error = ascii(f"{type(error).__name__}: {error}")[1:-1][:500]
            self._look_at = self._clock() + TRIED_EVERY
        else:
            self._look_at = self._clock() + KEPT_FOR

    async def _exchange(
        self, endpoint: str, proof: ClientProof, code: str, state: str, browser_secret: str
    ) -> Exchanged:
        try:
            request = code_request(endpoint, self._redirect_uri, proof, code, state, browser_secret)
        except ValueError:
            raise fault("sign-in-refused", reason="the code is not one that Entra sends") from None
        return await exchange(self._http, request)

    @property
    def _redirect_uri(self) -> str:
        return f"{self._address}/console/callback"


def refused_by_entra(parameters: Mapping[str, str], numbers: tuple[int, ...]) -> Problem:
    """The problem for the error with which Entra sent the browser back (RFC 6749, section 4.1.2.1). `parameters` has
    its `error`; `numbers` are Entra's own, for showing only."""
    error = error_in(parameters)
    shown = ", ".join(f"AADSTS{number}" for number in numbers)
    reason = f"{error} {shown}".strip()
    if error == "access_denied":
        return fault("sign-in-cancelled", reason=reason)
    if error in ("server_error", "temporarily_unavailable"):
        return _unavailable(reason, "Microsoft Entra cannot complete the sign-in at the moment. Try again in a minute.")
    detail = f"Microsoft Entra did not sign you in ({shown})." if shown else ""
    return fault("sign-in-refused", reason=reason, detail=detail)


def new_state() -> str:
    """The `state` of an authorization request: it cannot be guessed."""
    return new_secret()


def _of_exchange(error: ExchangeFault) -> Problem:
    numbers = " ".join(f"AADSTS{number}" for number in error.aadsts)
    reason = f"the token endpoint {error.wrong} {numbers}".strip() + f". {error.fix}"
    if error.code == "invalid_grant":
        return fault("sign-in-refused", reason=reason, detail="Microsoft Entra did not accept this sign-in again.")
    if error.code:
        return _unavailable(reason, "Microsoft Entra does not accept Postern's own registration at the moment.")
    return _unavailable(reason)


def _unavailable(reason: str, detail: str = "") -> Problem:
    return fault("sign-in-unavailable", reason=reason, detail=detail, headers=LATER)
