"""What callers and operators do with durable runs: cancel them, whichever server process has them, and resume them."""

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from postern.access import Caller
from postern.api.durable_defaults import nothing_here
from postern.catalog import Trigger
from postern.errors import problem
from postern.journal.durable_ends import Cancelled, cancel, resume

T = TypeVar("T")
GONE = "There is no workflow of this name any more."


class Write(Protocol):
    """Writes to the journal and returns the operation's result, once it is committed."""

    async def __call__(self, operation: Callable[[Connection], T], /) -> T: ...


@dataclass(frozen=True, slots=True)
class DurableActions:
    """Actions on durable runs. `cancel_here` cancels a run that this server process has (see
    `durable.cancellations`), `ended` is called with the id of a run that has ended in the journal, `ready` when a run
    can be claimed, and `count` with the workflow of a run that was cancelled without its code."""

    write: Write
    cancel_here: Callable[..., Awaitable[None]] = nothing_here
    ended: Callable[[str], object] = lambda _: None
    ready: Callable[[], object] = lambda: None
    count: Callable[[str], object] = lambda _: None
    now: Callable[[], float] = time.time

    async def cancel(self, run_id: str, workflow: str, by: str) -> None:
        """Cancel a run for a caller (see `journal.run.actor`): at once if it waits, or is parked; otherwise by the
        process that runs it. Raises Problem `run-ended`."""
        how = await self.write(partial(cancel, run_id=run_id, now=self.now(), by=by))
        if how is None:
            raise problem("run-ended")
        await self.cancel_here(run_id, by, ended=how is Cancelled.ENDED)
        if how is Cancelled.ENDED:
            self.ended(run_id)
            self.count(workflow)

    async def resume(self, run_id: str, trigger: Trigger | None, by: Caller, *, from_start: bool) -> None:
        """Run a run again that failed, timed out, was cancelled or is parked: from the step that failed, or
        `from_start`. Raises Problem `cannot-resume`, with the reason."""
        if trigger is None:
            raise problem("cannot-resume", detail=GONE)
        who = json.dumps([by.tenant_id, by.object_id])
        why = await self.write(partial(resume, run_id=run_id, by=who, from_start=from_start))
        if why is not None:
            raise problem("cannot-resume", detail=why.value)
        self.ready()
