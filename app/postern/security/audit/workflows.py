"""What the audit log says of workflows: which are served, of which code, and who may call them. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, is_dataclass
from dataclasses import fields as fields_of
from pathlib import Path
from typing import Any, NamedTuple

from postern.access import Access, Guarded, Policy
from postern.catalog import Fault, Snapshot, Trigger
from postern.journal.audit_event import CODE, Kind

_OF_THE_POLICY = frozenset({"people", "tenants", "audiences"})
"""Options of an access mode that depend on the installation: the policy has what they mean here."""


class Served(NamedTuple):
    """A workflow that is served: the path of its file below the folder, the hashes of its code, and its access mode."""

    file: str
    sha256: str
    helpers_sha256: str
    access: Mapping[str, Any]

    @property
    def code(self) -> dict[str, str]:
        """The fields of an event about its code."""
        return {"file": self.file, "sha256": self.sha256, "helpers_sha256": self.helpers_sha256}


class Change(NamedTuple):
    """A change of the served workflows, as an event."""

    kind: Kind
    workflow: str
    fields: Mapping[str, Any]


def access_facts(access: Access, policy: Policy, networks: Iterable[str] = ()) -> dict[str, Any]:
    """Who may call a workflow: its mode, the options that its author set, and what they mean in this installation; and
    the networks that requests may come from, if it has any. Lists are sorted, so that two descriptions of the same
    access are equal."""
    facts: dict[str, Any] = {"mode": access.mode}
    for option in fields_of(access):
        value = getattr(access, option.name)
        if option.name not in _OF_THE_POLICY and value != option.default:
            facts[option.name] = _plain(value)
    if networks:
        facts["networks"] = sorted(networks)
    if isinstance(policy, Guarded):
        facts["tenants"] = sorted(policy.tenants)
        facts["audiences"] = sorted({*policy.audiences, *([policy.client_id] if policy.client_id else [])})
        if policy.people is not None:
            facts["people"] = sorted(person.object_id for person in policy.people)
    return facts


def served(triggers: Mapping[str, Trigger], folder: Path) -> dict[str, Served]:
    """The served workflows by name."""
    return {
        name: Served(
            _below(trigger.file, folder),
            trigger.sha256,
            trigger.helpers_sha256,
            access_facts(trigger.workflow.access, trigger.policy, trigger.workflow.networks),
        )
        for name, trigger in sorted(triggers.items())
    }


def changes(before: Mapping[str, Served], now: Mapping[str, Served]) -> Iterator[Change]:
    """What has changed, as events."""
    for name, new in now.items():
        old = before.get(name)
        if old is None:
            yield Change(Kind.WORKFLOW_ADDED, name, {**new.code, "access": new.access})
            continue
        if old.code != new.code:
            yield Change(Kind.WORKFLOW_CHANGED, name, new.code)
        if old.access != new.access:
            yield Change(Kind.ACCESS_CHANGED, name, {**new.code, "before": old.access, "after": new.access})
    for name in before.keys() - now.keys():
        yield Change(Kind.WORKFLOW_REMOVED, name, before[name].code)


def served_then(start: Mapping[str, Any], later: Iterable[tuple[str, str, Mapping[str, Any]]]) -> dict[str, Served]:
    """The workflows that a server process served last, by its events: the fields of its start, and kind, workflow and
    fields of each later event about workflows."""
    found = {name: _recorded(fields) for name, fields in (start.get("workflows") or {}).items()}
    for kind, name, fields in later:
        if kind == Kind.WORKFLOW_REMOVED:
            found.pop(name, None)
        else:
            before = found.get(name)
            access = fields.get("access") or fields.get("after") or (before.access if before is not None else {})
            found[name] = _recorded({**fields, "access": access})
    return found


def new_faults(before: Snapshot, now: Snapshot, folder: Path) -> Iterator[Mapping[str, Any]]:
    """The faulty files that were not faulty before, as fields of events. The cause may have a text of the author's
    code, so it is in the server's log only."""
    known = {_place(fault) for fault in before.faults}
    for fault in now.faults:
        if _place(fault) not in known:
            still = list(fault.still_serving)
            yield {"file": _below(fault.file, folder), "line": fault.line, "still_serving": still}


def _place(fault: Fault) -> tuple[Path, int | None, str]:
    return fault.file, fault.line, fault.cause


def _recorded(fields: Mapping[str, Any]) -> Served:
    file, sha256, helpers = (str(fields.get(name, "")) for name in CODE)
    return Served(file, sha256, helpers, fields.get("access") or {})


def _below(file: Path, folder: Path) -> str:
    absolute = folder.absolute()
    return file.relative_to(absolute).as_posix() if file.is_relative_to(absolute) else file.name


def _plain(value: Any) -> Any:
    """A value of an option as JSON."""
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(part) for name, part in asdict(value).items()}
    if isinstance(value, tuple | list | set | frozenset):
        return sorted(map(_plain, value), key=str)
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
