"""A token from any provider by client credentials, in each request."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

from postern.connections.auth.entry_secret import EntrySecret, failed
from postern.connections.auth.private_keys import KeyFault
from postern.connections.auth.sign_in import SignIn
from postern.connections.auth.token_cache import REPLACEMENTS, Token, Tokens
from postern.connections.auth.token_request import TokenRequest, token_request
from postern.connections.auth.token_response import CLIENT_REFUSED, LATER, Answer, TokenFault, read_token
from postern.connections.faults import ConnectionFault
from postern.connections.retry_transport import Retries
from postern.connections.stage import Stage
from postern.connections.unreached import remedy
from postern.connections.vault.secret import Secret, Secrets
from postern.http_client import URL, AsyncClient, HTTPError, InvalidURL, Request, Response
from postern.settings import OAuth2Auth, SecretReference

MAX_ANSWER_BYTES = 131_072
SECONDS = 30.0
"""How long one token request may take, its response included."""

Found = dict[EntrySecret, Secret]
"""The secrets of an entry, each with what was read."""

_REACH = "Check that token_url is right and can be reached from here; POSTERN_CA_BUNDLE names a private authority"


class OAuth2(SignIn):
    """Signs requests with `Authorization: Bearer` (RFC 6750). `http` sends the token requests, each of which may take
    `seconds`, its retries included."""

    replacements = REPLACEMENTS

    def __init__(
        self,
        entry: str,
        auth: OAuth2Auth,
        secrets: Secrets,
        http: AsyncClient,
        seconds: float = SECONDS,
        retries: Retries | None = None,
    ) -> None:
        self._entry = entry
        self._auth = auth
        self._secret = EntrySecret(entry, *auth.secret, secrets)
        self._further = {
            name: EntrySecret(entry, f"parameters.{name}", value, secrets)
            for name, value in auth.parameters.items()
            if isinstance(value, SecretReference)
        }
        self._http = http
        self._seconds = seconds
        self._retries = retries or Retries()
        self._tokens = Tokens(self._fetch, entry=entry)

    async def credential(self) -> str:
        """The cached token, or a new one."""
        return await self._tokens.token()

    def sign(self, request: Request, credential: str) -> None:
        """Put the token on the request."""
        request.headers["Authorization"] = f"Bearer {credential}"

    async def another(self, refused: str) -> str | None:
        """A new token; None if the rejected one is itself new."""
        return await self._tokens.renewed(refused)

    async def answer(self, refused: str, claims: str) -> str | None:
        """A new token that meets these claims. A provider that does not know them leaves them out of account (RFC 6749,
        section 3.2)."""
        return await self._tokens.renewed(refused, claims)

    def accepted(self, credential: str) -> None:
        """Note that the token is accepted."""
        self._tokens.accepted(credential)

    async def try_out(self) -> AsyncIterator[Stage]:
        """Read the secret, then request a token, even if there is one already."""
        try:
            found = await self._read()
            self._request(found)
        except ConnectionFault as fault:
            yield failed("secret", fault)
            return
        for each, secret in found.items():
            yield each.stage(secret)
        requested = f"{self._endpoint} as client {self._auth.client_id} for {self._what_for}"
        try:
            token = await self._fetch()
        except ConnectionFault as fault:
            yield Stage("token", passed=False, detail=f"{requested}: {fault.wrong}", fix=fault.fix)
        else:
            yield Stage("token", passed=True, detail=f"{requested}, valid for {token.seconds:.0f} s")

    async def aclose(self) -> None:
        """Cancel a token request in progress."""
        await self._tokens.aclose()

    @property
    def _endpoint(self) -> str:
        """The token URL for showing: without its query, which may hold a secret."""
        return self._auth.address.partition("?")[0]

    @property
    def _what_for(self) -> str:
        scopes = f"scopes {' '.join(self._auth.scopes)}" if self._auth.scopes else "no scopes"
        return f"{scopes}, audience {self._auth.audience}" if self._auth.audience else scopes

    async def _fetch(self, claims: str = "") -> Token:
        """A new token. If the secret is rejected, it is read again, and tried once more if it has changed."""
        found = await self._read()
        try:
            return await self._requested(found, claims)
        except TokenFault as refused:
            if not self._blames_the_secret(refused):
                raise self._fault(refused) from None
            fault = refused
        fresh = {each: await each.read_again(secret.value) for each, secret in found.items()}
        if all(fresh[each].value == secret.value for each, secret in found.items()):
            raise self._fault(fault) from None
        try:
            return await self._requested(fresh, claims)
        except TokenFault as refused:
            raise self._fault(refused) from None

    async def _read(self) -> Found:
        return {each: await each.read() for each in (self._secret, *self._further.values())}

    async def _requested(self, found: Found, claims: str) -> Token:
        return read_token(await self._send(found, claims))

    def _request(self, found: Found, claims: str = "") -> TokenRequest:
        secret = found[self._secret]
        value = secret.value if self._secret.key == "private_key" else self._secret.line(secret)
        further = {
            name: given if isinstance(given, str) else self._further[name].line(found[self._further[name]])
            for name, given in self._auth.parameters.items()
        }
        if claims:
            further["claims"] = claims
        try:
            return token_request(self._auth, value, further)
        except KeyFault as fault:
            with_chain = ", with its certificates" if self._auth.certificate_chain else ""
            raise self._secret.fault(
                str(fault),
                f"Store {secret.name!r} in Key Vault again: the private key in PEM, line by line{with_chain}",
            ) from None

    async def _send(self, found: Found, claims: str) -> Answer:
        """Send a token request within limits of time and size, again if the endpoint fails for a moment."""
        deadline = asyncio.get_running_loop().time() + self._seconds
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._retries.insist(partial(self._attempt, found, claims), self._entry, deadline)
        except TimeoutError:
            raise TokenFault(f"did not respond within {self._seconds:g} s", LATER) from None
        except (HTTPError, InvalidURL, OSError, ValueError) as error:
            raise TokenFault(f"cannot be reached ({type(error).__name__})", remedy(error) or _REACH) from None
        return Answer(response.status_code, response.content)

    async def _attempt(self, found: Found, claims: str) -> Response:
        """One response of the token endpoint, read whole. Each attempt makes its request anew, because an assertion may
        be used once only. Redirects are not followed."""
        sent = self._request(found, claims)
        try:
            request = self._http.build_request("POST", URL(sent.url), content=sent.body, headers=sent.headers)
            request.headers.pop("Cookie", None)  # set by another entry's provider
            response = await self._http.send(request, stream=True, auth=None, follow_redirects=False)
            try:
                body = bytearray()
                async for part in response.aiter_raw():
                    body += part
                    if len(body) > MAX_ANSWER_BYTES:
                        raise TokenFault(
                            f"sent more than {MAX_ANSWER_BYTES} bytes",
                            "Check that token_url is the address of a token endpoint",
                        )
            finally:
                await response.aclose()
        except ConnectionFault as fault:  # of the transport, which does not know the entry
            raise TokenFault(fault.wrong, fault.fix) from None
        after = response.headers.get("Retry-After")
        return Response(response.status_code, headers={"Retry-After": after} if after else {}, content=bytes(body))

    def _blames_the_secret(self, fault: TokenFault) -> bool:
        """Whether the secret is the likely cause. Google reports a wrong signing key as invalid_grant."""
        return fault.code == CLIENT_REFUSED or (fault.code == "invalid_grant" and self._auth.grant == "jwt_bearer")

    def _fault(self, fault: TokenFault) -> ConnectionFault:
        wrong = f"gets no token: {self._endpoint} {fault.wrong}"
        if self._blames_the_secret(fault):
            wrong += f", so client_id or {self._secret.key} (the secret {self._secret.name!r}) is wrong"
            return ConnectionFault(self._entry, wrong, fault.fix)
        return ConnectionFault(self._entry, wrong, (fault.code and self._auth.instead) or fault.fix)
