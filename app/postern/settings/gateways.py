"""`[gateways.NAME]`: who may be an agent of a gateway, and what entries that use one need."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from postern.settings.entries import Connection, Trigger
from postern.settings.sources import Layer, did_you_mean, printable
from postern.settings.types import GUID, Entry, Texts, fault

NEEDED = ("h2", "websockets")
"""The packages of the extra `gateway`."""

_ENTRIES = ("connections", "triggers")

Problem = tuple[tuple[str, ...], str, str]


def _agents(items: tuple[str, ...]) -> tuple[str, ...]:
    if not items:
        raise fault("has no agent", 'Write agents = ["NAME"], with names of [people] or object ids of agents')
    for item in items:
        if "@" in item:
            raise fault("is an e-mail address, and an agent is an application", "Write its object id", item)
    return items


class Gateway(Entry):
    """One gateway. `agents` are names of the table `[people]`, or object ids of service principals: an app
    registration's (under *Enterprise applications*), or a managed identity's. The role alone admits no agent."""

    agents: Annotated[Texts, AfterValidator(_agents)]

    def object_ids(self, people: Mapping[str, str]) -> Mapping[str, str]:
        """The object ids of its agents in lower case, each with the name that the settings give it ("" for none)."""
        names = {people[agent]: agent for agent in self.agents if agent in people}
        return {agent.lower(): "" for agent in self.agents if agent not in people} | names


def is_installed() -> bool:
    """Whether the packages of the extra `gateway` can be imported."""
    return all(find_spec(name) is not None for name in NEEDED)


def beside_config(found: Layer, folder: Path) -> Layer:
    """The same values. The path of a `ca_bundle` of an entry is that of a file beside `postern.toml`."""
    return {
        place: replace(value, value={**value.value, "ca_bundle": str(folder / value.value["ca_bundle"])})
        if len(place) > 1 and place[0] in _ENTRIES and _has_path(value.value)
        else value
        for place, value in found.items()
    }


def _has_path(entry: Any) -> bool:
    return isinstance(entry, Mapping) and isinstance(entry.get("ca_bundle"), str)


def problems_of_gateways(
    gateways: Mapping[str, Gateway],
    people: Mapping[str, str],
    connections: Mapping[str, Connection],
    triggers: Mapping[str, Trigger],
) -> Iterator[Problem]:
    """The place, the problem and the fix of each gateway or entry that cannot be used."""
    for name, gateway in gateways.items():
        for agent in gateway.agents:
            if agent not in people and not GUID.fullmatch(agent.lower()):
                fix = f'Add {printable(agent)} = "OBJECT-ID" to [people], or write the object id here'
                yield ("gateways", name, "agents"), f"names {printable(agent)}, which is not in [people]", fix
    tables: Mapping[str, Mapping[str, Connection | Trigger]] = {"connections": connections, "triggers": triggers}
    for table, entries in tables.items():
        for name, entry in entries.items():
            yield from _of_entry((table, name), entry, gateways)


def _of_entry(
    place: tuple[str, str], entry: Connection | Trigger, gateways: Mapping[str, Gateway]
) -> Iterator[Problem]:
    for more, gateway in (((), entry.gateway), (("auth",), getattr(entry.auth, "gateway", None))):
        if gateway is None:
            continue
        at = (*place, *more, "gateway")
        if gateway not in gateways:
            near = did_you_mean(gateway, gateways) if gateways else ""
            fix = (
                near
                if near.endswith("?")
                else f'Add [gateways.{printable(gateway)}] with agents = ["…"], or leave it out'
            )
            yield at, f"names {printable(gateway)}, and there is no [gateways.{printable(gateway)}]", fix
        elif not is_installed():
            fix = "Install it: pip install 'postern-workflows[gateway]'; the container image has it"
            yield at, f"needs the extra gateway ({' and '.join(NEEDED)}), which is not installed", fix
