"""The endpoints of the run API. Each checks access, reads or writes the journal, and returns an Answer."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

from sqlalchemy import Connection
from starlette.requests import Request

from postern.access import ANYONE, Caller, Refused
from postern.api.access import Standing, is_anonymous, is_operator, recognise, standing
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
from postern.journal.reading.call_tree import Tree, find_tree
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
    """Reads from the journal and returns the query's result."""

    async def __call__(self, query: Callable[[Connection], T], /) -> T: ...


class Write(Protocol):
    """Writes to the journal and returns the operation's result, once it is committed."""

    async def __call__(self, operation: Callable[[Connection], T], /) -> T: ...


class Cancel(Protocol):
    """Cancels a run of this process, and returns when its end is recorded. False if the run is not here."""

    async def __call__(self, run_id: str, /) -> bool: ...


class Underway(Protocol):
    """Returns a run of this process that has not ended, also if the journal does not have it yet."""

    def __call__(self, run_id: str, /) -> RunRecord | None: ...


class Resubmit(Protocol):
    """Runs the current version of a workflow with the inputs of a record, for this caller, and returns when the run is
    recorded. Raises Problem if the inputs are no longer valid."""

    async def __call__(self, record: RunRecord, caller: Caller, /) -> Run: ...


class Seen(NamedTuple):
    """A run, the caller that may see it (ANYONE if no token was looked at), and the caller's relation to it."""

    record: RunRecord
    caller: Caller
    standing: Standing


@dataclass(frozen=True, slots=True)
class Pages:
    """The endpoints and what they need: see `routes`."""

    installation: Installation
    read: Read
    write: Write
    identify: Callable[[Scope], Awaitable[Caller]]
    cancel_here: Cancel
    start_again: Resubmit
    snapshot: Callable[[], Snapshot]
    now: Callable[[], float] = time.time
    underway: Underway = lambda _: None

    async def runs(self, request: Request) -> Answer:
        """A list of runs: all for operators, their own for others."""
        caller = await self._caller(request)
        private = is_operator(self.installation, caller)
        owner = None if private else (caller.tenant_id, caller.object_id)
        filters, cursor, limit = run_page(request.scope["query_string"], owner)
        page = await self.read(lambda connection: list_runs(connection, filters, cursor, limit))
        return json_reply(200, runs_json(page.items, page.next, private=private))

    async def run(self, request: Request) -> Answer:
        """The record of a run."""
        seen = await self._seen(request)
        return _shown(seen, all_calls=await self._is_operators(request, seen))

    async def tree(self, request: Request) -> Answer:
        """A run and the tree of runs that it called."""
        seen = await self._seen(request)
        no_parameters(request.scope["query_string"])
        tree = await self.read(partial(find_tree, run_id=seen.record.id)) or Tree(seen.record, {}, truncated=False)
        everything = await self._is_operators(request, seen)

        def may_see(run: RunRecord) -> bool:
            return everything or standing(self.installation, run, seen.caller) is Standing.OWNER

        return json_reply(200, tree_json(tree, may_see))

    async def result(self, request: Request) -> Answer:
        """The workflow's own reply, once there is one."""
        record = (await self._seen(request)).record
        if not record.ended:
            return json_reply(202, state_json(record), RETRY_AFTER)
        return reply_again(record)

    async def cancel(self, request: Request) -> Answer:
        """Cancel a run: here, or by a recorded request to the process that runs it."""
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
        """Start a new run with the inputs of this one, on the current code."""
        seen = await self._seen(request)
        check_resubmit(seen.record, self.snapshot().triggers.get(seen.record.workflow), seen.standing, seen.caller)
        run = await self.start_again(seen.record, seen.caller)
        record = await self.read(partial(find_run, run_id=run.id))
        if record is None:
            raise problem("journal-unavailable", reason="a run that was started is not recorded")
        return _shown(seen._replace(record=record), 201, {"Location": f"/runs/{run.id}"})

    async def refusals(self, request: Request) -> Answer:
        """A list of refusals (rejected requests), for operators."""
        await self._operator(request)
        filters, cursor, limit = refusal_page(request.scope["query_string"])
        page = await self.read(lambda connection: list_refusals(connection, filters, cursor, limit))
        return json_reply(200, refusals_json(page.items, page.next))

    async def workflows(self, request: Request) -> Answer:
        """The served workflows and the faulty files, for operators."""
        await self._operator(request)
        no_parameters(request.scope["query_string"])
        return json_reply(200, workflows_json(self.snapshot()))

    async def _caller(self, request: Request) -> Caller:
        """The caller, by a token for this server. Raises Refused, or Problem `identity-unavailable` or
        `insecure-transport`."""
        caller = await self.identify(request.scope)
        recognise(self.installation, (trigger.policy for trigger in self.snapshot().triggers.values()), caller)
        return caller

    async def _is_operators(self, request: Request, seen: Seen) -> bool:
        """Whether the caller is an operator. No token was looked at for an anonymous caller's run: an operator's token
        shows more of its calls, and any other token counts as none."""
        if seen.standing is not Standing.BEARER:
            return seen.standing is Standing.OPERATOR
        if "authorization" not in request.headers:
            return False
        try:
            return is_operator(self.installation, await self._caller(request))
        except Refused:
            return False
        except Problem as shown:
            if shown.code == INSECURE:
                raise
            return False

    async def _operator(self, request: Request) -> Caller:
        caller = await self._caller(request)
        if not is_operator(self.installation, caller):
            raise problem("forbidden")
        return caller

    async def _seen(self, request: Request) -> Seen:
        """The run of the path, if the caller may see it. Raises Problem `unknown-run` both if there is no such run and
        if it is another caller's. Raises Refused for an invalid token."""
        run_id = request.path_params["id"]
        if not is_id(run_id):
            raise problem("unknown-run")
        here = self.underway(run_id)  # first: it may end, and be recorded, while the journal is read
        record = await self.read(partial(find_run, run_id=run_id)) or here
        caller = ANYONE
        if not is_anonymous(record):
            try:
                caller = await self._caller(request)
            except Refused as refused:
                if refused.failed.name == "credentials":  # there are none
                    raise problem("unknown-run") from None
                raise
        what = standing(self.installation, record, caller)
        if record is None or what is Standing.NONE:
            raise problem("unknown-run")
        return Seen(record, caller, what)


def _shown(seen: Seen, status: int = 200, headers: dict[str, str] | None = None, *, all_calls: bool = False) -> Answer:
    private = seen.standing is Standing.OPERATOR
    return json_reply(status, run_json(seen.record, private=private, all_calls=all_calls), headers)
