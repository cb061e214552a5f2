"""The endpoints of the run API. Each checks access, reads or writes the journal, and returns an Answer."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from time import time

from starlette.requests import Request

from postern.access import ANYONE, Caller, Refused
from postern.api.access import Standing, is_anonymous, is_operator, known, policies_of, recognise, standing
from postern.api.checked_runs import checked, checked_facts
from postern.api.client import address_of
from postern.api.list_query import check_of, no_parameters, pairs_of, refusal_page, run_page_of
from postern.api.representation import (
    refusals_json,
    run_json,
    runs_json,
    tree_json,
    workflows_json,
)
from postern.api.results import Results, applied
from postern.api.run_actions import RETRY_AFTER, Read, RunActions, Seen, Underway, see
from postern.api.run_log_json import log_json
from postern.api.sent_object import sent_json
from postern.catalog import Snapshot
from postern.errors import Problem, problem
from postern.ids import is_id
from postern.journal.reading.call_tree import Tree, find_tree
from postern.journal.reading.durable_parts import DurableParts, durable_parts
from postern.journal.reading.queries import find_run, list_refusals, list_runs
from postern.journal.reading.records import RunRecord
from postern.journal.reading.run_logs import run_log
from postern.journal.shares import Holder, holder_of
from postern.json_parser import parse
from postern.preferences import prefers_async
from postern.runs.idempotency import HEADER, check_key
from postern.settings.installation import Installation
from postern.triggers.reply import Answer, json_reply
from postern.triggers.secure_transport import CODE as INSECURE
from postern.triggers.secure_transport import Scope

RESPOND_ASYNC = "respond-async"


@dataclass(frozen=True, slots=True)
class Handlers:
    """The endpoints and what they need: see `routes`."""

    installation: Installation
    read: Read
    identify: Callable[[Scope], Awaitable[Caller]]
    snapshot: Callable[[], Snapshot]
    actions: RunActions
    results: Results
    underway: Underway = lambda _: None
    now: Callable[[], float] = time

    async def runs(self, request: Request) -> Answer:
        """A list of runs: all for operators, their own for others."""
        caller = await self.caller(request)
        private = is_operator(self.installation, caller)
        owner = None if private else (caller.tenant_id, caller.object_id)
        check, pairs = check_of(pairs_of(request.scope["query_string"]))
        filters, cursor, limit = run_page_of(pairs, owner)
        who = holder_for(request, caller)
        page = await self.read(lambda connection: list_runs(connection, filters, cursor, limit), who)
        more = {}
        if check:
            found = await self.read(partial(checked_facts, records=page.items, check=check), who)
            more = checked(found, check, self.snapshot(), self.installation, caller)
        return json_reply(200, runs_json(page.items, page.next, private=private, more=more))

    async def run(self, request: Request) -> Answer:
        """The record of a run."""
        seen = await self._seen(request)
        parts = None
        if seen.record.durable is not None:
            parts = await self.read(partial(durable_parts, run_id=seen.record.id), seen.holder)
        self.actions.note_view(seen)
        return _shown(seen, parts=parts)

    async def tree(self, request: Request) -> Answer:
        """A run and the tree of runs that it called."""
        seen = await self._seen(request)
        no_parameters(request.scope["query_string"])
        found = await self.read(partial(find_tree, run_id=seen.record.id), seen.holder)
        tree = found or Tree(seen.record, {}, truncated=False)
        self.actions.note_view(seen)

        def may_see(run: RunRecord) -> bool:
            return standing(self.installation, run, seen.caller) in (Standing.OPERATOR, Standing.OWNER)

        return json_reply(200, tree_json(tree, may_see))

    async def logs(self, request: Request) -> Answer:
        """What the code of a run printed and logged, for operators."""
        seen = await self._seen(request)
        if not seen.private:
            raise problem("forbidden")
        no_parameters(request.scope["query_string"])
        found = await self.read(partial(run_log, run_id=seen.record.id), seen.holder)
        self.actions.note_view(seen)
        return json_reply(200, log_json(seen.record.state, found))

    async def result(self, request: Request) -> Answer:
        """The workflow's own reply, once there is one; with `Prefer: wait=N` as soon as there is one, within so many
        seconds."""
        seen = await self._seen(request)
        self.actions.note_view(seen)
        prefer = _prefer(request)
        record, waited = await self.results.wait(seen.record, prefer, seen.holder)
        own = seen.own or seen.standing is Standing.BEARER
        answer = await self.results.of(record, secured=own)
        if waited:
            answer.headers += [(name.lower().encode(), text.encode()) for name, text in applied(prefer).items()]
        return answer

    async def cancel(self, request: Request) -> Answer:
        """Cancel a run: here, or by a recorded request to the process that runs it."""
        seen = await self._seen(request)
        record = await self.actions.cancel(seen)
        if record.ended:
            return _shown(seen._replace(record=record))
        return _shown(seen._replace(record=record), 202, {"Location": f"/runs/{record.id}", **RETRY_AFTER})

    async def resubmit(self, request: Request) -> Answer:
        """Start a new run with the inputs of this one, on the current code. The response is sent when the run has
        ended; with `Prefer: respond-async` (RFC 7240) it is sent when the run is recorded, and the run goes on. With an
        Idempotency-Key, a repeated request gets the run that was started."""
        seen = await self._seen(request)
        goes_on = prefers_async(_prefer(request))
        keys = [value for name, value in request.headers.raw if name == HEADER]
        record, replayed = await self.actions.resubmit_once(seen, goes_on=goes_on, key=check_key(keys) if keys else "")
        headers = {"Location": f"/runs/{record.id}"} | ({"Preference-Applied": RESPOND_ASYNC} if goes_on else {})
        headers |= {"Idempotent-Replayed": "true"} if replayed else {}
        return _shown(seen._replace(record=record), 201, headers)

    async def resume(self, request: Request) -> Answer:
        """Run a durable run again that has not succeeded, or is parked: from the step that failed, or with
        `{"from_start": true}` from its start. For operators."""
        await self._seen(request)
        from_start = from_start_of(await sent_json(request, may_be_empty=True))
        seen = await self._seen(request)  # again: access may have ended while the body arrived
        record = await self.actions.resume(seen, from_start=from_start)
        return _shown(seen._replace(record=record), 202, {"Location": f"/runs/{record.id}/result", **RETRY_AFTER})

    async def refusals(self, request: Request) -> Answer:
        """A list of refusals (rejected requests), for operators."""
        caller = await self._operator(request)
        filters, cursor, limit = refusal_page(request.scope["query_string"])
        page = await self.read(
            lambda connection: list_refusals(connection, filters, cursor, limit), holder_for(request, caller)
        )
        return json_reply(200, refusals_json(page.items, page.next))

    async def workflows(self, request: Request) -> Answer:
        """The served workflows and the faulty files, for operators."""
        await self._operator(request)
        no_parameters(request.scope["query_string"])
        return json_reply(200, workflows_json(self.snapshot(), seals_runs=self.installation.seals_runs, now=self.now()))

    async def caller(self, request: Request) -> Caller:
        """The caller, by a token for this server. Raises Refused, or Problem `identity-unavailable` or
        `insecure-transport`."""
        caller = await self.identify(request.scope)
        recognise(self.installation, policies_of(self.snapshot().triggers.values()), caller)
        return caller

    async def actor(self, request: Request) -> Caller:
        """Who sends a request about an anonymous caller's run, which needs no token. A valid token says who acts; any
        other token counts as none."""
        if "authorization" not in request.headers:
            return ANYONE
        try:
            return await self.caller(request)
        except Refused:
            return ANYONE
        except Problem as shown:
            if shown.code == INSECURE:
                raise
            return ANYONE

    async def _operator(self, request: Request) -> Caller:
        caller = await self.caller(request)
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
        record = await self.read(partial(find_run, run_id=run_id), holder_for(request, ANYONE)) or here
        if is_anonymous(record):
            sender = await self.actor(request)
        else:
            sender = await known(self.caller(request))
        return see(self.installation, record, sender, address_of(request))


def holder_for(request: Request, caller: Caller) -> Holder:
    """Whose share of the readers a read for this caller takes."""
    return holder_of(caller.kind, caller.tenant_id, caller.object_id, address_of(request))


def from_start_of(body: bytes) -> bool:
    """Whether `{"from_start": true}` was sent. Raises Problem."""
    try:
        sent = parse(body) if body else {}
    except ValueError:
        raise problem("invalid-json") from None
    if not isinstance(sent, dict) or set(sent) - {"from_start"}:
        raise problem("invalid-body", detail='Send nothing, or an object with the member "from_start".')
    from_start = sent.get("from_start", False)
    if not isinstance(from_start, bool):
        raise problem("invalid-body", detail='The member "from_start" is true or false.')
    return from_start


def _prefer(request: Request) -> bytes:
    return ",".join(request.headers.getlist("prefer")).encode("latin-1")


def _shown(
    seen: Seen, status: int = 200, headers: dict[str, str] | None = None, parts: DurableParts | None = None
) -> Answer:
    content = run_json(seen.record, private=seen.private, acts=seen.acts, parts=parts)
    return json_reply(status, content, headers)
