"""What people and operators do with grants: see their states, end them, and make a link for a person. `/connections`
and the console share it, so access and the lines in the log are the same. Nothing here has a token."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import structlog
from sqlalchemy import Connection
from structlog.typing import FilteringBoundLogger

from postern.access import ANYONE, Caller
from postern.access.caller import GUID
from postern.api.run_actions import Read, Write
from postern.browser_secrets import hash_of, new_secret
from postern.connections.grants.entries import GrantedEntry
from postern.connections.grants.no_grant import NoGrant
from postern.connections.grants.rows import Refused
from postern.connections.grants.states import Condition, Shown, condition
from postern.connections.grants.store import Grants
from postern.errors import problem
from postern.journal import grants, invitations
from postern.journal.audit_event import Kind
from postern.journal.grants import SHARED, Grant, owner_of
from postern.journal.invitations import KEPT_FOR, Invitation
from postern.journal.shares import Holder
from postern.security.audit.log import Note, not_noted

CONNECT = "/connect"
"""The path that the pages of consent are below."""
NO_PERSON = "/"
"""The owner of a shared grant, as an operator names it: an entry with `per_user` may have one from before."""
MOST_OWNERS = 200
"""Owners of an entry that are listed at once."""
MOST_COUNTED = 500
"""Owners of an entry that are counted."""


class Asker(NamedTuple):
    """Who asks. `person` is "tenant/object" of a person who is signed in or has a token of their own, "" for an
    application. `holder` says whose share of the journal's readers a read takes, and `who` is an object id for the
    log. `caller` is for the audit log."""

    person: str
    operator: bool
    holder: Holder
    who: str
    caller: Caller = ANYONE


class Own(NamedTuple):
    """An entry with the grant that this person has of it, or that all share, and its state."""

    entry: GrantedEntry
    grant: Grant | None
    condition: Condition


class Owners(NamedTuple):
    """The owners of an entry's grants, as operators see them, by state. `counts` are of at most MOST_COUNTED owners,
    and `more` says that there are others. `next` is the owner after which the list goes on, "" at its end."""

    grants: tuple[tuple[Grant, Condition], ...]
    counts: Mapping[str, int]
    more: bool
    next: str


class Link(NamedTuple):
    """A link for a person. It has a secret, and is shown once."""

    path: str
    expires_at: float


def asker_of(caller: Caller, operator: bool, holder: Holder) -> Asker:
    """Who asks, by a token or a session. A person of another application's token is a person too."""
    known = caller.kind == "user" and caller.tenant_id and caller.object_id
    return Asker(
        owner_of(caller.tenant_id, caller.object_id) if known else "", operator, holder, caller.object_id, caller
    )


@dataclass(frozen=True, slots=True)
class GrantActions:
    """`entries` are those that people connect, by the names of their grants. `grants` is None if there is none.
    `tenant` is where people sign in. `now` is the time in Unix seconds. `note` notes events of the audit log. `refused`
    says whose access an operator has ended."""

    entries: Mapping[str, GrantedEntry]
    grants: Grants | None
    read: Read
    write: Write
    tenant: str
    log: FilteringBoundLogger = field(default_factory=lambda: structlog.get_logger("postern"))
    now: Callable[[], float] = time.time
    note: Note = not_noted
    refused: Refused = lambda *_: False

    def entry(self, name: str, asker: Asker) -> GrantedEntry:
        """The entry whose grant is this person's own. A shared one is there for operators only: for all others it does
        not exist. Raises Problem."""
        found = self.entries.get(name)
        if found is None or not (asker.person if found.per_user else asker.operator):
            raise problem("unknown-connection")
        return found

    def for_operators(self, name: str, asker: Asker) -> GrantedEntry:
        """The entry, for operators. Raises Problem."""
        found = self.entries.get(name)
        if found is None or not asker.operator:
            raise problem("unknown-connection")
        return found

    async def own(self, asker: Asker) -> list[Own]:
        """The entries that this person may connect, each with the person's own grant or the shared one."""
        mine = [each for each in self.entries.values() if (asker.person if each.per_user else asker.operator)]
        if not mine:
            return []
        owners = {entry.owner(asker.person) for entry in mine}
        found = await self.read(partial(_of_owners, owners=owners), asker.holder)
        return [self._shown(entry, found.get((entry.name, entry.owner(asker.person)))) for entry in mine]

    async def own_of(self, entry: GrantedEntry, asker: Asker) -> Own:
        """One entry of them."""
        owner = entry.owner(asker.person)
        return self._shown(entry, await self.read(partial(grants.find, name=entry.name, owner=owner), asker.holder))

    async def owners(self, entry: GrantedEntry, asker: Asker, after: str = "") -> Owners:
        """The owners of an entry's grants, from the one after `after`, for operators."""
        of = partial(grants.of_connection, name=entry.name, limit=MOST_COUNTED + 1, after=after)
        found = await self.read(of, asker.holder)
        now = self.now()
        states = [(grant, self._condition(grant, now)) for grant in found]
        counts = Counter(str(state.state) for _, state in states[:MOST_COUNTED])
        listed = states[:MOST_OWNERS]
        goes_on = listed[-1][0].owner if len(states) > MOST_OWNERS else ""
        return Owners(tuple(listed), counts, len(states) > MOST_COUNTED, goes_on)

    async def link(self, name: str, object_id: str, asker: Asker) -> Link:
        """Make a link by which the person with this object id connects the entry. Raises Problem."""
        entry = self.for_operators(name, asker)
        if not entry.per_user:
            raise problem("connection-shared")
        if not GUID.fullmatch(object_id):
            errors = [{"where": "for", "message": "must be the object id of a person, a GUID in lower case"}]
            raise problem("invalid-body", detail="The object id is not valid.", errors=errors)
        secret, now = new_secret(), self.now()
        by = asker.person or owner_of(self.tenant, asker.who)
        made = Invitation(hash_of(secret), name, owner_of(self.tenant, object_id), by, now)
        await self.write(partial(invitations.invite, invitation=made))
        self.log.info("connection-link-made", connection=name, object_id=object_id, by=asker.who)
        self.consented(name, object_id, asker, "link-made")
        return Link(f"{CONNECT}/{name}/invitation/{secret}", now + KEPT_FOR)

    async def end(self, entry: GrantedEntry, owner: str, asker: Asker) -> str:
        """End a grant: at the provider if it can be, and here in any case. Returns what the person has to know, "" if
        it is ended everywhere. Raises Problem, also if there is no such grant or it is not this person's to end."""
        own = entry.per_user and bool(asker.person) and owner == asker.person
        if self.grants is None or not (asker.operator or own):
            raise problem("unknown-connection")
        if await self.read(partial(grants.find, name=entry.name, owner=owner), asker.holder) is None:
            raise problem("unknown-connection", detail="It is not connected, so nothing was done.")
        try:
            note = await self.grants.disconnect(entry.name, owner)
        except NoGrant:  # somebody else has just ended it
            raise problem("unknown-connection", detail="It is not connected, so nothing was done.") from None
        self.log.info(
            "connection-disconnected",
            connection=entry.name,
            object_id=owner.rpartition("/")[2],
            by=asker.who,
            ended_at_provider=not note,
        )
        self.consented(entry.name, owner.rpartition("/")[2], asker, "disconnected")
        return note

    def consented(self, name: str, owner: str, asker: Asker, action: str) -> None:
        """Note in the audit log what was done about the grant of an entry. `owner` is the object id of the person whose
        grant it is, "" for one that all share."""
        fields = {"connection": name, "owner": owner, "action": action}
        self.note(Kind.CONSENT, by=asker.caller, fields=fields)

    def owner_in(self, text: str) -> str:
        """The owner that an operator names: an object id, "tenant/object", or "/" for what all share. Case does not
        matter: an operator who ends the grant of a leaver must not read that there is none. Raises Problem."""
        if text == NO_PERSON:
            return SHARED
        tenant, _, object_id = text.lower().rpartition("/")
        if not GUID.fullmatch(object_id) or (tenant and not GUID.fullmatch(tenant)):
            raise problem("unknown-connection")
        return owner_of(tenant or self.tenant, object_id)

    def _shown(self, entry: GrantedEntry, grant: Grant | None) -> Own:
        return Own(entry, grant, self._condition(grant, self.now()))

    def _condition(self, grant: Grant | None, now: float) -> Condition:
        refused = grant is not None and self.refused(grant.owner, grant.connected_at)
        return condition(grant, now, refused=refused)


def needed(own: Iterable[Own]) -> list[Own]:
    """Those that a person has to do something about, the broken ones first."""
    order = [Shown.BROKEN, Shown.EXPIRING, Shown.NEEDED]
    return sorted((each for each in own if each.condition.state in order), key=lambda e: order.index(e.condition.state))


def _of_owners(connection: Connection, owners: Iterable[str]) -> dict[tuple[str, str], Grant]:
    found = [grant for owner in owners for grant in grants.of_owner(connection, owner)]
    return {(grant.connection, grant.owner): grant for grant in found}
