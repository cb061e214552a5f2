"""A `def` workflow in a thread."""

import inspect
from collections.abc import Awaitable, Mapping
from typing import Any

from postern.authoring.context import Context
from postern.journal.run import Outcome, Run
from postern.runs.concurrency import Hold
from postern.runs.origin import holder
from postern.runs.outcomes import not_begun, raised, succeeded
from postern.runs.room import Room, shutting_down
from postern.runs.threads import Threads


async def outcome_in_thread(
    run: Run,
    context: Context,
    arguments: Mapping[str, Any],
    threads: Threads,
    hold: Hold | None,
    room: Room,
    pages: str,
) -> Outcome:
    """Call a `def` workflow and write its result, both in a thread. A thread cannot be cancelled: after a timeout it
    runs to its end, and counts as running until then, also in the place of its key."""
    workflow = run.workflow

    def call() -> Outcome | Awaitable[Any]:
        if room.closed:
            return not_begun(run, shutting_down())
        try:
            value = workflow.function(context, **arguments)
            return value if inspect.isawaitable(value) else succeeded(value, workflow.result)
        except BaseException as error:
            return raised(error, run, pages)

    ended = await threads.run(workflow.name, call, holder(run), hold)
    return (
        ended if isinstance(ended, Outcome) else succeeded(await ended, workflow.result)
    )  # a `def` around an `async def`
