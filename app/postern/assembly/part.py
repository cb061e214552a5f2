"""What one part of the server adds to the application."""

from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from traceback import extract_tb
from typing import Any, TypeVar

import anyio
import structlog
from starlette.routing import Route

from postern.api.figures import Collect
from postern.api.health import Check
from postern.assembly.later_pages import Pages

AGAIN = 5.0
"""Seconds until a task that failed begins again."""

T = TypeVar("T")

log = structlog.get_logger("postern")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the server. Each field is optional.

    `life` is entered when the server starts and left when it stops. What follows its `yield` does not run where a later
    part fails: use `finally` for what must be released then too. `tasks` run in between, and are cancelled first. One
    that fails begins again. `routes` are served beside the triggers; `later_routes` makes further ones when a request
    has another path (see `later_pages.py`). `checks` are the checks of `/readyz` and `state` the lifespan's state
    (ASGI, see `server/process.py`), both by names that one part alone uses. `metrics` are those of `/metrics`.
    """

    life: Callable[[], AbstractAsyncContextManager[object]] | None = None
    tasks: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = ()
    routes: tuple[Route, ...] = ()
    later_routes: Pages | None = None
    checks: Mapping[str, Check] = field(default_factory=dict)
    metrics: tuple[Collect, ...] = ()
    state: Mapping[str, Any] = field(default_factory=dict)


def without_routes(part: Part) -> Part:
    """The same part, which serves no pages of its own."""
    return replace(part, routes=(), later_routes=None)


async def start(parts: tuple[Part, ...], stack: AsyncExitStack) -> dict[str, Any]:
    """Start the parts in their order, then their tasks; `stack` stops all of it in reverse. Returns the lifespan's
    state."""
    for part in parts:
        if part.life is not None:
            await stack.enter_async_context(part.life())
    tasks = await stack.enter_async_context(anyio.create_task_group())
    stack.callback(tasks.cancel_scope.cancel)
    for part in parts:
        for task in part.tasks:
            tasks.start_soon(partial(keep_running, task))
    return joined(part.state for part in parts)


async def keep_running(task: Callable[[], Coroutine[Any, Any, None]], again: float = AGAIN) -> None:
    """Run a task until it returns. An error that it did not expect must not end the other tasks, among them those that
    write records: it is logged, without its text, which may hold a secret, and the task begins again."""
    while True:
        try:
            return await task()
        except Exception as error:
            cause, place = type(error).__name__, extract_tb(error.__traceback__)[-1]
        name = getattr(task, "__qualname__", repr(type(task)))
        where = {"file": place.filename, "line": place.lineno}
        log.error("background-task-failed", task=name, cause=cause, **where, again_in=again)
        await anyio.sleep(again)


def joined(tables: Iterable[Mapping[str, T]]) -> dict[str, T]:
    """All rows of the parts' tables. Raises ValueError where two parts use one name: one of them would be lost."""
    rows: dict[str, T] = {}
    for table in tables:
        if twice := rows.keys() & table.keys():
            raise ValueError(f"two parts use the name {', '.join(sorted(twice))}")
        rows |= table
    return rows
