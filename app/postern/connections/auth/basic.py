"""User name and password in each request (RFC 7617)."""

from base64 import b64encode
from collections.abc import AsyncIterator

from postern.connections.auth.entry_secret import EntrySecret, failed
from postern.connections.auth.sign_in import SignIn
from postern.connections.faults import ConnectionFault
from postern.connections.stage import Stage
from postern.connections.vault.secret import Secrets
from postern.http_client import Request
from postern.settings import BasicAuth


class Basic(SignIn):
    """Signs requests with `Authorization: Basic`, in UTF-8."""

    def __init__(self, entry: str, auth: BasicAuth, secrets: Secrets) -> None:
        self._username = auth.username
        self._password = EntrySecret(entry, "password", auth.password, secrets)

    async def credential(self) -> str:
        """The password."""
        return self._password.line(await self._password.read())

    def sign(self, request: Request, credential: str) -> None:
        """Put user name and password on the request."""
        pair = f"{self._username}:{credential}".encode()
        request.headers["Authorization"] = f"Basic {b64encode(pair).decode()}"

    async def another(self, refused: str) -> str | None:
        """The password that is in the vault now; None if it has not changed."""
        secret = await self._password.another(refused)
        return self._password.line(secret) if secret else None

    async def try_out(self) -> AsyncIterator[Stage]:
        """Read the password. Only the other side's API can tell whether the password is right."""
        try:
            secret = await self._password.read()
            self._password.line(secret)
        except ConnectionFault as fault:
            yield failed("secret", fault)
        else:
            yield self._password.stage(secret)
