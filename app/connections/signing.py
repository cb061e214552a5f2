"""What all ways of signing in have in common: a credential is put on a copy of the request at the last moment, behind
the check where it goes, and one that is refused is replaced once."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial

from app.connections.stages import Stage
from app.http_client import Auth, Request, Response

SIGN = "postern.sign"
"""The request extension that holds what signs a request: Request -> None. The transport of the connection calls it on a
copy (`signed`), so that no request that an author, an error or a redirect sees has a credential."""

UNAUTHORIZED = 401


class SignIn(Auth, ABC):
    """The authentication of one entry of `postern.toml` (an auth class of the HTTP client). A way of signing in says
    which credential is good now, puts it on a request, and finds another one where it is refused."""

    @abstractmethod
    async def credential(self) -> str:
        """What to sign in with now. Raises ConnectionFault."""

    @abstractmethod
    def sign(self, request: Request, credential: str) -> None:
        """Put the credential on the request, which is a copy that nobody sees."""

    @abstractmethod
    async def another(self, refused: str) -> str | None:
        """What to sign in with after this credential was answered with 401; None where there is nothing else. Raises
        ConnectionFault."""

    @abstractmethod
    def try_out(self) -> AsyncIterator[Stage]:
        """Sign in stage by stage, without sending anything to the other side's own API. It ends at the first stage that
        is not passed, and raises nothing."""

    async def aclose(self) -> None:
        """Let go of connections."""

    async def async_auth_flow(self, request: Request) -> AsyncGenerator[Request, Response]:
        """Have one request signed, and once more where that is refused; the HTTP client calls this."""
        credential = await self.credential()
        request.extensions[SIGN] = partial(self.sign, credential=credential)
        response = yield request
        if response.status_code == UNAUTHORIZED and may_be_sent_again(request):
            other = await self.another(credential)
            if other is not None:
                request.extensions[SIGN] = partial(self.sign, credential=other)
                yield request


def signed(request: Request) -> Request:
    """A copy of the request with its credential, to be sent and forgotten."""
    extensions = dict(request.extensions)
    sign = extensions.pop(SIGN, None)
    copy = Request(request.method, request.url, headers=request.headers, stream=request.stream, extensions=extensions)
    if sign is not None:
        sign(copy)
    return copy


def may_be_sent_again(request: Request) -> bool:
    """Whether its body is at hand, rather than a stream that can be read once."""
    return hasattr(request, "_content")
