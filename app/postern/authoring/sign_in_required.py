"""The error of a connection on behalf of the caller, if the caller has to sign in again first."""

from base64 import b64encode

from postern.authoring.call_result import CallError


class SignInRequired(CallError):
    """Entra gives no token for the caller of the run until the caller has signed in again. Unhandled, the run fails,
    and its caller gets a 401 `sign-in-required` with a challenge.

    `claims` is what the caller's next token has to meet (a JSON object as text), "" if any new token will do."""

    def __init__(self, entry: str, message: str, claims: str = "") -> None:
        super().__init__(entry, message, sent=False, final=True)
        self.claims = claims

    @property
    def challenge(self) -> str:
        """The value of `WWW-Authenticate` (RFC 6750, section 3; Microsoft, "Claims challenges, claims requests, and
        client capabilities")."""
        if not self.claims:
            return 'Bearer error="invalid_token"'
        encoded = b64encode(self.claims.encode()).decode()
        return f'Bearer realm="", error="insufficient_claims", claims="{encoded}"'
