"""The provider of one entry: where people sign in, and what is sent to its token endpoint (RFC 6749)."""

from collections.abc import Callable

from postern.connections.auth.sign_in_context import SignInContext
from postern.connections.auth.token_request import TokenRequest
from postern.connections.auth.token_response import CLIENT_REFUSED
from postern.connections.authorization import authenticated, authorization_url, code_request
from postern.connections.faults import ConnectionFault
from postern.connections.grants.addresses import Directory, WrittenAddresses
from postern.connections.grants.client_proof import EntryProof, Made
from postern.connections.grants.entra_addresses import EntraAccounts, EntraAddresses
from postern.connections.grants.provider import RefusedByProvider
from postern.connections.grants.sending import send
from postern.connections.grants.token_answers import TokenAnswer, read_answer, refused
from postern.connections.grants.tokens import GrantTokens, Issued
from postern.journal.grants import entry_of
from postern.settings import GrantedAuth


class OAuthProvider:
    """The provider of the grant `name`. It keeps no tokens."""

    def __init__(self, name: str, auth: GrantedAuth, context: SignInContext, directory: Directory) -> None:
        self.name = name
        self.scopes = auth.requested
        self._entry = entry_of(name)
        self._auth = auth
        self._http = context.http
        self._proof = EntryProof(self._entry, auth, context)
        self._directory = directory

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
            raise refused("", "other-issuer")

    async def redeem(self, code: str, redirect_uri: str, state: str, browser_secret: str) -> Issued:
        """Exchange a code, and find out whose account it is. Raises RefusedByProvider and ConnectionFault."""
        at = await self._directory.find()

        def request(made: Made) -> TokenRequest:
            try:
                return code_request(at.token, redirect_uri, made.proof, code, state, browser_secret)
            except ValueError:
                raise refused("invalid_grant", "code-used") from None

        return _issued(await self._answer(at.token, request))

    async def refresh(self, tokens: GrantTokens, scopes: tuple[str, ...], tenant: str) -> Issued:
        """New tokens, of the account's own tenant for Entra. Without a new refresh token in the response, the one that
        was sent is in `Issued`. If the client secret is rejected, it is read again and the request is sent once more.
        Raises RefusedByProvider and ConnectionFault."""
        from authlib.oauth2.rfc6749.parameters import prepare_token_request  # type: ignore[import-untyped]

        at = await self._directory.find(tenant)
        body = prepare_token_request("refresh_token", refresh_token=tokens.refresh_token)
        answer = await self._answer(at.refresh, lambda made: authenticated(at.refresh, body, made.proof))
        return _issued(answer, tokens.refresh_token)

    async def revoke(self, tokens: GrantTokens) -> str:
        """End the grant at the provider: "" if it is ended there, else why that cannot be done, as a sentence for the
        person. Raises nothing."""
        return "The provider was not asked to end it."

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
    if not auth.is_entra:
        return OAuthProvider(name, auth, context, WrittenAddresses(auth))
    if entra is None:
        raise ValueError("an entry for Entra needs Entra's accounts")
    return OAuthProvider(name, auth, context, EntraAddresses(auth.tenant or context.tenant_id or "", entra))


def _issued(answer: TokenAnswer, refresh_token: str = "") -> Issued:
    """The tokens of a response, with the refresh token that was sent if there is no new one."""
    tokens = GrantTokens(answer.access_token, answer.refresh_token or refresh_token)
    return Issued(tokens, answer.seconds, answer.refresh_seconds, answer.scopes)
