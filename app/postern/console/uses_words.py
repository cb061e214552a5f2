"""Which connections and secrets workflows use, in words, and by which workflows each is used. Pure."""

from collections.abc import Container, Mapping
from typing import NamedTuple

from postern.access import Guarded, Policy
from postern.catalog import Trigger
from postern.catalog.uses import Names, Uses
from postern.plain_text import plain


class Used(NamedTuple):
    """What a workflow uses of one kind, in words. `missing` are connections that `postern.toml` does not have."""

    kind: str
    names: tuple[str, ...]
    words: str
    missing: tuple[str, ...] = ()


def uses_words(uses: Uses, connections: Container[str]) -> tuple[Used, ...]:
    """The connections and the secrets of a workflow. `connections` are the names in `postern.toml`."""
    names = uses.connections.names
    missing = tuple(plain(name) for name in names if name not in connections)
    return (
        Used("Connections", tuple(map(plain, names)), _words(uses.connections), missing),
        Used("Secrets", tuple(map(plain, uses.secrets.names)), _words(uses.secrets)),
    )


def users_of_connections(triggers: Mapping[str, Trigger]) -> dict[str, list[str]]:
    """The workflows that use each connection, by its name."""
    found: dict[str, list[str]] = {}
    for name, trigger in sorted(triggers.items()):
        for used in trigger.uses.connections.names:
            found.setdefault(used, []).append(name)
    return found


def users_for(triggers: Mapping[str, Trigger], connection: str, object_id: str) -> list[str]:
    """The workflows that use a connection and may run for this person. One for specific users runs for no other person,
    who does not read its name either."""
    users = users_of_connections(triggers).get(connection, ())
    return [name for name in users if _may_run_for(triggers[name].policy, object_id)]


def _may_run_for(policy: Policy, object_id: str) -> bool:
    people = policy.people if isinstance(policy, Guarded) else None
    return people is None or any(person.object_id == object_id for person in people)


def users_of_secrets(triggers: Mapping[str, Trigger]) -> dict[str, list[str]]:
    """The workflows that use each secret, by its name in lower case: names in Key Vault ignore case."""
    found: dict[str, list[str]] = {}
    for name, trigger in sorted(triggers.items()):
        for used in trigger.uses.secrets.names:
            found.setdefault(used.lower(), []).append(name)
    return found


def _words(names: Names) -> str:
    if names.declared:
        return "declared: it can use no others" if names.names else "declared: it can use none"
    return "seen in its code" if names.names else "none seen in its code"
