"""The provider of one entry: where people sign in, and what is sent to its token endpoint (RFC 6749)."""

import asyncio
from collections.abc import Callable

from postern.connections.auth.sign_in_context import SignInContext
from postern.connections.auth.token_request import TokenRequest
from postern.connections.auth.token_response import CLIENT_REFUSED, OTHER
from postern.connections.authorization import authenticated, authorization_url, code_request, nonce_of
from postern.connections.faults import ConnectionFault
from postern.connections.grants.accounts import AccountOf, instance_url
from postern.connections.grants.addresses import Directory, WrittenAddresses
from postern.connections.grants.client_proof import EntryProof, Made
from postern.connections.grants.entra_addresses import EntraAccounts, EntraAddresses
from postern.connections.grants.id_tokens import Account
from postern.connections.grants.metadata import MetadataAddresses
from postern.connections.grants.provider import RefusedByProvider
from postern.connections.grants.revocation import NO_ENDPOINT, NOT_AT_ENTRA, NOT_DONE, revoke_at
from postern.connections.grants.scopes import OF_OPENID
from postern.connections.grants.sending import send
from postern.connections.grants.token_answers import INVALID_GRANT, TokenAnswer, read_answer, refused
from postern.connections.grants.tokens import GrantTokens, Issued
from postern.journal.grants import entry_of
from postern.settings import GrantedAuth

REVOKE_SECONDS = 20.0
"""How long a person waits at most for the provider to end a grant."""


class OAuthProvider:
    """The provider of the grant `name`. It keeps no tokens."""

    def __init__(
        self, name: str, auth: GrantedAuth, context: SignInContext, directory: Directory, account_of: AccountOf
    ) -> None:
        self.name = name
        self.scopes = auth.requested
        self._entry = entry_of(name)
        self._auth = auth
        self._http = context.http
        self._proof = EntryProof(self._entry, auth, context)
        self._directory = directory
        self._account_of = account_of

    async def authorization_url(self, redirect_uri: str, state: str, browser_secret: str, claims: str = "") -> str:
        """Where to send the browser. Raises ConnectionFault."""
        try:
            at = await self._directory.find()
        except RefusedByProvider as error:
            fault = ConnectionFault(self._entry, error.wrong, error.fix)
        else:
            more = {**self._auth.preset.parameters, **self._auth.parameters}
            if claims:
                more["claims"] = claims
            client_id = self._auth.client_id
            return authorization_url(
                at.authorization, client_id, redirect_uri, self.scopes, state, browser_secret, more
            )
        raise fault

    async def check_issuer(self, iss: str | None) -> None:
        """Check the `iss` of an authorization response, also of an error (RFC 9207). Raises RefusedByProvider."""
        if not self._directory.check_issuer(await self._directory.find(), iss):
            raise refused(OTHER, "other-issuer")

    async def redeem(self, code: str, redirect_uri: str, state: str, browser_secret: str) -> Issued:
        """Exchange a code, and find out whose account it is. Raises RefusedByProvider and ConnectionFault."""
        at = await self._directory.find()

        def request(made: Made) -> TokenRequest:
            return code_request(at.token, redirect_uri, made.proof, code, state, browser_secret)

        try:
            answer = await self._answer(at.token, request)
        except ValueError:  # the code is not one that a provider sends
            rejected = refused(INVALID_GRANT, "code-used")
        except RefusedByProvider as error:
            if error.reason != "ended":
                raise
            rejected = refused(INVALID_GRANT, "code-used")  # without a number of Entra's: it is the code that ended
        else:
            account = await self._account_of.find(answer, at.issuer, nonce_of(browser_secret, state))
            return self._issued(answer, account)
        raise rejected

    async def refresh(self, tokens: GrantTokens, scopes: tuple[str, ...], tenant: str, claims: str = "") -> Issued:
        """New tokens, of the account's own tenant for Entra, that meet the `claims` of a challenge. Without a new
        refresh token in the response, the one that was sent is in `Issued`. If the client secret is rejected, it is
        read again and the request is sent once more. Raises RefusedByProvider and ConnectionFault."""
        from authlib.oauth2.rfc6749.parameters import prepare_token_request  # type: ignore[import-untyped]

        at = await self._directory.find(tenant)
        asked = {"scope": " ".join(self._renewed_scopes(scopes)), "claims": claims}  # without those that are empty
        body = prepare_token_request("refresh_token", refresh_token=tokens.refresh_token, **asked)
        answer = await self._answer(at.refresh, lambda made: authenticated(at.refresh, body, made.proof))
        return self._issued(answer, Account("", ""), tokens.refresh_token)

    async def revoke(self, tokens: GrantTokens) -> str:
        """End the grant at the provider: "" if it is ended there, else why that cannot be done, as a sentence for the
        person. Raises nothing."""
        if self._auth.is_entra:
            return NOT_AT_ENTRA
        try:
            async with asyncio.timeout(REVOKE_SECONDS):
                return await self._revoked(tokens)
        except (RefusedByProvider, ConnectionFault, TimeoutError, ValueError) as error:
            return NOT_DONE.format(error.reason if isinstance(error, RefusedByProvider) else "no response")

    async def _revoked(self, tokens: GrantTokens) -> str:
        url = (await self._directory.find()).revocation
        if not url:
            return NO_ENDPOINT
        kind, proof = self._auth.preset.revocation, (await self._proof.make(url)).proof
        said = await revoke_at(self._http, kind, url, proof, tokens)
        if not said or kind != "github" or not tokens.refresh_token:
            return said
        # GitHub ends a grant by an access token that is valid, and those of a GitHub App are for eight hours.
        renewed = await self.refresh(tokens, (), "")
        return await revoke_at(self._http, kind, url, proof, renewed.tokens)

    def _renewed_scopes(self, granted: tuple[str, ...]) -> tuple[str, ...]:
        """The scopes of a refresh. Other providers than Entra are not sent any: they renew what was granted (RFC 6749,
        section 6). Entra issues a token for those that are sent, and another refresh token if `offline_access` is
        among them, which its responses leave out. A scope that was not granted would end the grant."""
        if not self._auth.is_entra:
            return ()
        of_openid = tuple(scope for scope in self.scopes if scope in OF_OPENID)
        return tuple(dict.fromkeys((*(granted or self.scopes), *of_openid)))

    def _issued(self, answer: TokenAnswer, account: Account, sent: str = "") -> Issued:
        """The tokens of a response. `sent` is the refresh token of the request, which goes on if there is no new one.
        Then a base URL that cannot be used is left out: the new tokens are worth more, and there is one already."""
        domains = self._auth.preset.domains
        url = instance_url(answer.instance_url, domains) if domains else ""
        if url is None and not sent:
            raise refused(OTHER, "instance-url")
        tokens = GrantTokens(answer.access_token, answer.refresh_token or sent)
        return Issued(
            tokens,
            answer.seconds,
            answer.refresh_seconds,
            answer.scopes,
            url or "",
            account.id,
            account.name,
            account.tenant,
        )

    async def _answer(self, endpoint: str, request: Callable[[Made], TokenRequest]) -> TokenAnswer:
        """What the endpoint responds. A rejected secret is read again, once."""
        made = await self._proof.make(endpoint)
        try:
            return await self._sent(request(made))
        except RefusedByProvider as error:
            if error.code != CLIENT_REFUSED:
                raise
            first = error
        newer = await self._proof.another(endpoint, made)
        if newer is None:
            raise first
        return await self._sent(request(newer))

    async def _sent(self, request: TokenRequest) -> TokenAnswer:
        received = await send(self._http, "POST", request.url, request.headers, request.body)
        return read_answer(received.answer, received.retry_after)


def provider_of(
    name: str, auth: GrantedAuth, context: SignInContext, entra: EntraAccounts | None = None
) -> OAuthProvider:
    """The provider of the grant `name` (`journal.grants.grant_name`). `entra` is needed by entries for Entra only."""
    tenant = auth.tenant or context.tenant_id or ""
    directory: Directory = WrittenAddresses(auth)
    if auth.is_entra:
        if entra is None:
            raise ValueError("an entry for Entra needs Entra's accounts")
        directory = EntraAddresses(tenant, entra)
    elif auth.issuer is not None:
        directory = MetadataAddresses(auth, context.http)
    return OAuthProvider(name, auth, context, directory, AccountOf(auth, context.http, tenant, entra))
