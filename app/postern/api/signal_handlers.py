"""`POST /runs/{id}/signals/{name}`: something is sent to a durable run, which waits for it (`ctx.wait_for`)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from pydantic_core import to_json
from starlette.requests import Request

from postern.access import ANYONE, OPEN, Caller
from postern.api.access import is_anonymous, known, standing
from postern.api.client import address_of
from postern.api.departure import Page
from postern.api.handlers import holder_for
from postern.api.list_query import no_parameters
from postern.api.representation import when
from postern.api.run_actions import Read
from postern.api.sent_object import sent_json
from postern.api.signal_actions import Sender, SignalActions, check_sender, signal_name
from postern.catalog import Snapshot
from postern.errors import problem
from postern.ids import is_id
from postern.journal.reading.queries import find_run_alone
from postern.settings.installation import Installation
from postern.triggers.reply import Answer, json_reply


@dataclass(frozen=True, slots=True)
class SignalHandlers:
    """The endpoint. `caller` verifies the token of a request, `actor` returns ANYONE where it has no valid one."""

    installation: Installation
    caller: Callable[[Request], Awaitable[Caller]]
    actor: Callable[[Request], Awaitable[Caller]]
    read: Read
    snapshot: Callable[[], Snapshot]
    actions: SignalActions

    @property
    def pages(self) -> tuple[tuple[str, str, Page], ...]:
        """The pages by method and path."""
        return (("POST", "/runs/{id}/signals/{name}", self.send),)

    async def send(self, request: Request) -> Answer:
        """Send a signal. The response says that it is kept: 202, because the run takes it later."""
        await self._sender(request)
        no_parameters(request.scope["query_string"])
        name = signal_name(request.path_params["name"])
        body = await sent_json(request, self.actions.most_bytes, may_be_empty=True)
        sender = await self._sender(request)  # again: access may have ended while the body arrived
        keys = [value for header, value in request.scope["headers"] if header == b"idempotency-key"]
        at = await self.actions.send(sender, name, body, keys)
        return json_reply(202, to_json({"name": name, "sent_at": when(at)}))

    async def _sender(self, request: Request) -> Sender:
        """Who sends the request, if they may send signals to the run. Raises Refused and Problem."""
        run_id = request.path_params["id"]
        if not is_id(run_id):
            raise problem("unknown-run")
        record = await self.read(partial(find_run_alone, run_id=run_id), holder_for(request, ANYONE))
        trigger = self.snapshot().triggers.get(record.workflow) if record is not None else None
        if is_anonymous(record) or (trigger is not None and trigger.signals is OPEN):
            sender = await self.actor(request)
        else:
            sender = await known(self.caller(request))
        if record is None:
            raise problem("unknown-run")
        check_sender(record, trigger, standing(self.installation, record, sender), sender)
        return Sender(record, sender, address_of(request))
