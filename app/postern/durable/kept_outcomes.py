"""The outcome of a `def` workflow as a checkpoint: one that has ended is not called again if its server process dies
before the outcome is recorded."""

import asyncio
import inspect
import json
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import asdict
from typing import Any

from postern.authoring.context import Context
from postern.durable.checkpoints import Later, Left
from postern.journal.run import Outcome, Run, State
from postern.runs.origin import holder
from postern.runs.outcomes import raised, whole
from postern.runs.threads import Threads


def as_checkpoint(
    run: Run, context: Context, arguments: Mapping[str, Any], threads: Threads, pages: str
) -> Callable[[int], Coroutine[Any, Any, str]]:
    """The body of the checkpoint that a `def` workflow is: it runs in a thread to its outcome."""

    def call() -> Outcome | Awaitable[Any]:
        try:
            value = run.workflow.function(context, **arguments)
            return value if inspect.isawaitable(value) else whole(value, run.workflow)
        except BaseException as error:
            return raised(error, run, pages)

    async def body(_: int) -> str:
        ended = await threads.run(run.workflow.name, call, holder(run))
        if isinstance(ended, Outcome):
            return outcome_written(ended)
        try:  # a `def` around an `async def`
            return outcome_written(whole(await ended, run.workflow))
        except (Left, Later, asyncio.CancelledError):
            raise
        except BaseException as error:
            return outcome_written(raised(error, run, pages))

    return body


def outcome_written(outcome: Outcome) -> str:
    """The outcome as JSON."""
    values = asdict(outcome)
    values["content"] = b64encode(outcome.content).decode()
    values["headers"] = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in outcome.headers]
    return json.dumps(values)


def outcome_read(text: str) -> Outcome:
    """The outcome that `outcome_written` wrote."""
    values = json.loads(text)
    values["state"] = State(values["state"])
    values["content"] = b64decode(values["content"])
    values["headers"] = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in values["headers"])
    return Outcome(**values)
