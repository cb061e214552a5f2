"""Who calls in a test: people, applications, and requests without a token."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from postern.access.agent import ACTOR_FACETS, AGENT_IDENTITY, SUBJECT_FACETS

if TYPE_CHECKING:
    from postern.local_tenant import LocalTenant

MADE_UP = uuid.UUID("6a3b1c1e-6c62-4a55-8f0b-3f0c2f7d9b41")
"""The namespace of the object ids of people and applications that only a test names."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends a request. It holds no token: one is made for each request, at the time of the test's clock."""

    kind: Literal["user", "app", "nobody"]
    name: str = ""
    guest: bool | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    claims: Mapping[str, Any] = field(default_factory=dict)


def user(
    name: str,
    *,
    expired: bool = False,
    wrong_audience: bool | str = False,
    other_tenant: bool = False,
    guest: bool | None = None,
    roles: Sequence[str] | None = None,
    scopes: Sequence[str] | None = None,
    audience: str | None = None,
    auth_context: str = "",
    agent: bool = False,
    version: Literal[1, 2] = 2,
    **claims: Any,
) -> Sender:
    """A person with a token of the tenant: of `[people]` in `postern.toml`, or `ada`, `lisa` or `gil` of the local
    tenant, or a person whom the test makes up.

    `expired`: the token expired an hour ago. `wrong_audience`: it is for another API, or for this one. `other_tenant`:
    another tenant signed it in. `guest`: the person is a guest or is not. `roles` and `scopes` are those of the token.
    `audience`: in place of the server's own. `auth_context`: the authentication context that the sign-in met. `agent`:
    an agent of Entra Agent ID acts on behalf of the person. `version` of the token. Each other name is a claim, None
    leaves one out.
    """
    options = _options(expired, wrong_audience, other_tenant, audience, version, roles)
    if scopes is not None:
        options["scopes"] = tuple(scopes)
    met = {"acrs": [auth_context]} if auth_context else {}
    facets = {ACTOR_FACETS: AGENT_IDENTITY} if agent else {}
    return Sender("user", name, guest, options, met | facets | claims)


def app(
    name: str,
    *,
    roles: Sequence[str] | None = None,
    expired: bool = False,
    wrong_audience: bool | str = False,
    other_tenant: bool = False,
    audience: str | None = None,
    agent: bool = False,
    version: Literal[1, 2] = 2,
    **claims: Any,
) -> Sender:
    """An application with a token of its own: one of `[people]`, or of the local tenant, or one that the test makes up.
    `roles` are its app roles. `agent`: it is an agent of Entra Agent ID, which acts as itself. The
    other options are those of `user`."""
    options = _options(expired, wrong_audience, other_tenant, audience, version, roles)
    facets = {ACTOR_FACETS: AGENT_IDENTITY, SUBJECT_FACETS: AGENT_IDENTITY} if agent else {}
    return Sender("app", name, None, options, facets | claims)


def nobody() -> Sender:
    """A request without a token."""
    return NOBODY


NOBODY = Sender("nobody")


def sender_of(who: Sender | str | None) -> Sender:
    """Who that is: a text is a person's name, and None is nobody."""
    return user(who) if isinstance(who, str) else who or NOBODY


def _options(
    expired: bool,
    wrong_audience: bool | str,
    other_tenant: bool,
    audience: str | None,
    version: Literal[1, 2],
    roles: Sequence[str] | None,
) -> dict[str, Any]:
    found: dict[str, Any] = {"expired": expired, "other_tenant": other_tenant, "version": version}
    if isinstance(wrong_audience, str):
        found["audience"] = wrong_audience
    else:
        found |= {"wrong_audience": wrong_audience, "audience": audience}
    return found if roles is None else found | {"roles": tuple(roles)}


def token_of(sender: Sender, tenant: "LocalTenant", now: float) -> str:
    """A token for a sender, "" for nobody. Raises ValueError if a person is named as an application, or the reverse."""
    if sender.kind == "nobody":
        return ""
    here = with_sender(tenant, sender)
    changed = {name: value for name, value in sender.claims.items() if value is not None}
    left_out = [name for name, value in sender.claims.items() if value is None]
    if not left_out:
        return here.token(sender.name, now=now, more=changed, **sender.options)
    options = {
        name: value for name, value in sender.options.items() if name in ("audience", "version", "scopes", "roles")
    }
    claims = here.claims(sender.name, now=now, **options) | changed
    return here.mint({name: value for name, value in claims.items() if name not in left_out})


def with_sender(tenant: "LocalTenant", sender: Sender) -> "LocalTenant":
    """The tenant, with a person or an application that only the test names."""
    from postern.local_tenant import Application, Person

    directory, name = tenant.directory, sender.name
    people, applications = dict(directory.people), {**directory.applications, **directory.identities}
    if sender.kind == "app":
        if name in people:
            # [people] names service principals too: the local tenant takes an unknown name for a person
            known = people[name]
            made = Application(name, str(uuid.uuid5(MADE_UP, f"{name} client")), known.object_id)
        elif name in applications:
            return tenant
        else:
            ids = (str(uuid.uuid5(MADE_UP, f"{name} {part}")) for part in ("client", "app"))
            made = Application(name, next(ids), next(ids))
        del_person = {key: person for key, person in people.items() if key != name}
        return replace(
            tenant, directory=replace(directory, people=del_person, applications={**directory.applications, name: made})
        )
    if name in applications:
        raise ValueError(f'{name} is an application: write app("{name}")')
    person = people.get(name) or Person(
        name, str(uuid.uuid5(MADE_UP, name)), name.replace("-", " ").replace("_", " ").title()
    )
    if sender.guest is not None:
        person = replace(person, guest=sender.guest)
    return replace(tenant, directory=replace(directory, people={**people, name: person}))
