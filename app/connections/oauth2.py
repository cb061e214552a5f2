"""Stands in for a way of signing in until it is there."""

from collections.abc import AsyncIterator
from typing import Any

from app.connections.signing import SignIn
from app.connections.stages import Stage
from app.http_client import Request


class OAuth2(SignIn):
    """Nothing yet."""

    def __init__(self, *_: Any) -> None:
        raise NotImplementedError

    async def credential(self) -> str:
        raise NotImplementedError

    def sign(self, request: Request, credential: str) -> None:
        raise NotImplementedError

    async def another(self, refused: str) -> str | None:
        raise NotImplementedError

    def try_out(self) -> AsyncIterator[Stage]:
        raise NotImplementedError
