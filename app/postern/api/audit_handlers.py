"""`/audit`: the events of the audit log, and the state of its chains. For operators."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request

from postern.access import Caller
from postern.api.access import is_operator
from postern.api.departure import Page
from postern.api.handlers import holder_for
from postern.api.list_query import audit_page, no_parameters
from postern.api.representation import when
from postern.api.run_actions import Read
from postern.errors import problem
from postern.journal.reading.audit import AuditRecord, AuditState, audit_state, list_events
from postern.settings.installation import Installation
from postern.triggers.reply import Answer, json_reply


@dataclass(frozen=True, slots=True)
class AuditHandlers:
    """The endpoints. `caller` verifies the token of a request, and `read` is the journal's."""

    installation: Installation
    caller: Callable[[Request], Awaitable[Caller]]
    read: Read

    @property
    def pages(self) -> tuple[tuple[str, str, Page], ...]:
        """Where they are."""
        return (("GET", "/audit", self.events), ("GET", "/audit/state", self.state))

    async def events(self, request: Request) -> Answer:
        """A page of events, newest first."""
        caller = await self._operator(request)
        filters, cursor, limit = audit_page(request.scope["query_string"])
        page = await self.read(
            lambda connection: list_events(connection, filters, cursor, limit), holder_for(request, caller)
        )
        return json_reply(200, to_json({"events": [_event(each) for each in page.items], "next": page.next}))

    async def state(self, request: Request) -> Answer:
        """Where the chains end, and the last checkpoint."""
        caller = await self._operator(request)
        no_parameters(request.scope["query_string"])
        state = await self.read(audit_state, holder_for(request, caller))
        return json_reply(200, to_json(_state(state)))

    async def _operator(self, request: Request) -> Caller:
        caller = await self.caller(request)
        if not is_operator(self.installation, caller):
            raise problem("forbidden")
        return caller


def _event(record: AuditRecord) -> dict[str, Any]:
    return {
        "node": record.node,
        "number": record.number,
        "at": when(record.at),
        "kind": record.kind,
        "subject": record.subject or None,
        "workflow": record.workflow or None,
        "fields": record.fields,
        "hash": record.hash,
    }


def _state(state: AuditState) -> dict[str, Any]:
    last = state.checkpoint
    return {
        "chains": [
            {
                "node": chain.node,
                "first": chain.first,
                "last": chain.last,
                "head": chain.head,
                "last_at": when(chain.last_at),
            }
            for chain in state.chains
        ],
        "more_chains": state.more,
        "checkpoint": None
        if last is None
        else {"node": last.node, "at": when(last.at), "signed": last.signed, "key_id": last.key_id or None},
    }
