"""Which triggers a connector offers: those that its way of signing in can reach. Pure.

Signing in with Entra, the platform sends a token of the person whose connection it is. An API key or a password is
checked by a gateway in front of Postern, which calls on with a token of its own: there Postern sees an application.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from postern.access import Guarded, SpecificUsers, TenantUsers
from postern.catalog import Trigger
from postern.openapi.export_error import ExportFault

Way = Literal["entra", "api_key", "basic", "none"]


class Told(NamedTuple):
    """A workflow, and what there is to know of it."""

    workflow: str
    what: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The triggers that go in, those that do not and why, and what to look after with some that do."""

    triggers: Mapping[str, Trigger]
    left_out: tuple[Told, ...]
    notes: tuple[Told, ...]


@dataclass(frozen=True, slots=True)
class Visitor:
    """How the platform comes to the door. `client_id` is the connector's own registration, None where it is not known
    yet; `audiences` are those of the installation that its tokens may be for."""

    way: Way
    tenant_id: str | None = None
    client_id: str | None = None
    audiences: tuple[str, ...] = ()


def choose(triggers: Mapping[str, Trigger], visitor: Visitor, names: Collection[str] = ()) -> Choice:
    """The triggers that the visitor may reach; of those with these names where there are any. Raises ExportFault for a
    name that is no workflow's, and where nothing is left."""
    for name in names:
        if name not in triggers:
            known = ", ".join(sorted(triggers)) or "none at all"
            raise ExportFault(f"--workflow {name}: there is no such workflow. There are: {known}")
    wanted = {name: trigger for name, trigger in sorted(triggers.items()) if not names or name in names}
    obstacles = {name: _obstacle(trigger, visitor, named=bool(names)) for name, trigger in wanted.items()}
    reached = {name: trigger for name, trigger in wanted.items() if not obstacles[name]}
    if not reached:
        raise ExportFault(_nothing_left(visitor, obstacles))
    return Choice(
        reached,
        tuple(Told(name, why) for name, why in obstacles.items() if why),
        tuple(Told(name, note) for name, trigger in reached.items() for note in _notes(trigger, visitor)),
    )


def _obstacle(trigger: Trigger, visitor: Visitor, *, named: bool) -> str:
    """Why no caller of this connector can be let in; "" where one can."""
    access, policy = trigger.workflow.access, trigger.policy
    if not isinstance(policy, Guarded) or not isinstance(access, TenantUsers):
        return ""
    if visitor.way == "none":
        return "It asks for a token, and a connector without authentication sends none."
    if visitor.tenant_id not in policy.tenants:
        return "It is for other tenants (tenants=)."
    if visitor.audiences and not policy.audiences & set(visitor.audiences):
        return "It takes tokens for other audiences only (audiences=)."
    if visitor.way == "entra":
        known = visitor.client_id is not None
        return (
            "It does not take calls through the client of --client-id (clients=)."
            if known and access.clients and visitor.client_id not in access.clients
            else ""
        )
    return _obstacle_to_gateway(access, named=named)


def _obstacle_to_gateway(access: TenantUsers, *, named: bool) -> str:
    if not access.apps:
        return "It is for people only (apps=False), and the gateway calls as an application."
    if access.scopes and not access.roles:
        return "It asks for a scope, which the token of an application, as the gateway's is, never has."
    if isinstance(access, SpecificUsers) and not named:
        return (
            "It is for those on its list only, and Postern sees the gateway in place of the person. Where the gateway "
            "itself is on the list, choose it with --workflow."
        )
    return ""


def _notes(trigger: Trigger, visitor: Visitor) -> Iterator[str]:
    access = trigger.workflow.access
    if not isinstance(access, TenantUsers):
        return
    gateway = visitor.way != "entra"
    if isinstance(access, SpecificUsers):
        yield (
            "The gateway's service principal must be on its list, and then everybody with the key may use it."
            if gateway
            else "Only those on its list may use it; anybody else sees the action, and is refused with 401."
        )
    if access.clients and (gateway or visitor.client_id is None):
        yield "It takes calls through the clients of clients= only: this connector's client id must be among them."
    if access.scopes and not gateway:
        yield f"The connector's registration needs a scope of these, with consent: {', '.join(access.scopes)}."
    if access.roles:
        yield f"Whoever uses it needs an app role of these: {', '.join(access.roles)}."
    if not access.guests and not gateway:
        yield "Guests are refused."


def _nothing_left(visitor: Visitor, obstacles: Mapping[str, str]) -> str:
    if not obstacles:
        return "There is no workflow to export: POSTERN_WORKFLOWS is a folder without any"
    reasons = "; ".join(f"{name}: {why}" for name, why in obstacles.items())
    return f"--auth {visitor.way} reaches none of the workflows. {reasons} Choose another --auth"
