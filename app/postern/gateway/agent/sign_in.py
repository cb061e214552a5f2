"""The agent's token: it signs in at Entra as an application, and keeps the token until shortly before it expires."""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Protocol

from postern.gateway.agent.settings import AgentSettings

if TYPE_CHECKING:
    from postern.azure_clients import Credential, Note

SECONDS = 30.0
"""The time limit of a token request."""
FRESH = 600.0
"""Seconds that a token has left at least for a new link. With less a new token is requested."""
AGAIN = 30.0
"""Seconds between two token requests at least, where the first one brought a token that is not fresh."""
SKEW = 60.0
"""Seconds by which the clocks may differ: the server's POSTERN_CLOCK_LEEWAY if it is not set."""

_CODE = re.compile(r"AADSTS([0-9]{4,8})")
_CLOCK = "Set the clock of this machine (NTP)"
_FIXES: Mapping[int, str] = {
    7000215: "Write the client secret's value into client_secret_file, not its id",
    7000222: "The client secret has expired: make a new one in Entra, and write it into client_secret_file",
    700016: "Compare client_id and tenant_id with the page of the app registration in Entra",
    90002: "Compare tenant_id with the tenant's page in Entra, and cloud with the cloud that it is in",
    500011: "Compare audience with the Application ID URI of Postern's app registration, letter by letter",
    700027: "Upload the certificate to the agent's app registration in Entra; if it is there, it may have expired",
    700024: _CLOCK,
    70021: "Give the app registration a federated credential with exactly the issuer and subject of the token",
    700213: "Compare the subject of the app registration's federated credential with that of the token",
    700212: "Compare the audience of the app registration's federated credential with that of the token",
    7000112: "Let an administrator enable the application's sign-in in Entra (Enterprise applications)",
    53003: "Let an administrator check the conditional access policy that blocks this network",
}
"""Entra's error codes (learn.microsoft.com/entra/identity-platform/reference-error-codes), and what fixes them."""


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, and when it expires, in seconds since 1970."""

    value: str = field(repr=False)
    expires_on: float


class SignInFault(Exception):
    """There is no token. The text has no part of a secret, a token or of Entra's own text."""

    def __init__(self, wrong: str, fix: str) -> None:
        super().__init__(f"{wrong}. {fix}")
        self.wrong = wrong
        self.fix = fix


class TokenSource(Protocol):
    """Where the tokens of links come from."""

    async def get(self) -> Token:
        """A token that is good for a new link. Raises SignInFault."""

    def forget(self, token: Token) -> None:
        """The server rejects the token."""


class Tokens:
    """Gets the token of each new link. `skew` is by how many seconds this machine's clock is ahead of Entra's, None if
    that is not known."""

    def __init__(
        self,
        settings: AgentSettings,
        *,
        clock: Callable[[], float] = time.time,
        fetch: "Callable[[AgentSettings, Note], Credential] | None" = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._make = fetch or credential_of
        self._token: Token | None = None
        self._fetched = float("-inf")
        self._lock = asyncio.Lock()
        self.skew: float | None = None

    async def get(self) -> Token:
        """A token that is good for a new link. It is requested once, however many links need it. Raises SignInFault."""
        async with self._lock:
            token, now = self._token, self._clock()
            left = token.expires_on - now if token else 0.0
            if token and left > (FRESH if now - self._fetched >= AGAIN else 0.0):
                return token
            try:
                self._token = await self._fetch()
            except SignInFault:
                if token is None or left <= SKEW:
                    raise
                return token
            self._fetched = self._clock()
            return self._token

    def forget(self, token: Token) -> None:
        """The server rejects the token: request another one next time."""
        if self._token is token and self._clock() - self._fetched >= AGAIN:
            self._token = None

    async def _fetch(self) -> Token:
        began, status = self._clock(), 0

        def note(response: Any) -> None:
            nonlocal status
            status = response.http_response.status_code
            ahead = clock_ahead(response.http_response.headers.get("Date"), began, self._clock())
            self.skew = ahead if not self._settings.sign_in.managed_identity else None

        try:
            async with asyncio.timeout(SECONDS):
                credential = await asyncio.to_thread(self._make, self._settings, note)
                async with credential:
                    found = await credential.get_token(f"{self._settings.audience}/.default")
        except Exception as error:
            fault = self._fault(error, status)
        else:
            return Token(found.token, float(found.expires_on))
        raise fault  # outside of the handler: Azure's error, with all its texts, would become its context

    def _fault(self, error: BaseException, status: int) -> SignInFault:
        at = self._settings.authority_url
        if self._settings.sign_in.managed_identity:
            return SignInFault(
                f"the managed identity of this machine gives no token ({type(error).__name__})",
                "Assign an identity in Azure; with Azure Arc, let the agent's user be in the group himds and see the "
                "variables IDENTITY_ENDPOINT and IMDS_ENDPOINT",
            )
        if self.skew is not None and abs(self.skew) > SKEW:
            return SignInFault(f"Entra rejects the sign-in, and {clock_words(self.skew, 'Entra')}", _CLOCK)
        if found := _CODE.search(str(error)):
            code = int(found[1])
            fix = _FIXES.get(code, f"See https://login.microsoftonline.com/error?code={code}")
            return SignInFault(f"Entra rejects the sign-in (AADSTS{code})", fix)
        if status >= 500 or status == 429:
            return SignInFault(f"{at} has an outage or gets too many requests ({status})", "Try again later")
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            fix = "Set ca_bundle to a PEM file with its authority: a private one, or an inspecting proxy's"
            return SignInFault(f"the certificate of {at} could not be verified", fix)
        if isinstance(error, OSError | ValueError) and not isinstance(error, TimeoutError):
            return SignInFault(
                f"the file of sign_in cannot be used ({type(error).__name__})",
                "See that the agent's user can read it, and that certificate and key belong together",
            )
        way = f" through the proxy {self._settings.proxy}" if self._settings.proxy else ""
        return SignInFault(
            f"{at} gives no token{way} ({type(error).__name__})", "See that this machine can reach it, and the proxy"
        )


def credential_of(settings: AgentSettings, note: "Note") -> "Credential":
    """The credential of `sign_in`. Files are read anew, so a renewed one needs no restart. It takes about 100 ms.
    Raises OSError and ValueError if the file cannot be used."""
    from postern import azure_clients as azure

    sign_in, tenant_id, client_id = settings.sign_in, settings.tenant_id, settings.sign_in.client_id or ""
    at = (settings.authority_url, settings.ca_bundle, settings.way_out, note)
    if sign_in.managed_identity:
        return azure.managed_identity_credential(sign_in.client_id, None, None, note)
    if sign_in.certificate:
        return azure.certificate_credential(tenant_id, client_id, sign_in.certificate.read_bytes(), *at)
    if sign_in.client_secret_file:
        secret = sign_in.client_secret_file.read_text("utf-8").strip()
        return azure.client_secret_credential(tenant_id, client_id, secret, *at)
    assert sign_in.federated is not None  # noqa: S101 - the settings have one way
    return azure.assertion_credential(tenant_id, client_id, sign_in.federated.read_text("utf-8").strip(), *at)


def clock_ahead(date: str | None, sent: float, received: float) -> float | None:
    """By how many seconds this machine's clock is ahead of the one that wrote `Date` (RFC 9110, section 6.6.1), which
    has whole seconds. 0 where the difference is within what cannot be known; None without a date."""
    try:
        theirs = parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return None
    ahead = (sent + received) / 2 - (theirs + 0.5)
    unknown = (received - sent) / 2 + 0.5
    return 0.0 if abs(ahead) <= unknown else ahead


def clock_words(ahead: float, whose: str) -> str:
    """The difference of the clocks, for people."""
    return f"this machine's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} that of {whose}"
