"""A request that only reads is ended when its client has disconnected, so that it holds no reader any more."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context

from starlette.requests import Request

from postern.errors import problem
from postern.triggers.reply import Answer, problem_reply

Page = Callable[[Request], Awaitable[Answer]]

LISTEN_AFTER = 0.5
"""Seconds that a page may take until its client is watched: nearly all have answered by then."""


async def while_connected(page: Page, request: Request) -> Answer:
    """The page's answer. If the client disconnects before, the page is cancelled, and the answer reaches nobody."""
    start = asyncio.get_running_loop().create_task
    answering = start(_answer(page, request), context=copy_context())
    leaving: asyncio.Task[None] | None = None
    try:
        await asyncio.wait({answering}, timeout=LISTEN_AFTER)
        if not answering.done():
            leaving = start(_departure(request), context=Context())
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return answering.result() if answering.done() else problem_reply(problem("journal-unavailable"), "")
    finally:
        answering.cancel()
        if leaving is not None:
            leaving.cancel()
        del answering  # what it raises has this frame: they would keep each other


async def _answer(page: Page, request: Request) -> Answer:
    return await page(request)


async def _departure(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
