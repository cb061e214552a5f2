"""Making and taking back revocations. The API, the console and other parts share it, so that checks, audit events and
log lines are the same."""

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

import structlog
from sqlalchemy import Connection
from structlog.typing import FilteringBoundLogger

from postern.access import GUID, Caller
from postern.access.revocation import BACKDATED
from postern.errors import problem
from postern.ids import is_id, new_id
from postern.journal import revocations as table
from postern.journal.audit_event import Kind as Event
from postern.journal.reading.revocations import Left, kinds_of, left_by, tenants_of
from postern.journal.revocations import LONGEST_REASON, MOST_ACTIVE, Kind, Revocation, Rule
from postern.journal.run import actor
from postern.plain_text import plain
from postern.security.audit.log import Note
from postern.security.revocation.decision import refusing_since
from postern.security.revocation.revocations import Revocations

LONGEST_BAR = 10 * 365 * 86_400.0
"""Seconds for which new tokens can be barred."""

_TOKEN_ID = re.compile(r"[A-Za-z0-9_-]{8,128}")

T = TypeVar("T")


class Reads(Protocol):
    """The journal's `read`."""

    def __call__(self, query: Callable[[Connection], T], /) -> Awaitable[T]: ...


class Writes(Protocol):
    """The journal's `write`."""

    def __call__(self, operation: Callable[[Connection], T], /) -> Awaitable[T]: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """A revocation to make. `kind` is None where the server finds out what an id is. `seconds` is for how long new
    tokens are barred, 0 if they are not. `confirmed` says that it may shut out the last operator, or end no access that
    is known."""

    subject: str
    kind: Kind | None = None
    seconds: float = 0.0
    reason: str = ""
    tenant_id: str = ""
    name: str = ""
    confirmed: bool = False


@dataclass(frozen=True, slots=True)
class Revoking:
    """`read` and `write` are the journal's, `note` takes audit events. `tenant_id` and `client_id` are Postern's own,
    `operators` the object ids of the settings, and `people` the names of object ids now."""

    revocations: Revocations
    read: Reads
    write: Writes
    note: Note
    tenant_id: str = ""
    client_id: str = ""
    operators: frozenset[str] = frozenset()
    people: Callable[[], Mapping[str, str]] = dict
    log: FilteringBoundLogger = field(default_factory=lambda: structlog.get_logger("postern.revocation"))
    now: Callable[[], float] = time.time

    async def make(self, wanted: Wanted, by: Caller) -> Revocation:
        """End the access of the subject: here at once, and in the other server processes within a second. Raises
        Problem."""
        kind, subject = await self._subject(wanted)
        tenant_id = wanted.tenant_id or await self._tenant_of(subject) if kind is Kind.CALLER else ""
        now = self.now()
        if not 0 <= wanted.seconds <= LONGEST_BAR or (kind is Kind.TOKEN and wanted.seconds):
            raise _invalid("for_seconds", "is from 1 second to 10 years, and not for a token")
        if not wanted.confirmed and (why := self.shuts_out(kind, subject, by)):
            raise problem("confirmation-required", detail=why)
        rule = Rule(kind, tenant_id, subject, now, now + wanted.seconds if wanted.seconds else 0.0)
        name = wanted.name or self._name_of(subject)
        reason = plain(wanted.reason.strip())[:LONGEST_REASON]
        made = Revocation(new_id(), rule, plain(name)[:200], reason, actor(by), now)
        if not await self.write(partial(table.make, revocation=made)):
            raise problem("too-many-revocations", detail=f"{MOST_ACTIVE:,} are in effect. Take some back first.")
        self.revocations.tighten(rule)
        fields = {"not_before": rule.not_before, "bars_until": rule.bars_until or None, "reason": made.reason}
        self.note(Event.REVOCATION, by=by, subject=subject, fields=_about(made) | fields)
        self.log.warning("access-revoked", **_about(made), by=by.object_id, barred_seconds=round(wanted.seconds))
        return made

    async def lift(self, revocation_id: str, by: Caller) -> Revocation:
        """Take a revocation back: here at once, and in the other server processes within a second. Raises Problem."""
        found = await self.read(partial(table.find, revocation_id=revocation_id)) if is_id(revocation_id) else None
        if found is None:
            raise problem("unknown-revocation")
        if found.lifted:
            return found
        lifted = await self.write(partial(table.lift, revocation_id=revocation_id, by=actor(by), now=self.now()))
        if lifted is None:
            raise problem("unknown-revocation")
        await self.revocations.look(self.read)
        self.note(Event.REVOCATION_LIFTED, by=by, subject=lifted.rule.subject, fields=_about(lifted))
        self.log.warning("revocation-lifted", **_about(lifted), by=by.object_id)
        return lifted

    async def left_by(self, made: Revocation) -> Left:
        """What the revocation leaves as it is: runs in progress, shared connections, and signed URLs."""
        rule = made.rule
        kind, tenant_id, subject = rule.kind, rule.tenant_id, rule.subject
        return await self.read(partial(left_by, kind=kind, tenant_id=tenant_id, subject=subject, now=self.now()))

    def shuts_out(self, kind: Kind, subject: str, by: Caller) -> str:
        """Why this revocation may leave no operator, or stop Postern's own calls, as a sentence; "" if it does not.
        Callers with the app role of operators are in Entra: they cannot be counted here."""
        own = {Kind.CALLER: by.object_id, Kind.CLIENT: by.client_id, Kind.TOKEN: by.token_id}[kind]
        if subject == own:
            return "It ends your own access, with which you would take it back. Confirm it if that is meant."
        if kind is Kind.CLIENT and subject == self.client_id:
            return (
                "It is Postern's own application: people could not sign in to the console, and workflows not call "
                "one another. Confirm it if that is meant."
            )
        if kind is Kind.CALLER and subject in self.operators and not self._operators_left(subject):
            return (
                "No other operator of POSTERN_OPERATORS would have access, and operators with the app role "
                "Postern.Operator cannot be counted. Confirm it if that is meant."
            )
        return ""

    def _operators_left(self, subject: str) -> set[str]:
        """The other operators of the settings whose new tokens are accepted now."""
        now, rules = self.now(), self.revocations.rules
        issued_at = now - BACKDATED
        others = self.operators - {subject}
        return {each for each in others if refusing_since(rules, self.tenant_id, each, issued_at, now) is None}

    async def _subject(self, wanted: Wanted) -> tuple[Kind, str]:
        """What is revoked: its kind, and its id as tokens have it. Raises Problem."""
        if wanted.kind is Kind.TOKEN:
            if not _TOKEN_ID.fullmatch(wanted.subject):
                raise _invalid("subject", "is the id of a token, as its claim uti has it")
            return Kind.TOKEN, wanted.subject
        subject = wanted.subject.lower()
        if not GUID.fullmatch(subject):
            raise _invalid("subject", "is an object id or a client id, a GUID")
        if wanted.tenant_id and not GUID.fullmatch(wanted.tenant_id):
            raise _invalid("tenant_id", "is a tenant id, a GUID in lower case")
        found = await self._kinds_of(subject)
        if wanted.kind is None and len(found) != 1:
            known = "as both" if found else "as neither"
            raise _invalid("kind", f"is caller or client: an id like this is known here {known}, so it must be given")
        kind: Kind = wanted.kind if wanted.kind is not None else next(iter(found))
        if found and kind not in found and not wanted.confirmed:
            known = "a caller's object id" if kind is Kind.CLIENT else "an application's client id"
            detail = (
                f"It would end no access that is known: this id is known here as {known}. Confirm it if that is meant."
            )
            raise problem("confirmation-required", detail=detail)
        return kind, subject

    async def _kinds_of(self, subject: str) -> frozenset[Kind]:
        """What an id is known as here. One of the settings is that of a caller."""
        if subject in self.operators or subject in self.people().values():
            return frozenset({Kind.CALLER})
        return await self.read(partial(kinds_of, subject=subject))

    async def _tenant_of(self, subject: str) -> str:
        """The tenant of a caller, who may be of another one than Postern: a revocation in the wrong tenant would end
        nobody's access. Raises Problem."""
        found = await self.read(partial(tenants_of, subject=subject))
        if len(found) > 1:
            raise _invalid("tenant_id", "must be given: an id like this is known here of several tenants")
        return next(iter(found), self.tenant_id)

    def _name_of(self, subject: str) -> str:
        return next((name for name, object_id in self.people().items() if object_id == subject), "")


def _about(revocation: Revocation) -> dict[str, Any]:
    rule = revocation.rule
    return {"revocation": revocation.id, "revoked_kind": rule.kind.value, "revoked": rule.subject}


def _invalid(where: str, message: str) -> Exception:
    return problem("invalid-body", detail="The revocation is not valid.", errors=[{"where": where, "message": message}])
