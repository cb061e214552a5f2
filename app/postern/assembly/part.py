"""What one part of the server adds to the application."""

from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import anyio
from starlette.routing import Route

from postern.api.health import Check
from postern.api.metrics import Collect


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the server. Each field is optional.

    `life` is entered when the server starts and left when it stops. `tasks` run in between, and are cancelled first.
    `routes` are served beside the triggers. `checks` are the checks of `/readyz`, by name. `metrics` are the metrics of
    `/metrics`. `state` is for the server process: the lifespan's state (ASGI), see `server/process.py`.
    """

    life: Callable[[], AbstractAsyncContextManager[object]] | None = None
    tasks: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = ()
    routes: tuple[Route, ...] = ()
    checks: Mapping[str, Check] = field(default_factory=dict)
    metrics: tuple[Collect, ...] = ()
    state: Mapping[str, Any] = field(default_factory=dict)


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
            tasks.start_soon(task)
    return {name: value for part in parts for name, value in part.state.items()}
