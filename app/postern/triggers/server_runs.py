"""The one place that starts runs which no request started (`runs.server_run`)."""

from collections.abc import Awaitable, Callable
from functools import partial

from postern.catalog.context_changes import apply
from postern.journal.run import Run
from postern.runs.apart import Start, apart
from postern.runs.idempotency import Key
from postern.runs.server_run import ServerRun
from postern.triggers.read import arguments

StartRun = Callable[[ServerRun, Key | None], Awaitable[Run]]


def starter(start: Start) -> StartRun:
    """A function that starts a run by the engine which its workflow needs, and waits for its end, or until it is
    accepted if it is durable. It makes the changes of the workflow's module in the current context, so it is called in
    a task of its own. It raises Problem if the run cannot start."""

    async def started(run: ServerRun, key: Key | None = None) -> Run:
        workflow, request = run.trigger.workflow, run.request
        apply(run.trigger.context)
        kind = request.content_type.encode() if request.body else None
        read = partial(arguments, workflow, request.body, kind, request.path_parameters)
        given = read if workflow.reads_in_thread else read()
        return await apart(start)(workflow, run.caller, request, given, run.id, key, "", "", run.started_by)

    return started
