"""Several credentials in one request, such as a token for the API and a key for the gateway in front of it."""

import json
from collections.abc import AsyncIterator, Sequence

from postern.connections.auth.sign_in import SignIn
from postern.connections.stage import Stage
from postern.http_client import Request


class Together(SignIn):
    """Signs requests in several ways. Its credential holds those of all of them, as JSON."""

    def __init__(self, ways: Sequence[SignIn]) -> None:
        self._ways = tuple(ways)
        self.replacements = max(way.replacements for way in self._ways)

    async def credential(self) -> str:
        """All current credentials."""
        return json.dumps([await way.credential() for way in self._ways])

    def sign(self, request: Request, credential: str) -> None:
        """Put all of them on the request."""
        for way, part in zip(self._ways, json.loads(credential), strict=True):
            way.sign(request, part)

    async def another(self, refused: str) -> str | None:
        """The credentials of now; None if none has changed. A 401 does not say which one was rejected."""
        parts = json.loads(refused)
        newer = [await way.another(part) for way, part in zip(self._ways, parts, strict=True)]
        if not any(newer):
            return None
        return json.dumps([new or old for new, old in zip(newer, parts, strict=True)])

    async def answer(self, refused: str, claims: str) -> str | None:
        """The credentials of now, with a token that meets these claims; None if none has changed."""
        parts = json.loads(refused)
        newer = [await way.answer(part, claims) for way, part in zip(self._ways, parts, strict=True)]
        if not any(newer):
            return None
        return json.dumps([new or old for new, old in zip(newer, parts, strict=True)])

    def accepted(self, credential: str) -> None:
        """Note for each of them that its credential is accepted."""
        for way, part in zip(self._ways, json.loads(credential), strict=True):
            way.accepted(part)

    async def try_out(self) -> AsyncIterator[Stage]:
        """One after the other, up to the first stage that fails."""
        for way in self._ways:
            async for stage in way.try_out():
                yield stage
                if not stage.passed:
                    return

    async def aclose(self) -> None:
        """Close each of them."""
        for way in self._ways:
            await way.aclose()
