"""Runs that are started by other code than the pipeline, which has no reply to send late."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from postern.access import Caller, StartedBy
from postern.authoring.request import Request
from postern.authoring.workflow import Workflow
from postern.errors import Problem
from postern.journal.run import Run
from postern.runs.idempotency import Key
from postern.runs.runner import Read
from postern.runs.streaming import drain
from postern.runs.underway import Late

Arguments = Mapping[str, Any] | Read
Start = Callable[
    [Workflow, Caller, Request, Arguments, str, Key | None, Late | None, str, str, StartedBy], Coroutine[Any, Any, Run]
]
Started = Callable[[Workflow, Caller, Request, Arguments, str, Key | None, str, str, StartedBy], Awaitable[Run]]


def apart(start: Start) -> Started:
    """`Runner.start` in a task of its own: the run is returned also when its workflow swallowed its cancellation."""

    async def started(
        workflow: Workflow,
        caller: Caller,
        request: Request,
        arguments: Arguments,
        run_id: str,
        key: Key | None,
        resubmitted_from: str,
        resubmitted_by: str,
        started_by: StartedBy,
    ) -> Run:
        ended: asyncio.Future[Run] = asyncio.get_running_loop().create_future()

        async def late(run: Run | Problem) -> None:
            if isinstance(run, Run) and run.sending is not None and not run.ended_at:
                await drain(run.sending)  # nobody reads it
            else:
                ended.set_exception(run) if isinstance(run, Problem) else ended.set_result(run)

        task = asyncio.create_task(
            start(workflow, caller, request, arguments, run_id, key, late, resubmitted_from, resubmitted_by, started_by)
        )
        task.add_done_callback(lambda task: task.cancelled() or task.exception())  # Abandoned, after `late`
        await asyncio.wait([task, ended], return_when=asyncio.FIRST_COMPLETED)
        return await (ended if ended.done() else task)

    return started
