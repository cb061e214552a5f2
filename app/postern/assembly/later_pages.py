"""Pages that are loaded for the first request for one of them."""

from collections.abc import Callable, Iterable

import anyio.to_thread
from anyio import CapacityLimiter, Lock
from starlette.routing import BaseRoute, Match, Route, Router
from starlette.types import Receive, Scope, Send

Pages = Callable[[], Iterable[Route]]
"""Makes routes, and imports what they need."""


class LaterPages(BaseRoute):
    """All paths that no other route has. The routes of the pages are made when a request arrives, in a thread, because
    that takes 0.1 to 0.3 s: most servers answer triggers long before, and some never serve a page. Put it last."""

    def __init__(self, pages: Iterable[Pages]) -> None:
        self._pages = tuple(pages)
        self._found: list[Route] | None = None
        self._router: Router | None = None
        self._making: Lock | None = None

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Only partly, so that a route with the path of a request, and without its method, goes first."""
        return (Match.PARTIAL if scope["type"] == "http" else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request to its page. Raises HTTPException if there is none."""
        router = self._router or await self._made()
        await router(scope, receive, send)

    @property
    def routes(self) -> list[Route]:
        """The routes, which are made now if they are not there yet."""
        if self._found is None:
            self._found = [route for pages in self._pages for route in pages()]
        return self._found

    async def _made(self) -> Router:
        self._making = self._making or Lock()
        async with self._making:
            if self._router is None:
                found = await anyio.to_thread.run_sync(lambda: self.routes, limiter=CapacityLimiter(1))
                self._router = Router(found, redirect_slashes=False)
            return self._router
