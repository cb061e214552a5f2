"""The pages of the run API. Each decides who may, reads or writes the journal, and gives an Answer."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

from sqlalchemy import Connection
from starlette.requests import Request

from postern.access import ANYONE, Caller, Refused
from postern.api.access import Standing, is_anybodys, is_operator, recognise, standing
from postern.api.list_query import no_parameters, refusal_page, run_page
from postern.api.representation import (
    refusals_json,
    run_json,
    runs_json,
    state_json,
    tree_json,
    workflows_json,
)
from postern.api.resubmit import check_resubmit, reply_again
from postern.catalog import Snapshot
from postern.errors import Problem, problem
from postern.ids import is_id
from postern.journal.reading.call_tree import find_tree
from postern.journal.reading.queries import find_run, list_refusals, list_runs, request_cancel
from postern.journal.reading.records import RunRecord
from postern.journal.run import Run, State
from postern.settings.installation import Installation
from postern.triggers.reply import Answer, json_reply
from postern.triggers.secure_transport import CODE as INSECURE
from postern.triggers.secure_transport import Scope

T = TypeVar("T")
RETRY_AFTER = {"Retry-After": "1"}


class Read(Protocol):
    """The journal's way to read: gives what the query returns."""

    async def __call__(self, query: Callable[[Connection], T], /) -> T: ...


class Write(Protocol):
    """The journal's way to write: gives what the operation returns, once that is committed."""

    async def __call__(self, operation: Callable[[Connection], T], /) -> T: ...


class Cancel(Protocol):
    """Cancels a run that this process runs, and returns when its end is on record. False where it is not here."""

    async def __call__(self, run_id: str, /) -> bool: ...


class Resubmit(Protocol):
    """Runs a workflow as it is today with the inputs of a record, for this caller, and returns when the run is on
    record. Raises Problem where the inputs do not fit any more."""

    async def __call__(self, record: RunRecord, caller: Caller, /) -> Run: ...


class Seen(NamedTuple):
    """A run that somebody may see, who that is (ANYONE where no token was looked at), and what they are to it."""

    record: RunRecord
    caller: Caller
    standing: Standing


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages, and what they are made of: see `routes`."""

    installation: Installation
    read: Read
    write: Write
    identify: Callable[[Scope], Awaitable[Caller]]
    cancel_here: Cancel
    start_again: Resubmit
    snapshot: Callable[[], Snapshot]
    now: Callable[[], float] = time.time

    async def runs(self, request: Request) -> Answer:
        """A list of runs: all for operators, their own for others."""
        caller = await self._caller(request)
        private = is_operator(self.installation, caller)
        owner = None if private else (caller.tenant_id, caller.object_id)
        asked, cursor, limit = run_page(request.scope["query_string"], owner)
        page = await self.read(lambda connection: list_runs(connection, asked, cursor, limit))
        return json_reply(200, runs_json(page.items, page.next, private=private))

    async def run(self, request: Request) -> Answer:
        """The record of a run."""
        seen = await self._seen(request)
        return _shown(seen, all_calls=await self._is_operators(request, seen))

    async def tree(self, request: Request) -> Answer:
        """A run and what it called, and what that called."""
        seen = await self._seen(request)
        no_parameters(request.scope["query_string"])
        tree = await self.read(partial(find_tree, run_id=seen.record.id))
        if tree is None:
            raise problem("unknown-run")
        everything = await self._is_operators(request, seen)

        def may_see(run: RunRecord) -> bool:
            return everything or standing(self.installation, run, seen.caller) is Standing.OWNER

        return json_reply(200, tree_json(tree, may_see))

    async def result(self, request: Request) -> Answer:
        """The workflow's own reply, as soon as there is one."""
        record = (await self._seen(request)).record
        if not record.ended:
            return json_reply(202, state_json(record), RETRY_AFTER)
        return reply_again(record)

    async def cancel(self, request: Request) -> Answer:
        """Cancel a run: here, or have the process that runs it told."""
        seen = await self._seen(request)
        run_id = seen.record.id
        if seen.record.ended:
            raise problem("run-ended")
        here = await self.cancel_here(run_id)
        if not here and not await self.write(partial(request_cancel, run_id=run_id, now=self.now())):
            raise problem("run-ended")
        record = await self.read(partial(find_run, run_id=run_id)) or seen.record
        if not record.ended:
            return _shown(seen._replace(record=record), 202, {"Location": f"/runs/{run_id}", **RETRY_AFTER})
        if record.state is not State.CANCELLED:  # it ended by itself meanwhile
            raise problem("run-ended")
        return _shown(seen._replace(record=record))

    async def resubmit(self, request: Request) -> Answer:
        """A new run with the inputs of this one, on today's code."""
        seen = await self._seen(request)
        check_resubmit(seen.record, self.snapshot().triggers.get(seen.record.workflow), seen.standing, seen.caller)
        run = await self.start_again(seen.record, seen.caller)
        record = await self.read(partial(find_run, run_id=run.id))
        if record is None:
            raise problem("journal-unavailable", reason="a run that was started is not on record")
        return _shown(seen._replace(record=record), 201, {"Location": f"/runs/{run.id}"})

    async def refusals(self, request: Request) -> Answer:
        """A list of requests turned away, for operators."""
        await self._operator(request)
        asked, cursor, limit = refusal_page(request.scope["query_string"])
        page = await self.read(lambda connection: list_refusals(connection, asked, cursor, limit))
        return json_reply(200, refusals_json(page.items, page.next))

    async def workflows(self, request: Request) -> Answer:
        """What is served, and what cannot be, for operators."""
        await self._operator(request)
        no_parameters(request.scope["query_string"])
        return json_reply(200, workflows_json(self.snapshot()))

    async def _caller(self, request: Request) -> Caller:
        """Who is asking, by a token for us. Raises Refused, or Problem `identity-unavailable` or
        `insecure-transport`."""
        caller = await self.identify(request.scope)
        recognise(self.installation, (trigger.policy for trigger in self.snapshot().triggers.values()), caller)
        return caller

    async def _is_operators(self, request: Request, seen: Seen) -> bool:
        """Whether it is an operator who asks. For a run that is open to whoever knows its id no token was looked at; an
        operator's shows more of what it called, and any other is as none."""
        if seen.standing is not Standing.BEARER:
            return seen.standing is Standing.OPERATOR
        if "authorization" not in request.headers:
            return False
        try:
            return is_operator(self.installation, await self._caller(request))
        except Refused:
            return False
        except Problem as told:
            if told.code == INSECURE:
                raise
            return False

    async def _operator(self, request: Request) -> Caller:
        caller = await self._caller(request)
        if not is_operator(self.installation, caller):
            raise problem("forbidden")
        return caller

    async def _seen(self, request: Request) -> Seen:
        """The run of the path, if whoever asks may see it. Raises Problem `unknown-run`, the same where there is none
        and where it is another's; and Refused where a token was sent that is not valid."""
        run_id = request.path_params["id"]
        if not is_id(run_id):
            raise problem("unknown-run")
        record = await self.read(partial(find_run, run_id=run_id))
        caller = ANYONE
        if not is_anybodys(record):
            try:
                caller = await self._caller(request)
            except Refused as refused:
                if refused.failed.name == "credentials":  # none came
                    raise problem("unknown-run") from None
                raise
        what = standing(self.installation, record, caller)
        if record is None or what is Standing.NOBODY:
            raise problem("unknown-run")
        return Seen(record, caller, what)


def _shown(seen: Seen, status: int = 200, headers: dict[str, str] | None = None, *, all_calls: bool = False) -> Answer:
    private = seen.standing is Standing.OPERATOR
    return json_reply(status, run_json(seen.record, private=private, all_calls=all_calls), headers)
