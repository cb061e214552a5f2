"""Selects the triggers of a connector: those that its sign-in method can reach. Pure.

With Entra sign-in, the platform sends a token of the person who owns the connection. An API key or a password is
checked by a gateway in front of Postern, which calls Postern with its own token: then Postern sees an application.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from postern.access import Guarded, Signed, SpecificUsers, TenantUsers
from postern.catalog import Trigger
from postern.openapi.export_error import ExportFault

Way = Literal["entra", "api_key", "basic", "none"]


class Remark(NamedTuple):
    """A workflow, and a remark about it."""

    workflow: str
    what: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The included triggers, the excluded ones with the reason, and notes about included ones."""

    triggers: Mapping[str, Trigger]
    left_out: tuple[Remark, ...]
    notes: tuple[Remark, ...]


@dataclass(frozen=True, slots=True)
class Visitor:
    """How the platform calls the triggers. `client_id` is the connector's own registration, None if it is not known
    yet. `audiences` are the installation's audiences that its tokens may have."""

    way: Way
    tenant_id: str | None = None
    client_id: str | None = None
    audiences: tuple[str, ...] = ()


def choose(triggers: Mapping[str, Trigger], visitor: Visitor, names: Collection[str] = ()) -> Choice:
    """The triggers that the visitor may call, limited to `names` if there are any. Raises ExportFault for an unknown
    name, and if nothing is left."""
    for name in names:
        if name not in triggers:
            known = ", ".join(sorted(triggers)) or "none"
            raise ExportFault(f"--workflow {name}: there is no such workflow. The workflows are: {known}")
    wanted = {name: trigger for name, trigger in sorted(triggers.items()) if not names or name in names}
    obstacles = {name: _obstacle(trigger, visitor, named=bool(names)) for name, trigger in wanted.items()}
    reached = {name: trigger for name, trigger in wanted.items() if not obstacles[name]}
    if not reached:
        raise ExportFault(_nothing_left(visitor, obstacles))
    return Choice(
        reached,
        tuple(Remark(name, why) for name, why in obstacles.items() if why),
        tuple(Remark(name, note) for name, trigger in reached.items() for note in _notes(trigger, visitor)),
    )


def _obstacle(trigger: Trigger, visitor: Visitor, *, named: bool) -> str:
    """Why no caller of this connector can be allowed; "" if one can."""
    access, policy = trigger.workflow.access, trigger.policy
    if isinstance(policy, Signed):
        return "Its requests have to be signed, and a connector signs none."
    if not isinstance(policy, Guarded) or not isinstance(access, TenantUsers):
        return ""
    if visitor.way == "none":
        return "It requires a token, and a connector without authentication sends none."
    if visitor.tenant_id not in policy.tenants:
        return "It is for other tenants (tenants=)."
    if visitor.audiences and not any(map(policy.takes_audience, visitor.audiences)):
        return "It accepts only tokens for other audiences (audiences=)."
    if visitor.way == "entra":
        known = visitor.client_id is not None
        return (
            "It does not accept calls from the client of --client-id (clients=)."
            if known and access.clients and visitor.client_id not in access.clients
            else ""
        )
    return _obstacle_to_gateway(access, named=named)


def _obstacle_to_gateway(access: TenantUsers, *, named: bool) -> str:
    if not access.apps:
        return "It is for people only (apps=False), and the gateway calls as an application."
    if access.scopes and not access.roles:
        return "It requires a scope, which the gateway's token never has: it is an application's."
    if access.auth_context:
        return "It requires a stronger sign-in (auth_context=), which the gateway's token never has."
    if isinstance(access, SpecificUsers) and not named:
        return (
            "It is only for the callers on its list, and Postern sees the gateway in place of the person. If the "
            "gateway itself is on the list, choose it with --workflow."
        )
    return ""


def _notes(trigger: Trigger, visitor: Visitor) -> Iterator[str]:
    access = trigger.workflow.access
    if trigger.workflow.networks:
        yield "It accepts requests only from its networks (networks=): those of the Power Platform must be among them."
    if not isinstance(access, TenantUsers):
        return
    gateway = visitor.way != "entra"
    if isinstance(access, SpecificUsers):
        yield (
            "The gateway's service principal must be on its list. Then all people with the key may use it."
            if gateway
            else "Only callers on its list may use it. Others see the action and get a 401."
        )
    if access.clients and (gateway or visitor.client_id is None):
        yield "It accepts calls only from the clients of clients=: this connector's client id must be among them."
    if access.scopes and not gateway:
        yield f"The connector's registration needs one of these scopes, with consent: {', '.join(access.scopes)}."
    if access.roles:
        yield f"Its users need one of these app roles: {', '.join(access.roles)}."
    if not access.guests and not gateway:
        yield "Guests are rejected."
    if not access.agents and not gateway:
        yield "Agents are rejected."
    if access.auth_context:
        yield "It requires a stronger sign-in (auth_context=). A connection whose sign-in does not meet it gets a 401."


def _nothing_left(visitor: Visitor, obstacles: Mapping[str, str]) -> str:
    if not obstacles:
        return "There is no workflow to export: the folder of POSTERN_WORKFLOWS has none"
    reasons = "; ".join(f"{name}: {why}" for name, why in obstacles.items())
    return f"--auth {visitor.way} reaches none of the workflows. {reasons} Choose another --auth"
