"""An API key in each request, in a header or in the query."""

import re
from collections.abc import AsyncIterator
from urllib.parse import quote

from postern.connections.auth.entry_secret import EntrySecret, failed
from postern.connections.auth.sign_in import SignIn
from postern.connections.faults import ConnectionFault
from postern.connections.stage import Stage
from postern.connections.vault.secret import Secret, Secrets
from postern.http_client import Request
from postern.settings import ApiKeyAuth

_FIELD_VALUE = re.compile(r"[\x20-\x7e]+")


class ApiKey(SignIn):
    """Signs requests with a key. A key in the query is added only to the URL of the copy that is sent. `key` is the key
    of the entry that names the secret."""

    def __init__(self, entry: str, auth: ApiKeyAuth, secrets: Secrets, key: str = "key") -> None:
        self._header = auth.header
        self._query = auth.query or ""
        self._key = EntrySecret(entry, key, auth.key, secrets)

    async def credential(self) -> str:
        """The key."""
        return self._checked(await self._key.read())

    def sign(self, request: Request, credential: str) -> None:
        """Put the key on the request. The author's own query stays unchanged."""
        if self._header is not None:
            request.headers[self._header] = credential
            return
        key = f"{quote(self._query, safe='')}={quote(credential, safe='')}".encode()
        request.url = request.url.copy_with(query=request.url.query + b"&" + key if request.url.query else key)

    async def another(self, refused: str) -> str | None:
        """The key that is in the vault now; None if it has not changed."""
        secret = await self._key.another(refused)
        return self._checked(secret) if secret else None

    async def try_out(self) -> AsyncIterator[Stage]:
        """Read the key. Only the other side's API can tell whether the key is right."""
        try:
            secret = await self._key.read()
            self._checked(secret)
        except ConnectionFault as fault:
            yield failed("secret", fault)
        else:
            yield self._key.stage(secret)

    def _checked(self, secret: Secret) -> str:
        """The key. All servers read a header value in the same way only if it is ASCII (RFC 9110, section 5.5)."""
        key = self._key.line(secret)
        if self._header is not None and not _FIELD_VALUE.fullmatch(key):
            raise self._key.fault(
                "has characters other than ASCII, which no header can carry",
                f"Store {secret.name!r} in Key Vault again",
            )
        return key
