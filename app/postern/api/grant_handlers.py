"""`/connections`: the states of the connections that people grant, and how to ask for one and to end one."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request

from postern.access import Caller
from postern.api.access import is_operator
from postern.api.grant_actions import CONNECT, Asker, GrantActions, Own, Owners, asker_of
from postern.api.handlers import holder_for
from postern.api.list_query import no_parameters, pairs_of
from postern.api.representation import when
from postern.api.sent_object import sent_object
from postern.connections.grants.entries import GrantedEntry
from postern.connections.grants.reasons import YOU, said_to
from postern.connections.grants.states import Condition
from postern.errors import problem
from postern.journal.grants import Grant
from postern.settings.installation import Installation
from postern.triggers.reply import Answer, json_reply

FOR = "for"


@dataclass(frozen=True, slots=True)
class GrantHandlers:
    """The endpoints. `caller` verifies the token of a request. `address` is where people open pages, "" if the console
    is off; then no response has an address of one."""

    installation: Installation
    caller: Callable[[Request], Awaitable[Caller]]
    actions: GrantActions
    address: str

    async def index(self, request: Request) -> Answer:
        """The connections that the caller may connect, with the caller's own grants. For operators also the shared
        ones, and the owners of each."""
        asker = await self._asker(request)
        no_parameters(request.scope["query_string"])
        own = {each.entry.name: each for each in await self.actions.own(asker)}
        listed = [
            self._entry_json(entry)
            | (self._own_json(own[name]) if name in own else {})
            | (_owners_json(await self.actions.owners(entry, asker)) if asker.operator and entry.per_user else {})
            for name, entry in self.actions.entries.items()
            if asker.operator or name in own
        ]
        return json_reply(200, to_json({"connections": listed, "next": None}))

    async def link(self, request: Request) -> Answer:
        """A link by which a person connects it, for operators."""
        asker = await self._asker(request)
        no_parameters(request.scope["query_string"])
        if not asker.operator:
            raise problem("forbidden")
        if not self.address:
            raise problem("not-found", detail="The console is off, so there is no page to connect it on.")
        object_id = await _object_id(request)
        asker = await self._asker(request)  # again: access may have ended while the body arrived
        link = await self.actions.link(request.path_params["name"], object_id, asker)
        return json_reply(201, to_json({"url": f"{self.address}{link.path}", "expires_at": when(link.expires_at)}))

    async def end(self, request: Request) -> Answer:
        """End the caller's own grant, or for operators the shared one, or that of another person (`?for=`)."""
        asker = await self._asker(request)
        pairs = pairs_of(request.scope["query_string"])
        if [name for name, _ in pairs] not in ([], [FOR]):
            errors = [{"where": "query", "message": "may have `for`, once, and nothing else"}]
            raise problem("bad-filter", errors=errors)
        name = request.path_params["name"]
        if pairs:
            entry, owner = self.actions.for_operators(name, asker), self.actions.owner_in(pairs[0][1])
        else:
            entry = self.actions.entry(name, asker)
            owner = entry.owner(asker.person)
        note = await self.actions.end(entry, owner, asker)
        return json_reply(200, to_json({"name": name, "ended_at_provider": not note, "message": note or None}))

    async def _asker(self, request: Request) -> Asker:
        """A person of another tenant, whom some workflow admits, connects nothing: they cannot sign in to the pages."""
        caller = await self.caller(request)
        asker = asker_of(caller, is_operator(self.installation, caller), holder_for(request, caller))
        return asker if caller.tenant_id in self.installation.tenants else asker._replace(person="")

    def _entry_json(self, entry: GrantedEntry) -> dict[str, Any]:
        return {
            "name": entry.name,
            "entry": entry.entry,
            "per_user": entry.per_user,
            "provider": entry.provider,
            "scopes": entry.auth.scopes,
            "connect_url": f"{self.address}{CONNECT}/{entry.name}" if self.address else None,
        }

    def _own_json(self, own: Own) -> dict[str, Any]:
        return {"grant": _condition_json(own.condition, YOU) | ({} if own.grant is None else _grant_json(own.grant))}


def _condition_json(found: Condition, who: str) -> dict[str, Any]:
    """The state. `who` is the owner, for the caller."""
    message = f"It {found.text}. {said_to(who, found.fix)}." if found.text else None
    return {
        "state": found.state,
        "reason": found.reason or None,
        "message": message,
        "ends_at": when(found.ends_at),
    }


def _grant_json(grant: Grant) -> dict[str, Any]:
    """A grant for its owner."""
    return {
        "account": grant.account_name or grant.account or None,
        "granted_scopes": grant.scopes,
        "connected_by": grant.created_by,
        "connected_at": when(grant.connected_at),
        "used_at": when(grant.used_at),
        "history": [
            {"at": when(each.at), "what": each.what, "by": each.by or None, "reason": each.reason or None}
            for each in grant.history
        ],
    }


def _owners_json(found: Owners) -> dict[str, Any]:
    """The owners for operators, who see of another person's grant its state only."""
    owners = [
        {"owner": grant.owner, **_condition_json(state, "Its owner"), "connected_at": when(grant.connected_at)}
        | {"used_at": when(grant.used_at)}
        for grant, state in found.grants
    ]
    return {"owners": owners, "counts": found.counts, "more_owners": bool(found.next) or found.more}


async def _object_id(request: Request) -> str:
    """The object id in the body `{"for": "…"}`. Raises Problem."""
    found = await sent_object(request)
    if list(found) != [FOR] or not isinstance(found[FOR], str):
        errors = [{"where": FOR, "message": "is the one member of the body: the object id of a person"}]
        raise problem("invalid-body", detail="The body does not name a person.", errors=errors)
    named: str = found[FOR]
    return named
