"""User name and password in each request (RFC 7617)."""

from base64 import b64encode
from collections.abc import AsyncIterator

from postern.connections.auth.entry_secret import EntrySecret, failed
from postern.connections.auth.sign_in import SignIn
from postern.connections.faults import ConnectionFault
from postern.connections.stage import Stage
from postern.connections.vault.secret import Secret, Secrets
from postern.http_client import Request
from postern.settings import BasicAuth, SecretReference


class Basic(SignIn):
    """Signs requests with `Authorization: Basic`, in UTF-8. The credential is the pair, with its colon."""

    def __init__(self, entry: str, auth: BasicAuth, secrets: Secrets) -> None:
        by_key = {"username": auth.username, "password": auth.password}
        self._text = auth.username if isinstance(auth.username, str) else ""
        self._secrets = {
            key: EntrySecret(entry, key, given, secrets)
            for key, given in by_key.items()
            if isinstance(given, SecretReference)
        }

    async def credential(self) -> str:
        """The pair."""
        return self._pair({key: self._part(key, await secret.read()) for key, secret in self._secrets.items()})

    def sign(self, request: Request, credential: str) -> None:
        """Put the pair on the request."""
        request.headers["Authorization"] = f"Basic {b64encode(credential.encode()).decode()}"

    async def another(self, refused: str) -> str | None:
        """The pair that is in the vault now; None if it has not changed."""
        username, _, password = refused.partition(":")
        parts = {"username": username, "password": password}
        for key, secret in self._secrets.items():
            newer = await secret.another(parts[key])
            if newer is not None:
                parts[key] = self._part(key, newer)
        pair = self._pair(parts)
        return pair if pair != refused else None

    async def try_out(self) -> AsyncIterator[Stage]:
        """Read what is secret. Only the other side's API can tell whether it is right."""
        for key, secret in self._secrets.items():
            try:
                found = await secret.read()
                self._part(key, found)
            except ConnectionFault as fault:
                yield failed("secret", fault)
                return
            yield secret.stage(found)

    def _pair(self, parts: dict[str, str]) -> str:
        return f"{parts.get('username', self._text)}:{parts.get('password', '')}"

    def _part(self, key: str, secret: Secret) -> str:
        value = self._secrets[key].line(secret)
        if key == "username" and ":" in value:
            raise self._secrets[key].fault(
                "has a colon, which no user name can have", f"Store the key alone in {secret.name!r}"
            )
        return value
