"""The provider of one entry: where people sign in, and what is sent to its token endpoint."""

from typing import Protocol

from postern.connections.grants.tokens import GrantTokens, Issued


class RefusedByProvider(Exception):
    """The provider issued no tokens. `code` is its `error` (RFC 6749, section 5.2), by which the caller of the provider
    acts; "" if it cannot be reached or has an error of its own, and then trying again later may help. `reason` is the
    code of `reasons.py` that says what a person reads, by Entra's numbers too. `claims` is a challenge for the next
    authorization request. `retry_after` is in seconds, None if the provider does not say. `wrong` and `fix` are a
    predicate and a sentence without its full stop; none of them has text of the provider."""

    def __init__(
        self,
        wrong: str,
        fix: str,
        code: str = "",
        reason: str = "",
        claims: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(wrong)
        self.wrong = wrong
        self.fix = fix
        self.code = code
        self.reason = reason
        self.claims = claims
        self.retry_after = retry_after


class Provider(Protocol):
    """One entry's provider. None of the methods retries, and none follows a redirect."""

    name: str
    scopes: tuple[str, ...]

    async def authorization_url(self, redirect_uri: str, state: str, browser_secret: str, claims: str = "") -> str:
        """Where to send the browser. Raises ConnectionFault."""

    async def check_issuer(self, iss: str | None) -> None:
        """Check the `iss` of an authorization response, also of an error (RFC 9207). Raises RefusedByProvider."""

    async def redeem(self, code: str, redirect_uri: str, state: str, browser_secret: str) -> Issued:
        """Exchange a code, and find out whose account it is. Raises RefusedByProvider and ConnectionFault."""

    async def refresh(self, tokens: GrantTokens, scopes: tuple[str, ...], tenant: str, claims: str = "") -> Issued:
        """New tokens, of the account's own tenant for Entra, that meet the `claims` of a challenge. Without a new
        refresh token in the response, the one that was sent is in `Issued`. If the client secret is rejected, it is
        read again and the request is sent once more. Raises RefusedByProvider and ConnectionFault."""

    async def revoke(self, tokens: GrantTokens) -> str:
        """End the grant at the provider: "" if it is ended there, else why that cannot be done, as a sentence for the
        person. Raises nothing."""
