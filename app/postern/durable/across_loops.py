"""Awaits work of another event loop, in another thread, in a context of its own."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")
Loop = asyncio.AbstractEventLoop


def new_event_loop() -> Loop:
    """An event loop of the kind that the server has."""
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()


async def across(loop: Loop, make: Callable[[], Coroutine[Any, Any, T]], context: Context) -> T:
    """The result of the coroutine that `make` makes there, in a copy of this context. A cancellation reaches it there,
    and then here. Errors of every kind come here too. Raises RuntimeError if that loop has stopped."""
    future: Future[T] = Future()
    made: list[asyncio.Task[T]] = []

    def begin() -> None:
        if future.cancelled():
            return
        try:
            task = loop.create_task(make())
        except Exception as error:
            future.set_exception(error)
            return
        made.append(task)
        task.add_done_callback(lambda _: _pass_on(task, future))

    def cancel() -> None:
        for task in made:
            task.cancel()

    loop.call_soon_threadsafe(begin, context=context.copy())
    waiting = asyncio.wrap_future(future)
    try:
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:
        if not waiting.done():
            loop.call_soon_threadsafe(cancel)
            await asyncio.wait([waiting])
        if not waiting.cancelled():
            waiting.exception()  # the cancellation is raised in place of it
        raise


def _pass_on(task: "asyncio.Task[T]", future: "Future[T]") -> None:
    if not future.set_running_or_notify_cancel():
        if not task.cancelled():
            task.exception()
        return
    if task.cancelled():
        future.set_exception(asyncio.CancelledError())
    elif (error := task.exception()) is not None:
        future.set_exception(error)
    else:
        future.set_result(task.result())
