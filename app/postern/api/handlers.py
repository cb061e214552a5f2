"""The endpoints of the run API. Each checks access, reads or writes the journal, and returns an Answer."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

from sqlalchemy import Connection
from starlette.requests import Request
from structlog.typing import FilteringBoundLogger

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
from postern.api.resubmit import caller_again, check_resubmit, reply_again
from postern.catalog import Snapshot
from postern.errors import Problem, problem
from postern.ids import is_id, new_id
from postern.journal.reading.call_tree import Tree, find_tree
from postern.journal.reading.queries import find_run, list_refusals, list_runs, request_cancel
from postern.journal.reading.records import RunRecord
from postern.journal.run import Run, State, actor
from postern.journal.shares import Allotment, Holder, holder_of
from postern.settings.installation import Installation
from postern.triggers.reply import Answer, json_reply
from postern.triggers.secure_transport import CODE as INSECURE
from postern.triggers.secure_transport import Scope

T = TypeVar("T")
RETRY_AFTER = {"Retry-After": "1"}
RESPOND_ASYNC = "respond-async"
MOST_BACKGROUND = 1000
"""Runs that go on after their responses: no connection of a client limits how many there are. A caller may have as many
as are free, and all anonymous callers half."""
LOOK_AGAIN = 0.05
"""Seconds between two looks for the record of a run that was just started."""


class Read(Protocol):
    """Reads from the journal for this caller, and returns the query's result."""

    async def __call__(self, query: Callable[[Connection], T], caller: Holder, /) -> T: ...


class Write(Protocol):
    """Writes to the journal and returns the operation's result, once it is committed."""

    async def __call__(self, operation: Callable[[Connection], T], /) -> T: ...


class Cancel(Protocol):
    """Cancels a run of this process for a caller (see `journal.run.actor`), and returns when its end is recorded. False
    if the run is not here."""

    async def __call__(self, run_id: str, by: str, /) -> bool: ...


class Underway(Protocol):
    """Returns a run of this process that has not ended, also if the journal does not have it yet."""

    def __call__(self, run_id: str, /) -> RunRecord | None: ...


class Resubmit(Protocol):
    """Runs the current version of a workflow with the inputs of a record, for this caller and under this id, and
    returns when the run's end is recorded. `by` is who resubmits it. Raises Problem if the inputs are no longer
    valid."""

    async def __call__(self, record: RunRecord, caller: Caller, run_id: str, by: Caller, /) -> Run: ...


class Seen(NamedTuple):
    """A run, the caller that may see it (ANYONE without a valid token), and the caller's relation to it. `actor` is who
    sends the request: it differs where a valid token came for an anonymous caller's run, which any client may see."""

    record: RunRecord
    caller: Caller
    standing: Standing
    actor: Caller


@dataclass(frozen=True, slots=True)
class Handlers:
    """The endpoints and what they need: see `routes`."""

    installation: Installation
    read: Read
    write: Write
    identify: Callable[[Scope], Awaitable[Caller]]
    cancel_here: Cancel
    start_again: Resubmit
    snapshot: Callable[[], Snapshot]
    log: FilteringBoundLogger
    now: Callable[[], float] = time.time
    underway: Underway = lambda _: None
    console_on: bool = True
    background: set["asyncio.Future[Run]"] = field(default_factory=set)
    in_background: Allotment = field(default_factory=lambda: Allotment(MOST_BACKGROUND))

    async def runs(self, request: Request) -> Answer:
        """A list of runs: all for operators, their own for others."""
        caller = await self._caller(request)
        private = is_operator(self.installation, caller)
        owner = None if private else (caller.tenant_id, caller.object_id)
        filters, cursor, limit = run_page(request.scope["query_string"], owner)
        page = await self.read(
            lambda connection: list_runs(connection, filters, cursor, limit), _holder(request, caller)
        )
        return json_reply(200, runs_json(page.items, page.next, private=private))

    async def run(self, request: Request) -> Answer:
        """The record of a run."""
        seen = await self._seen(request)
        self._note_view(request, seen)
        return _shown(seen)

    async def tree(self, request: Request) -> Answer:
        """A run and the tree of runs that it called."""
        seen = await self._seen(request)
        no_parameters(request.scope["query_string"])
        found = await self.read(partial(find_tree, run_id=seen.record.id), _holder(request, seen.actor))
        tree = found or Tree(seen.record, {}, truncated=False)
        self._note_view(request, seen)

        def may_see(run: RunRecord) -> bool:
            return standing(self.installation, run, seen.caller) in (Standing.OPERATOR, Standing.OWNER)

        return json_reply(200, tree_json(tree, may_see))

    async def result(self, request: Request) -> Answer:
        """The workflow's own reply, once there is one."""
        seen = await self._seen(request)
        record = seen.record
        self._note_view(request, seen)
        if not record.ended:
            return json_reply(202, state_json(record), RETRY_AFTER)
        return reply_again(record, console_on=self.console_on)

    async def cancel(self, request: Request) -> Answer:
        """Cancel a run: here, or by a recorded request to the process that runs it."""
        seen = await self._seen(request)
        run_id = seen.record.id
        if seen.record.ended:
            raise problem("run-ended")
        by = actor(seen.actor)
        here = await self.cancel_here(run_id, by)
        if not here and not await self.write(partial(request_cancel, run_id=run_id, now=self.now(), by=by)):
            raise problem("run-ended")
        self._note("run-cancel-requested", request, seen)
        record = await self.read(partial(find_run, run_id=run_id), _holder(request, seen.actor)) or seen.record
        if not record.ended:
            return _shown(seen._replace(record=record), 202, {"Location": f"/runs/{run_id}", **RETRY_AFTER})
        if record.state is not State.CANCELLED:  # it ended by itself meanwhile
            raise problem("run-ended")
        return _shown(seen._replace(record=record))

    async def resubmit(self, request: Request) -> Answer:
        """Start a new run with the inputs of this one, on the current code. The response is sent when the run has
        ended; with `Prefer: respond-async` (RFC 7240) it is sent when the run is recorded, and the run goes on."""
        seen = await self._seen(request)
        trigger = self.snapshot().triggers.get(seen.record.workflow)
        check_resubmit(seen.record, trigger, seen.standing, seen.caller)
        run_id, by, goes_on = new_id(), _holder(request, seen.actor), _prefers_async(request)
        if goes_on and not self.in_background.admits(by):
            detail = "Too many runs that were resubmitted with respond-async have not ended."
            raise problem("too-many-runs", detail=detail, headers=RETRY_AFTER)
        caller = caller_again(seen.record, trigger, seen.caller)
        running = asyncio.ensure_future(self.start_again(seen.record, caller, run_id, seen.actor))
        headers = {"Location": f"/runs/{run_id}"}
        if goes_on:
            self.background.add(running)
            self.in_background.take(by)
            running.add_done_callback(partial(self._forget, by))
            headers["Preference-Applied"] = RESPOND_ASYNC
        else:
            await running
        record = await self._once_recorded(run_id, running, by)
        self._note("run-resubmitted", request, seen)
        return _shown(seen._replace(record=record), 201, headers)

    async def _once_recorded(self, run_id: str, running: "asyncio.Future[Run]", by: Holder) -> RunRecord:
        """The record of a run that was started, as soon as there is one. Raises the Problem that ended it earlier."""
        while True:
            await asyncio.wait({running}, timeout=LOOK_AGAIN)
            over = running.done()
            if over:
                running.result()
            record = await self.read(partial(find_run, run_id=run_id), by)
            if record is not None:
                return record
            if over:
                raise problem("journal-unavailable", reason="a run that was started is not recorded")

    def _forget(self, by: Holder, running: "asyncio.Future[Run]") -> None:
        """A run that went on after its response has ended. Its failure is on its record."""
        self.background.discard(running)
        self.in_background.take(by, -1)
        if not running.cancelled():
            running.exception()

    async def refusals(self, request: Request) -> Answer:
        """A list of refusals (rejected requests), for operators."""
        caller = await self._operator(request)
        filters, cursor, limit = refusal_page(request.scope["query_string"])
        page = await self.read(
            lambda connection: list_refusals(connection, filters, cursor, limit), _holder(request, caller)
        )
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

    async def _actor(self, request: Request) -> Caller:
        """Who sends a request about an anonymous caller's run, which needs no token. A valid token says who acts; any
        other token counts as none."""
        if "authorization" not in request.headers:
            return ANYONE
        try:
            return await self._caller(request)
        except Refused:
            return ANYONE
        except Problem as shown:
            if shown.code == INSECURE:
                raise
            return ANYONE

    def _note_view(self, request: Request, seen: Seen) -> None:
        """Log that an operator reads the run of another caller."""
        own = (seen.actor.tenant_id, seen.actor.object_id) == (seen.record.tenant_id, seen.record.object_id)
        if not own and seen.standing is Standing.OPERATOR:
            self._note("run-viewed", request, seen)

    def _note(self, event: str, request: Request, seen: Seen) -> None:
        """Log what a caller did to a run. The id of an anonymous caller's run gives access to it, so it is left out."""
        self.log.info(
            event,
            run_id="" if is_anonymous(seen.record) else seen.record.id,
            workflow=seen.record.workflow,
            caller=seen.actor.kind,
            object_id=seen.actor.object_id,
            client_id=seen.actor.client_id,
            client_address=request.client.host if request.client else "",
        )

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
        # Only the record says which callers may see it, so this read is of the address.
        record = await self.read(partial(find_run, run_id=run_id), _holder(request, ANYONE)) or here
        if is_anonymous(record):
            sender = await self._actor(request)
            caller = sender if is_operator(self.installation, sender) else ANYONE
        else:
            try:
                sender = caller = await self._caller(request)
            except Refused as refused:
                if refused.failed.name == "credentials":  # there are none
                    raise problem("unknown-run") from None
                raise
        what = standing(self.installation, record, caller)
        if record is None or what is Standing.NONE:
            raise problem("unknown-run")
        return Seen(record, caller, what, sender)


def _holder(request: Request, caller: Caller) -> Holder:
    """Whose share of the readers a read for this caller takes."""
    address = request.client.host if request.client else ""
    return holder_of(caller.kind, caller.tenant_id, caller.object_id, address)


def _prefers_async(request: Request) -> bool:
    preferences = ",".join(request.headers.getlist("prefer")).lower().split(",")
    return RESPOND_ASYNC in (each.partition(";")[0].strip() for each in preferences)


def _shown(seen: Seen, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    private = seen.standing is Standing.OPERATOR
    acts = seen.standing in (Standing.OPERATOR, Standing.OWNER)
    return json_reply(status, run_json(seen.record, private=private, acts=acts), headers)
