"""Grants in words, for pages. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from postern.api.grant_actions import Own
from postern.connections.grants.entries import GrantedEntry
from postern.connections.grants.reasons import YOU, said_to
from postern.connections.grants.states import Condition, Shown
from postern.journal.grants import Grant
from postern.plain_text import plain

SHAPES: Mapping[Shown, tuple[str, str]] = {
    Shown.NEEDED: ("Cancelled", "not made"),
    Shown.CONNECTED: ("Succeeded", "passed"),
    Shown.EXPIRING: ("TimedOut", "failed"),
    Shown.BROKEN: ("Failed", "failed"),
}
"""The colour and the shape of each state."""

_EVENTS = {
    "connected": "connected",
    "refreshed": "renewed",
    "broken": "found broken",
    "disconnected": "disconnected",
}


@dataclass(frozen=True, slots=True)
class StateWords:
    """A state as pages show it. `why` is one or two sentences, "" if there is nothing to say."""

    word: str
    colour: str
    shape: str
    why: str
    ends_at: float | None


@dataclass(frozen=True, slots=True)
class GrantRow:
    """An entry with the grant of the viewer, or the shared one."""

    name: str
    entry: str
    per_user: bool
    provider: str
    state: StateWords
    action: str
    account: str
    connected: bool


@dataclass(frozen=True, slots=True)
class OwnerRow:
    """The owner of a grant, for operators."""

    tenant: str
    object_id: str
    who: str
    state: StateWords
    connected_at: float
    used_at: float | None


def state_words(found: Condition, who: str = YOU) -> StateWords:
    """The state, with its reason and who has to do what. `who` is the owner, for the viewer."""
    colour, shape = SHAPES[found.state]
    why = f"It {found.text}. {said_to(who, found.fix)}." if found.text and found.state is not Shown.NEEDED else ""
    return StateWords(str(found.state), colour, shape, plain(why), found.ends_at)


def grant_row(own: Own) -> GrantRow:
    """The row of an entry."""
    entry, grant = own.entry, own.grant
    account = (grant.account_name or grant.account) if grant is not None else ""
    return GrantRow(
        entry.name,
        entry.entry,
        entry.per_user,
        plain(entry.provider),
        state_words(own.condition),
        "Connect" if grant is None else "Reconnect",
        plain(account),
        grant is not None,
    )


def owner_row(grant: Grant, found: Condition, people: Mapping[str, str]) -> OwnerRow:
    """The row of an owner. `people` are names of people, by object id."""
    tenant, _, object_id = grant.owner.rpartition("/")
    who = people.get(object_id, object_id) or "shared by all, from before per_user"
    return OwnerRow(tenant, object_id, plain(who), state_words(found, "Its owner"), grant.connected_at, grant.used_at)


def who_asked(owner: str, people: Mapping[str, str]) -> str:
    """A person ("tenant/object") by name, or by object id."""
    object_id = owner.rpartition("/")[2]
    return plain(people.get(object_id, object_id))


def people_by_id(people: Mapping[str, str]) -> dict[str, str]:
    """The table `[people]` the other way round."""
    return {object_id: name for name, object_id in people.items()}


def history_words(grant: Grant | None, people: Mapping[str, str]) -> list[tuple[float, str]]:
    """The last events of a grant, the newest first."""
    events = reversed(grant.history) if grant is not None else ()
    return [
        (
            event.at,
            _EVENTS.get(event.what, plain(event.what)) + (f" by {who_asked(event.by, people)}" if event.by else ""),
        )
        for event in events
    ]


def scopes_of(entry: GrantedEntry, asked: Iterable[str]) -> tuple[str, ...]:
    """The scopes that a person is asked for: those of the request, which may be more than those of the entry."""
    return tuple(map(plain, tuple(asked) or entry.auth.scopes))
