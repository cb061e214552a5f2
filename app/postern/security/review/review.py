"""The rows of the access review: who may call which workflow, and why. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from postern.access import Access, Anonymous, Policy, SpecificUsers
from postern.access.directory import DirectoryObject, Looked
from postern.catalog import Trigger
from postern.journal.known_callers import WorkflowUse
from postern.journal.reading.access_facts import AccessFacts

UNUSED_DAYS = 90
OPERATOR_ROLE = "Postern.Operator"

Who = Literal["anyone", "tenant", "person", "application", "caller", "link", "sender", "role"]
Words = Callable[[Access, Policy], tuple[str, tuple[str, ...]]]
"""Who an access mode admits, in one sentence, and the conditions beside that."""

MARKS: Mapping[str, str] = {
    "anyone": "anyone at all may call this workflow",
    "unexpected": "it is not in anonymous of the table [access] in postern.toml",
    "unknown": "the directory has no such object id; or it was not looked up, and [people] does not name it",
    "disabled": "the account is disabled in the directory",
    "guest": "a guest of the tenant",
    "revoked": "tokens of this caller are refused",
    "unused": f"not used for {UNUSED_DAYS} days",
}
"""What rows are marked with, and what it means."""


@dataclass(frozen=True, slots=True)
class Row:
    """Someone who may call a workflow. `workflow` is "" for what operators may do: see and change all records. A
    `caller` is a person or an application, which of them is not known. `last_used` is in Unix seconds, None if no use
    is known."""

    workflow: str
    who: Who
    why: str
    tenant_id: str = ""
    object_id: str = ""
    name: str = ""
    conditions: tuple[str, ...] = ()
    first_used: float | None = None
    last_used: float | None = None
    uses: int | None = None
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Review:
    """All rows, by workflow. `known_since` is as in AccessFacts, and `directory` says why names were not looked up."""

    at: float
    rows: tuple[Row, ...]
    known_since: float | None
    directory: str

    @property
    def unexpected(self) -> tuple[str, ...]:
        """The workflows that anyone may call, and that `[access]` does not name."""
        return tuple(row.workflow for row in self.rows if "unexpected" in row.marks)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows are wanted: of a workflow, with a mark, and with a text in name, object id or why. "" is any."""

    workflow: str = ""
    mark: str = ""
    text: str = ""

    def fits(self, row: Row) -> bool:
        """Whether a row is wanted."""
        wanted = self.text.lower()
        return (
            self.workflow in ("", row.workflow)
            and (not self.mark or self.mark in row.marks)
            and any(wanted in text.lower() for text in (row.name, row.object_id, row.why))
        )


def chosen(review: Review, wanted: Filter) -> Review:
    """The review with only the rows that are wanted."""
    return replace(review, rows=tuple(filter(wanted.fits, review.rows)))


@dataclass(frozen=True, slots=True)
class Realm:
    """What the settings say: the tenant, the names in `[people]` by object id, the operators, and the workflows that
    are meant to be open to anyone."""

    tenant_id: str
    names: Mapping[str, str]
    operators: tuple[str, ...]
    anonymous: frozenset[str]


def to_look_up(triggers: Iterable[Trigger], facts: AccessFacts, realm: Realm) -> list[str]:
    """The object ids of this tenant that the review shows."""
    found = dict.fromkeys(realm.operators)
    for trigger in triggers:
        found |= dict.fromkeys(person.object_id for person in trigger.policy.people or ())
    found |= dict.fromkeys(use.object_id for use in facts.uses if use.tenant_id == realm.tenant_id)
    return list(found)


def review(
    triggers: Iterable[Trigger], facts: AccessFacts, realm: Realm, looked: Looked, words: Words, now: float
) -> Review:
    """The review as of `now`."""
    rows = [row for trigger in sorted(triggers, key=_name) for row in _of_trigger(trigger, facts, realm, words)]
    rows += _operators(realm)
    judge = _Judge(facts, realm, looked, now)
    return Review(now, tuple(map(judge.judged, rows)), facts.known_since, looked.fault)


def _name(trigger: Trigger) -> str:
    return trigger.workflow.name


def _of_trigger(trigger: Trigger, facts: AccessFacts, realm: Realm, words: Words) -> Iterator[Row]:
    name, access = trigger.workflow.name, trigger.workflow.access
    sentence, conditions = words(access, trigger.policy)
    if trigger.workflow.networks:
        conditions = (*conditions, f"the request comes from {', '.join(trigger.workflow.networks)}")
    if isinstance(access, Anonymous):
        yield from _anonymous(name, access, conditions, facts)
        return
    used = {(use.tenant_id, use.object_id): use for use in facts.uses if use.workflow == name}
    if isinstance(access, SpecificUsers):
        tenants = access.tenants or (realm.tenant_id,)
        for person in trigger.policy.people or ():
            uses = [used[tenant, person.object_id] for tenant in tenants if (tenant, person.object_id) in used]
            tenant = uses[0].tenant_id if uses else tenants[0] if len(tenants) == 1 else ""
            row = Row(name, "caller", f"specific_users({person.name or 'an object id'})", tenant, person.object_id)
            yield _with_use(replace(row, conditions=conditions, name=person.name or ""), uses)
        return
    everyone = Row(name, "tenant", "tenant_users()", ",".join(access.tenants) or realm.tenant_id, name=sentence)
    yield _with_use(replace(everyone, conditions=conditions), list(used.values()))
    for use in used.values():
        row = Row(name, "caller", "tenant_users(), and used it", use.tenant_id, use.object_id, conditions=conditions)
        yield _with_use(row, [use])


def _anonymous(name: str, access: Anonymous, conditions: tuple[str, ...], facts: AccessFacts) -> Iterator[Row]:
    last = facts.last_runs.get(name)
    if access.signed_by is not None:
        sender = access.signed_by
        why = f"anonymous(signed_by={sender.sender}), secret {' or '.join(sender.secrets)}"
        yield Row(name, "sender", why, name=sender.sender, conditions=conditions, last_used=last)
        return
    if not access.signed:
        yield Row(name, "anyone", "anonymous()", name="Anyone", conditions=conditions, last_used=last)
        return
    for link in facts.links:
        if link.workflow == name:
            why = f"anonymous(signed=True), {link.key} key"
            expires = () if link.expires_at is not None else ("the link does not expire",)
            row = Row(name, "link", why, object_id=link.id, name=f"signed URL {link.id}", last_used=link.used_at)
            yield replace(row, uses=link.uses, conditions=(*conditions, *expires))


def _operators(realm: Realm) -> Iterator[Row]:
    for object_id in realm.operators:
        yield Row("", "caller", "POSTERN_OPERATORS", realm.tenant_id, object_id)
    yield Row("", "role", f"app role {OPERATOR_ROLE}", realm.tenant_id, name="Everyone who has the role in Entra")


def _with_use(row: Row, uses: list[WorkflowUse]) -> Row:
    if not uses:
        return replace(row, uses=0)
    first, last = min(use.first_at for use in uses), max(use.last_at for use in uses)
    return replace(row, first_used=first, last_used=last, uses=sum(use.count for use in uses))


@dataclass(frozen=True, slots=True)
class _Judge:
    """Gives rows their names and marks."""

    facts: AccessFacts
    realm: Realm
    looked: Looked
    now: float

    def judged(self, row: Row) -> Row:
        if row.who != "caller":
            return replace(row, marks=tuple(self._of_any(row)))
        ours = row.tenant_id in ("", self.realm.tenant_id)
        found = self.looked.objects.get(row.object_id) if ours else None
        name = (found.name if found is not None else "") or self.realm.names.get(row.object_id, row.name)
        who: Who = found.kind if found is not None else "caller"
        return replace(row, who=who, name=name, marks=(*self._of_caller(row, found, ours=ours), *self._of_any(row)))

    def _of_caller(self, row: Row, found: DirectoryObject | None, *, ours: bool) -> Iterator[str]:
        was_looked_up = ours and row.object_id in self.looked.objects
        if found is None and (was_looked_up or (ours and row.object_id not in self.realm.names)):
            yield "unknown"
        if found is not None and not found.enabled:
            yield "disabled"
        if found is not None and found.guest:
            yield "guest"
        client = found.client_id if found is not None else ""
        if self.facts.revoked & {row.object_id, client or row.object_id}:
            yield "revoked"

    def _of_any(self, row: Row) -> Iterator[str]:
        if row.who == "anyone":
            yield "anyone"
            if row.workflow not in self.realm.anonymous:
                yield "unexpected"
        since, known = self.now - UNUSED_DAYS * 86400, self.facts.known_since
        if row.uses is None:  # not known by the same table
            return
        never = row.last_used is None and known is not None and known <= since
        if never or (row.last_used is not None and row.last_used < since):
            yield "unused"
