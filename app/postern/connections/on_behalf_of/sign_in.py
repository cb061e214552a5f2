"""Signing in at Entra on behalf of the run's caller: the caller's own token is exchanged for one of another API.

Reference: learn.microsoft.com/entra/identity-platform/v2-oauth2-on-behalf-of-flow.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from postern.access import GUID
from postern.connections.auth.entra_errors import SECRET_REFUSED, TokenDetails, moment
from postern.connections.auth.entra_token_request import EntraRefused, deadline, request_token
from postern.connections.auth.entry_secret import EntrySecret, failed
from postern.connections.auth.federated import federated_assertion
from postern.connections.auth.sign_in import SignIn
from postern.connections.auth.token_cache import Token
from postern.connections.faults import ConnectionFault
from postern.connections.on_behalf_of.caller_token import CallerToken
from postern.connections.on_behalf_of.errors import fault_of
from postern.connections.on_behalf_of.exchanges import Exchanges
from postern.connections.stage import Stage
from postern.connections.vault.secret import Secret
from postern.http_client import Request

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

    from postern.azure_clients import Note
    from postern.connections.auth.sign_in_context import SignInContext
    from postern.settings import OnBehalfOfAuth

Proof = Mapping[str, Any]
"""How the application authenticates, as azure-identity takes it."""


class OnBehalfOf:
    """What the runs of an entry share: how the application authenticates, and the tokens of callers."""

    def __init__(
        self, entry: str, auth: "OnBehalfOfAuth", context: "SignInContext", clock: Callable[[], float] = time.time
    ) -> None:
        self._entry = entry
        self._auth = auth
        self._around = context
        self._clock = clock
        self._exchanges = Exchanges(entry, self._fetch, now=clock)
        reference = auth.client_secret or auth.certificate
        key = "client_secret" if auth.client_secret else "certificate"
        self._own = EntrySecret(entry, key, reference, context.secrets) if reference else None

    def of_caller(self, token: CallerToken) -> SignIn:
        """The sign-in of one run, whose caller has this token."""
        return _OfCaller(self, self._exchanges, token)

    async def try_out(self) -> AsyncIterator[Stage]:
        """Read the secret or certificate. A token is for a caller."""
        async for stage in self._stage_of_proof():
            yield stage
            if not stage.passed:
                return
        how = "test it with the token of a person: postern connections test NAME --as NAME"
        yield Stage("token", True, f"not requested, because each run gets one of its caller; {how}")

    async def try_out_for(self, caller: CallerToken) -> AsyncIterator[Stage]:
        """Read the secret or certificate, and exchange this caller's token."""
        async for stage in self._stage_of_proof():
            yield stage
            if not stage.passed:
                return
        try:
            details = self._details(None)
            await self._exchanges.token(caller)
            yield Stage("token", True, f"on behalf of the caller: {details.shown}")
        except ConnectionFault as fault:
            yield Stage("token", False, fault.wrong, fault.fix)

    def forget(self) -> None:
        """Forget the tokens."""
        self._exchanges.forget()

    async def aclose(self) -> None:
        """Cancel exchanges in progress, and forget the tokens."""
        await self._exchanges.aclose()

    async def _stage_of_proof(self) -> AsyncIterator[Stage]:
        if self._own is None:
            return
        try:
            secret = await self._own.read()
            if self._auth.certificate is None:
                self._own.line(secret)
                yield self._own.stage(secret)
                return
            found = await self._certificate(secret)
        except ConnectionFault as fault:
            yield failed("certificate" if self._auth.certificate else "secret", fault)
            return
        shown = f"{secret.name} (certificate), thumbprint {found.thumbprint}, valid until {moment(found.ends)}"
        yield Stage("certificate", True, shown)

    async def _fetch(self, assertion: str, claims: str = "") -> Token:
        """A token for the caller, which meets the claims of a challenge.

        If Entra rejects the application's secret, it is read again and tried once more."""
        until = deadline()
        secret = await self._own.read() if self._own is not None else None
        try:
            return await self._exchange(assertion, secret, until, claims)
        except EntraRefused as refused:
            fault = fault_of(refused, self._details(secret))
            refused.with_traceback(None)  # its frames have the caller's token, and would keep it in a circle
            again = secret is not None and self._own is not None and SECRET_REFUSED.intersection(refused.codes)
        if again and self._own is not None and secret is not None:
            newer = await self._own.read_again(secret.value)
            try:
                return await self._exchange(assertion, newer, until, claims)
            except EntraRefused as refused:
                fault = fault_of(refused, self._details(newer))
                refused.with_traceback(None)
        raise fault

    async def _exchange(self, assertion: str, secret: Secret | None, until: float, claims: str) -> Token:
        details, proof = await self._proof(secret, until)

        def make(note: "Note") -> "AsyncTokenCredential":
            from postern.azure_clients import on_behalf_of_credential

            around = self._around
            at = (around.authority, around.ca_bundle, around.proxy, note)
            return on_behalf_of_credential(details.tenant_id, details.client_id, assertion, proof(), *at)

        found = await request_token(
            self._entry, details, self._auth.scopes, make, until, claims, handles_challenges=True
        )
        return Token(found.token, found.expires_on - self._clock())

    async def _proof(self, secret: Secret | None, until: float) -> tuple[TokenDetails, Callable[[], Proof]]:
        """What is requested, and how the application authenticates there."""
        details = self._details(secret)
        if secret is None or self._own is None:
            own = await federated_assertion(self._entry, self._around, details, until)
            return details, lambda: {"client_assertion_func": lambda: own}
        if self._auth.certificate is None:
            value = self._own.line(secret)
            return details, lambda: {"client_secret": value}
        certificate = await self._certificate(secret)
        details = replace(details, thumbprint=certificate.thumbprint, expires_on=certificate.ends)
        if not self._auth.certificate_chain:
            return details, lambda: {"client_certificate": certificate.content}

        def signed() -> Proof:
            from postern.connections.auth.certificate_chain import signed_with_chain

            token_url = f"{details.authority}/{details.tenant_id}/oauth2/v2.0/token"
            assertion = signed_with_chain(certificate.content, details.client_id, token_url)
            return {"client_assertion_func": lambda: assertion}

        return details, signed

    async def _certificate(self, secret: Secret) -> Any:
        def read() -> Any:
            from postern.connections.auth.certificates import read_certificate

            return read_certificate(self._entry, secret)

        return await asyncio.to_thread(read)

    def _details(self, secret: Secret | None) -> TokenDetails:
        """What is requested: names and addresses."""
        return TokenDetails(
            way="application",
            authority=self._around.authority,
            tenant_id=self._auth.tenant_id or self._around.tenant_id or "",
            client_id=self._auth.client_id or self._around.client_id or "",
            scope=" ".join(self._auth.scopes),
            secret=secret.name if secret else "",
            expires_on=secret.expires_on if secret else None,
            like_an_id=bool(secret and GUID.fullmatch(secret.value.strip().lower())),
            ca_bundle=str(self._around.ca_bundle or ""),
        )


class _OfCaller(SignIn):
    """Signs the requests of one run. It ends with the run, because its caller's token is forgotten then."""

    def __init__(self, shared: OnBehalfOf, exchanges: Exchanges, token: CallerToken) -> None:
        self._shared = shared
        self._exchanges = exchanges
        self._token = token

    async def credential(self) -> str:
        """The token for the caller."""
        return await self._exchanges.token(self._token)

    def sign(self, request: Request, credential: str) -> None:
        """Put the token on the request as a bearer token (RFC 6750, section 2.1)."""
        request.headers["Authorization"] = f"Bearer {credential}"

    async def another(self, refused: str) -> str | None:
        """A token of one new exchange."""
        return await self._exchanges.renewed(self._token, refused)

    async def answer(self, refused: str, claims: str) -> str | None:
        """A token of one new exchange that meets these claims. If the caller's sign-in does not meet them, Entra
        rejects the exchange, and the challenge goes to the caller."""
        return await self._exchanges.renewed(self._token, refused, claims)

    def try_out(self) -> AsyncIterator[Stage]:
        """Exchange the caller's token."""
        return self._shared.try_out_for(self._token)
