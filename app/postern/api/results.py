"""The result of a run: `GET /runs/{id}/result`, and the reply of a trigger whose caller waits for it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from postern.api.durable_defaults import no_reply
from postern.api.representation import state_json
from postern.api.resubmit import reply_again
from postern.api.result_wait import MOST_SECONDS, ResultWait
from postern.api.run_actions import Read
from postern.errors import Problem, problem
from postern.journal.body_form import Form
from postern.journal.durable_runs import NODE, Phase
from postern.journal.reading.queries import find_run_alone
from postern.journal.reading.records import DurableState, RunRecord
from postern.journal.run import Outcome, Run
from postern.journal.shares import Holder, holder_of
from postern.preferences import prefers_async, wait_of
from postern.triggers.read import Receive
from postern.triggers.reply import Answer, json_reply, recorded_reply, reply

SOON, LATER = 1, 10
"""Seconds after which a caller asks again: of a run that executes, or may at any time; and of one that waits."""
APPLIED = "Preference-Applied"


@dataclass(frozen=True, slots=True)
class Results:
    """Replies with results. `whole` returns the whole reply of a durable run, if it is kept. `console_on` says whether
    the console's pages are at this origin too (see triggers/one_origin.py)."""

    read: Read
    waits: ResultWait
    whole: Callable[[str], Awaitable[Outcome | None]] = no_reply
    console_on: bool = True
    now: Callable[[], float] = time.time

    async def wait(self, record: RunRecord, prefer: bytes, who: Holder) -> tuple[RunRecord, bool]:
        """Wait as long as the caller prefers, until the run has ended. Returns its record afterwards, and whether the
        preference was honoured."""
        seconds = wait_of(prefer, MOST_SECONDS)
        if record.ended or not await self.waits.until_ended(record.id, seconds, who):
            return record, False
        return await self.read(partial(find_run_alone, run_id=record.id), who) or record, True

    async def of(self, record: RunRecord, *, secured: bool) -> Answer:
        """The reply of a run that has ended, or 202. `secured` says that this caller may have what its workflow keeps
        out of records: it is the run's own caller. Raises Problem `reply-not-kept`."""
        if not record.ended:
            seconds = retry_after(record.durable, self.now())
            where = {"Location": f"/runs/{record.id}/result", "Retry-After": str(seconds)}
            return json_reply(202, state_json(record), where)
        if record.durable is not None and (secured or record.outputs_form is not Form.SECURED):
            outcome = await self._whole(record.id)
            if outcome is not None:
                headers, content = outcome.headers, outcome.content
                return recorded_reply(record.id, outcome.status, headers, content, console_on=self.console_on)
        return reply_again(record, console_on=self.console_on)

    async def _whole(self, run_id: str) -> Outcome | None:
        try:
            return await self.whole(run_id)
        except Problem:
            raise
        except Exception as error:
            detail = "The reply is sealed, and cannot be opened at the moment."
            raise problem("reply-not-kept", detail=detail, reason=type(error).__name__) from None

    async def of_trigger(self, run: Run, receive: Receive) -> Answer:
        """The reply to a request with a preference whose run was accepted: the result if there is one as soon as the
        caller prefers, else the 202. A client that leaves stops waiting."""
        accepted = reply(run, console_on=self.console_on)
        prefer = run.request._prefer
        if not wait_of(prefer, MOST_SECONDS):
            return accepted
        who = holder_of(run.caller.kind, run.caller.tenant_id, run.caller.object_id, run.request.client_address)
        record = await self.read(partial(find_run_alone, run_id=run.id), who)
        if record is None or record.node != NODE:  # the workflow itself replied 202
            return accepted
        record, waited = await until_gone(self.wait(record, prefer, who), receive, (record, False))
        answer = await self._ended(record) or accepted
        if waited or answer is not accepted:
            honoured = [*(["respond-async"] if prefers_async(prefer) else []), f"wait={_asked(prefer)}"]
            answer.headers = [field for field in answer.headers if field[0] != b"preference-applied"]
            answer.headers.append((APPLIED.lower().encode(), ", ".join(honoured).encode()))
        return answer

    async def _ended(self, record: RunRecord) -> Answer | None:
        """The reply of a run that has ended; None if it has not, or its reply is not kept."""
        if not record.ended:
            return None
        try:
            return await self.of(record, secured=True)
        except Problem:
            return None


async def until_gone(
    waiting: Awaitable[tuple[RunRecord, bool]], receive: Receive, otherwise: tuple[RunRecord, bool]
) -> tuple[RunRecord, bool]:
    """What this waits for; the other value if the client has disconnected before."""
    task = asyncio.ensure_future(waiting)
    leaving = asyncio.ensure_future(_departure(receive))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else otherwise
    finally:
        task.cancel()
        leaving.cancel()
        del task  # what it raises has this frame: they would keep each other


async def _departure(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def retry_after(state: DurableState | None, now: float) -> int:
    """The seconds after which it makes sense to ask for the result again. Pure."""
    if state is None or state.phase not in (Phase.WAITING, Phase.PARKED):
        return SOON
    if state.wakes_at is None:
        return LATER
    return max(SOON, min(LATER, round(state.wakes_at - now)))


def applied(prefer: bytes) -> dict[str, str]:
    """The header that says how long the reply waited for the result."""
    return {APPLIED: f"wait={_asked(prefer)}"}


def _asked(prefer: bytes) -> int:
    return int(wait_of(prefer, MOST_SECONDS))
