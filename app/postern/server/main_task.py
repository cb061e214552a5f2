"""The event loop runs until its main task has ended, whatever else in it wants to stop it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog

T = TypeVar("T")

log = structlog.get_logger("postern.server")


def run_to_end(main: Coroutine[Any, Any, T], loop_factory: Callable[[], asyncio.AbstractEventLoop] | None) -> T:
    """`asyncio.run`, but other tasks and callbacks cannot stop the loop: asyncio ends it when one of them raises
    SystemExit or KeyboardInterrupt, as a task of an author may. Whoever waits for that task still gets the exception.
    Signals have handlers of their own."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        loop = runner.get_loop()
        task = loop.create_task(main)
        while True:
            try:
                return loop.run_until_complete(task)
            except BaseException as error:
                if task.done():
                    raise
                log.warning(
                    "exit-ignored",
                    error=type(error).__name__,
                    fix="a task or callback of a workflow raised it or stopped the loop: end the workflow with "
                    "`return` or an exception",
                )
