"""What all authentication types share. The credential is put on a copy of the request at the last moment, after the
check of its address, and a rejected credential is replaced."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from postern.connections.auth.claims_challenge import claims_asked_for
from postern.connections.request_body import RENEWED, may_be_sent_again
from postern.connections.stage import Stage
from postern.http_client import URL, Auth, Request, Response

SIGN = "postern.sign"
"""The request extension that holds a Signature. The connection's transport applies it to a copy (`signed`), so that
the requests that authors, errors and redirects see have no credential."""

WITHOUT = "postern.without-credential"
"""The request extension of a request that waits for its credential."""

UNAUTHORIZED = 401


class Signature:
    """The credential for one request. It is dropped as soon as the request has a response or has failed, because the
    HTTP client keeps the request's extensions and passes them on to redirects."""

    __slots__ = ("_credential", "_sign", "_url")

    def __init__(self, sign: Callable[[Request, str], None], credential: str, url: URL) -> None:
        self._sign = sign
        self._credential: str | None = credential
        self._url = url

    def __call__(self, copy: Request) -> None:
        """Put the credential on the copy of the request. A redirect has another address, so it gets none."""
        if self._credential is not None and copy.url == self._url:
            self._sign(copy, self._credential)

    def forget(self) -> None:
        """Drop the credential, so that nothing is signed any more."""
        self._credential = None


class SignIn(Auth, ABC):
    """The authentication of one entry of `postern.toml` (an auth class of the HTTP client). A subclass gets the current
    credential, puts it on a request, and gets another one if it is rejected."""

    @abstractmethod
    async def credential(self) -> str:
        """The current credential. Raises ConnectionFault."""

    @abstractmethod
    def sign(self, request: Request, credential: str) -> None:
        """Put the credential on the request, a copy that is only sent."""

    @abstractmethod
    async def another(self, refused: str) -> str | None:
        """The credential to try after this one got a 401; None if there is no other. Raises ConnectionFault."""

    async def answer(self, refused: str, claims: str) -> str | None:
        """The credential to try after a claims challenge: one that meets these claims (JSON), where the type knows
        them. Raises ConnectionFault."""
        del claims
        return await self.another(refused)

    replacements = 1
    """How often the credential of one request is replaced."""

    def accepted(self, credential: str) -> None:
        """A request with this credential was not rejected."""

    @abstractmethod
    def try_out(self) -> AsyncIterator[Stage]:
        """Sign in stage by stage, without sending anything to the other side's API. It stops at the first failed stage,
        and raises nothing."""

    async def aclose(self) -> None:
        """Release connections."""

    async def async_auth_flow(self, request: Request) -> AsyncGenerator[Request, Response]:
        """Sign one request, and again with another credential if one is rejected. A claims challenge is answered once,
        and what comes then is the response. A body that can be read only once is not sent again, but the next request
        has the new credential. Nothing is sent again for a 401 that a redirect led to. The HTTP client calls this."""
        request.extensions[WITHOUT] = True
        credential, answered = await self.credential(), False
        for left in range(self.replacements, -1, -1):
            signature = self._attach(request, credential)
            try:
                response = yield request
            finally:
                signature.forget()
            if any(each.has_redirect_location for each in response.history):
                return  # it is of another request, and this one may have run
            if response.status_code != UNAUTHORIZED:
                self.accepted(credential)
                return
            claims = claims_asked_for(response.headers.get_list("WWW-Authenticate"))
            if not left or answered:
                return
            answered = bool(claims)
            request.extensions[WITHOUT] = True
            other = await (self.answer(credential, claims) if claims else self.another(credential))
            del request.extensions[WITHOUT]
            if other is None:
                return
            if not may_be_sent_again(request):
                request.extensions[RENEWED] = True
                return
            credential = other

    def _attach(self, request: Request, credential: str) -> Signature:
        request.extensions.pop(WITHOUT, None)
        signature = Signature(self.sign, credential, request.url)
        request.extensions[SIGN] = signature
        return signature


def signed(request: Request) -> Request:
    """A copy of the request with its credential, to be sent and discarded."""
    extensions = dict(request.extensions)
    sign = extensions.pop(SIGN, None)
    copy = Request(request.method, request.url, headers=request.headers, stream=request.stream, extensions=extensions)
    if sign is not None:
        sign(copy)
    return copy
