"""What all ways of signing in have in common: a credential is put on a copy of the request at the last moment, behind
the check where it goes, and one that is refused is replaced once."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from postern.connections.stage import Stage
from postern.http_client import URL, Auth, Request, Response

SIGN = "postern.sign"
"""The request extension that holds a Signature. The transport of the connection has it put on a copy (`signed`), so
that no request that an author, an error or a redirect sees has a credential."""

UNAUTHORIZED = 401


class Signature:
    """A credential on its way to one request. It is forgotten as soon as the request is answered or has failed, because
    the HTTP client keeps the request's extensions, and hands them on to redirects."""

    __slots__ = ("_credential", "_sign", "_url")

    def __init__(self, sign: Callable[[Request, str], None], credential: str, url: URL) -> None:
        self._sign = sign
        self._credential: str | None = credential
        self._url = url

    def __call__(self, copy: Request) -> None:
        """Put the credential on the copy of the request; a redirect, which has another address, gets none."""
        if self._credential is not None and copy.url == self._url:
            self._sign(copy, self._credential)

    def forget(self) -> None:
        """Nothing is signed from now on."""
        self._credential = None


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
        signature = self._attach(request, credential)
        try:
            response = yield request
        finally:
            signature.forget()
        if response.status_code != UNAUTHORIZED or not may_be_sent_again(request):
            return
        other = await self.another(credential)
        if other is None:
            return
        signature = self._attach(request, other)
        try:
            yield request
        finally:
            signature.forget()

    def _attach(self, request: Request, credential: str) -> Signature:
        signature = Signature(self.sign, credential, request.url)
        request.extensions[SIGN] = signature
        return signature


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
