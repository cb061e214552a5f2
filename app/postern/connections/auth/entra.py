"""Signing in at Entra as an application: by client secret, certificate, managed identity or federated credential.

Reference: learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from postern.access import GUID, default_scope
from postern.connections.auth.entra_errors import (
    SECRET_REFUSED,
    TokenDetails,
    issuer_and_subject,
    moment,
)
from postern.connections.auth.entra_token_request import EntraRefused, deadline, request_token
from postern.connections.auth.entry_secret import EntrySecret
from postern.connections.auth.federated import federated_assertion, identity_of
from postern.connections.auth.sign_in import SignIn
from postern.connections.auth.token_cache import REPLACEMENTS, Token, Tokens
from postern.connections.faults import ConnectionFault
from postern.connections.stage import Stage
from postern.connections.vault.secret import Secret
from postern.http_client import Request

if TYPE_CHECKING:
    from pathlib import Path

    from azure.core.credentials_async import AsyncTokenCredential

    from postern.azure_clients import Note
    from postern.connections.auth.certificates import Certificate
    from postern.connections.auth.sign_in_context import SignInContext
    from postern.proxy import Proxy
    from postern.settings import EntraAuth


class EntraSignIn(SignIn):
    """Signs requests of one entry with a token from Entra. Each token request makes its own credential and closes it,
    so a renewed secret, certificate or token file needs no restart."""

    replacements = REPLACEMENTS

    def __init__(
        self, entry: str, auth: "EntraAuth", context: "SignInContext", clock: Callable[[], float] = time.time
    ) -> None:
        self._entry = entry
        self._auth = auth
        self._around = context
        self._clock = clock
        self._scopes = auth.scopes or (default_scope(auth.audience),)
        self._tokens = Tokens(self._fetch, entry=entry)
        reference = auth.client_secret or auth.certificate
        key = "client_secret" if auth.client_secret else "certificate"
        self._proof = EntrySecret(entry, key, reference, context.secrets) if reference else None

    async def credential(self) -> str:
        """The cached token, or a new one."""
        return await self._tokens.token()

    def sign(self, request: Request, credential: str) -> None:
        """Put the token on the request as a bearer token (RFC 6750, section 2.1)."""
        request.headers["Authorization"] = f"Bearer {credential}"

    async def another(self, refused: str) -> str | None:
        """A newer token."""
        return await self._tokens.renewed(refused)

    async def answer(self, refused: str, claims: str) -> str | None:
        """A newer token that meets these claims."""
        return await self._tokens.renewed(refused, claims)

    def accepted(self, credential: str) -> None:
        """Note that the token is accepted."""
        self._tokens.accepted(credential)

    async def try_out(self) -> AsyncIterator[Stage]:
        """Read the secret or certificate, request a token, and check its expiry."""
        stage = "certificate" if self._auth.certificate else "secret"
        try:
            secret = await self._secret()
            if secret is not None:
                yield Stage(stage, True, await self._shown(secret))
            stage = "token"
            token = await self._exchange(secret)
            yield Stage(stage, True, self._details(secret).shown)
        except ConnectionFault as fault:
            yield Stage(stage, False, fault.wrong, fault.fix)
            return
        until = f"valid until {moment(self._clock() + token.seconds)}"
        yield Stage("expiry", token.seconds > 0, until, "" if token.seconds > 0 else "Set the clock of this machine")

    async def _fetch(self, claims: str = "") -> Token:
        return await self._exchange(await self._secret(), claims)

    async def _secret(self) -> Secret | None:
        return await self._proof.read() if self._proof is not None else None

    async def _exchange(self, secret: Secret | None, claims: str = "") -> Token:
        """A token for the secret in the vault. If Entra rejects the secret, it is read again and tried once more."""
        until = deadline()
        try:
            return await self._token(secret, until, claims)
        except EntraRefused as refused:
            if secret is None or self._proof is None or not SECRET_REFUSED.intersection(refused.codes):
                raise
        return await self._token(await self._proof.read_again(secret.value), until, claims)

    async def _token(self, secret: Secret | None, until: float, claims: str) -> Token:
        details = replace(self._details(secret), claims=claims)
        if self._auth.managed_identity:
            return await self._request(details, identity_of(self._auth.client_id, self._around), until)
        if secret is None:
            return await self._federated(details, until)
        if self._auth.certificate is not None:
            return await self._certified(details, await self._certificate(secret), until)

        value = self._proof.line(secret) if self._proof is not None else secret.value

        def make(note: "Note") -> "AsyncTokenCredential":
            from postern.azure_clients import client_secret_credential

            return client_secret_credential(details.tenant_id, details.client_id, value, *self._at, note)

        return await self._request(details, make, until)

    async def _certified(self, details: TokenDetails, certificate: "Certificate", until: float) -> Token:
        def make(note: "Note") -> "AsyncTokenCredential":
            from postern.azure_clients import assertion_credential, certificate_credential

            tenant_id, client_id, content = details.tenant_id, details.client_id, certificate.content
            if not self._auth.certificate_chain:
                return certificate_credential(tenant_id, client_id, content, *self._at, note)
            from postern.connections.auth.certificate_chain import signed_with_chain

            token_url = f"{details.authority}/{tenant_id}/oauth2/v2.0/token"
            return assertion_credential(
                tenant_id, client_id, signed_with_chain(content, client_id, token_url), *self._at, note
            )

        details = replace(details, thumbprint=certificate.thumbprint, expires_on=certificate.ends)
        return await self._request(details, make, until)

    async def _federated(self, details: TokenDetails, until: float) -> Token:
        assertion = await federated_assertion(self._entry, self._around, details, until)
        issuer, subject = issuer_and_subject(assertion)

        def make(note: "Note") -> "AsyncTokenCredential":
            from postern.azure_clients import assertion_credential

            return assertion_credential(details.tenant_id, details.client_id, assertion, *self._at, note)

        return await self._request(replace(details, issuer=issuer, subject=subject), make, until)

    async def _request(
        self, details: TokenDetails, make: "Callable[[Note], AsyncTokenCredential]", until: float
    ) -> Token:
        found = await request_token(self._entry, details, self._scopes, make, until, details.claims)
        return Token(found.token, found.expires_on - self._clock())

    async def _certificate(self, secret: Secret) -> "Certificate":
        def read() -> "Certificate":
            from postern.connections.auth.certificates import read_certificate

            return read_certificate(self._entry, secret)

        return await asyncio.to_thread(read)

    async def _shown(self, secret: Secret) -> str:
        """The secret's name and dates, which may be shown."""
        shown = f'"{secret.name}" in the Key Vault'
        if self._auth.certificate is not None:
            certificate = await self._certificate(secret)
            return f"{shown}, thumbprint {certificate.thumbprint}, valid until {moment(certificate.ends)}"
        expires = f"expires {moment(secret.expires_on)}" if secret.expires_on else "no expiry date"
        return f"{shown}, {expires}"

    @property
    def _at(self) -> "tuple[str, Path | None, Proxy | None]":
        return self._around.authority, self._around.ca_bundle, self._around.proxy

    def _details(self, secret: Secret | None) -> TokenDetails:
        """What the entry requests. Raises ConnectionFault if the entry is incomplete."""
        tenant_id, client_id = self._auth.tenant_id or self._around.tenant_id, self._auth.client_id
        if not self._auth.managed_identity and not tenant_id:
            raise ConnectionFault(self._entry, "has no tenant", "Set POSTERN_TENANT_ID, or tenant_id in the entry")
        if not self._auth.managed_identity and not client_id:
            raise ConnectionFault(self._entry, "has no client_id", "Write the application's client id into the entry")
        if self._auth.managed_identity and len(self._scopes) > 1:
            raise ConnectionFault(
                self._entry, "requests several scopes as a managed identity", "Write one scope, or audience"
            )
        return TokenDetails(
            way="managed_identity" if self._auth.managed_identity else "application",
            authority=self._around.authority,
            tenant_id=tenant_id or "",
            client_id=client_id or "",
            scope=" ".join(self._scopes),
            secret=secret.name if secret else "",
            expires_on=secret.expires_on if secret else None,
            like_an_id=bool(secret and GUID.fullmatch(secret.value.strip().lower())),
            ca_bundle=str(self._around.ca_bundle or ""),
            endpoint=bool(os.environ.get("IDENTITY_ENDPOINT")),
        )
