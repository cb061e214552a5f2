"""Who may come in: the three access modes, the Caller who asks, and the decision between them. All of it is pure.

An author writes an access mode (`anonymous()`, `tenant_users()`, `specific_users("lisa")`). When the workflow is
loaded, `bind` turns it into a policy with the object ids, tenants and audiences of this installation. At each request
`admit` measures the verified Caller by that policy, check by check; `postern explain` prints the same checks.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Check(NamedTuple):
    """One question asked of a token or a caller. `expected` and `found` are for the operator, `advice` for a caller
    who has proved who they are; all three stay out of replies to anybody else."""

    name: str
    passed: bool
    expected: Any = None
    found: Any = None
    advice: str = ""


class Refused(Exception):
    """A request turned away. `checks` ends with the one that failed; `proved` says that the token's signature is by a
    key of one of our tenants and the token is that tenant's, so that its bearer may hear the truth (advice)."""

    def __init__(self, checks: Iterable[Check], *, proved: bool = False) -> None:
        self.checks = tuple(checks)
        self.proved = proved
        super().__init__(self.failed.name)

    @property
    def failed(self) -> Check:
        """The check that failed."""
        return self.checks[-1]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking, as the verified access token says. Ids are lower-case GUIDs. `name` is for people to read and is
    never used to authorize (Microsoft: claims-validation)."""

    kind: Literal["anonymous", "user", "application"]
    object_id: str = ""
    tenant_id: str = ""
    client_id: str = ""
    audience: str = ""
    name: str = ""
    scopes: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    guest: bool = False


ANYONE = Caller("anonymous")


class AccessFault(ValueError):
    """An access mode that cannot be served as it is written; the message says what is wrong and how to mend it."""


@dataclass(frozen=True, slots=True)
class Anonymous:
    """Anyone may come in; tokens are not looked at."""

    mode = "anonymous"


@dataclass(frozen=True, slots=True)
class TenantUsers:
    """Any user, guest or service principal of the tenant, unless an option narrows it."""

    scopes: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    apps: bool = True
    guests: bool = True
    audiences: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()

    mode = "tenant_users"


@dataclass(frozen=True, slots=True)
class SpecificUsers(TenantUsers):
    """Only the people and service principals named, by an object id or by a name of `[people]`."""

    people: tuple[str, ...] = ()

    mode = "specific_users"


Access = Anonymous | TenantUsers | SpecificUsers


def anonymous() -> Anonymous:
    """Anyone may use the trigger (Power Automate: Anyone)."""
    return Anonymous()


def tenant_users(
    *,
    scopes: Iterable[str] = (),
    roles: Iterable[str] = (),
    clients: Iterable[str] = (),
    apps: bool = True,
    guests: bool = True,
    audiences: Iterable[str] = (),
    tenants: Iterable[str] = (),
) -> TenantUsers:
    """Any user or service principal of the tenant (Power Automate: Any user in my tenant).

    `scopes` and `roles`: the token has at least one of those named; an application, whose tokens never carry scopes,
    is measured by `roles` when both are named and refused when only `scopes` are. `clients`: the application ids
    through which callers may come. `apps=False`: people only. `guests=False`: no guests. `audiences`, `tenants`: in
    place of the installation's own.
    """
    return TenantUsers(
        scopes=_names("scopes", scopes),
        roles=_names("roles", roles),
        clients=_guids("clients", clients),
        apps=apps,
        guests=guests,
        audiences=_names("audiences", audiences),
        tenants=_guids("tenants", tenants),
    )


def specific_users(
    *people: str,
    scopes: Iterable[str] = (),
    roles: Iterable[str] = (),
    clients: Iterable[str] = (),
    apps: bool = True,
    guests: bool = True,
    audiences: Iterable[str] = (),
    tenants: Iterable[str] = (),
) -> SpecificUsers:
    """Only these people and service principals (Power Automate: Specific users in my tenant).

    Each of `people` is an object id or a name of the table `[people]` in `postern.toml`. The options are those of
    `tenant_users`, and narrow it further.
    """
    if not people:
        raise AccessFault(
            "specific_users() names nobody: give at least one name of [people] or object id, "
            "or use tenant_users() to let in the whole tenant"
        )
    for person in people:
        if not isinstance(person, str) or not person.strip():
            raise AccessFault(f"specific_users() takes names and object ids, not {person!r}")
        if "@" in person:
            raise AccessFault(
                f"specific_users({person!r}): an e-mail address can change hands, an object id cannot. Put the object "
                "id into [people] of postern.toml under a short name, and use that name"
            )
    return SpecificUsers(
        people=tuple(people),
        scopes=_names("scopes", scopes),
        roles=_names("roles", roles),
        clients=_guids("clients", clients),
        apps=apps,
        guests=guests,
        audiences=_names("audiences", audiences),
        tenants=_guids("tenants", tenants),
    )


class Open:
    """The policy of an anonymous trigger."""

    __slots__ = ()

    mode = "anonymous"

    def checks(self, caller: Caller) -> Iterator[Check]:
        """None: anyone may come in."""
        return iter(())


@dataclass(frozen=True, slots=True)
class Guarded:
    """The policy of the two authenticated modes. `object_ids` is None where the whole tenant may come in; `scopes`,
    `roles` and `clients` are empty where any will do."""

    mode: str
    tenants: frozenset[str]
    audiences: frozenset[str]
    object_ids: frozenset[str] | None
    scopes: frozenset[str]
    roles: frozenset[str]
    clients: frozenset[str]
    apps: bool
    guests: bool

    def checks(self, caller: Caller) -> Iterator[Check]:
        """Every question asked of a verified caller, in order."""
        yield Check(
            "tenant-allowed",
            caller.tenant_id in self.tenants,
            self.tenants,
            caller.tenant_id,
            "Your tenant may not use this trigger.",
        )
        yield Check(
            "audience",
            caller.audience in self.audiences,
            self.audiences,
            caller.audience,
            f"The token is for another audience. Ask for one with the scope {self._scope_to_ask_for()}",
        )
        if not self.apps:
            yield Check("people-only", caller.kind == "user", "user", caller.kind, "This trigger is for people only.")
        if not self.guests:
            yield Check(
                "no-guests",
                not caller.guest,
                "a member",
                "guest" if caller.guest else "member",
                "No guests here.",
            )
        if self.clients:
            yield Check(
                "client",
                caller.client_id in self.clients,
                self.clients,
                caller.client_id,
                "The application that asked for this token may not use this trigger.",
            )
        if self.scopes and not (self.roles and caller.kind == "application"):
            yield Check(
                "scope",
                bool(self.scopes & caller.scopes),
                self.scopes,
                caller.scopes,
                "The token lacks a scope that this trigger asks for: " + " ".join(sorted(self.scopes)),
            )
        if self.roles:
            yield Check(
                "role",
                bool(self.roles & caller.roles),
                self.roles,
                caller.roles,
                "The token lacks an app role that this trigger asks for: " + " ".join(sorted(self.roles)),
            )
        if self.object_ids is not None:
            yield Check(
                "listed",
                caller.object_id in self.object_ids,
                self.object_ids,
                caller.object_id,
                f"Object id {caller.object_id} is not on the list of this trigger.",
            )

    def _scope_to_ask_for(self) -> str:
        return " or ".join(default_scope(audience) for audience in sorted(self.audiences))


Policy = Open | Guarded


def bind(access: Access, *, people: Mapping[str, str], tenants: Iterable[str], audiences: Iterable[str]) -> Policy:
    """The policy that `access` means in this installation. Raises AccessFault where it cannot be served."""
    if isinstance(access, Anonymous):
        return Open()
    allowed_tenants = frozenset(access.tenants or tenants)
    allowed_audiences = frozenset(access.audiences or audiences)
    if not allowed_tenants:
        raise AccessFault(f"access mode {access.mode} needs a tenant: set POSTERN_TENANT_ID, or use access=anonymous()")
    if not allowed_audiences:
        raise AccessFault(
            f"access mode {access.mode} needs an audience: set POSTERN_AUDIENCE to the Application ID URI or client "
            "id of your app registration"
        )
    return Guarded(
        mode=access.mode,
        tenants=allowed_tenants,
        audiences=allowed_audiences,
        object_ids=frozenset(_object_id(person, people) for person in access.people)
        if isinstance(access, SpecificUsers)
        else None,
        scopes=frozenset(access.scopes),
        roles=frozenset(access.roles),
        clients=frozenset(access.clients),
        apps=access.apps,
        guests=access.guests,
    )


def admit(policy: Policy, caller: Caller) -> None:
    """Let the caller in, or raise Refused. The caller's token has been verified, so the refusal may tell the truth."""
    checks = []
    for check in policy.checks(caller):
        checks.append(check)
        if not check.passed:
            raise Refused(checks, proved=True)


def default_scope(audience: str) -> str:
    """The scope to ask the v2 token endpoint for. Built by appending, never by trimming: an audience that ends with a
    slash gives a double one, and Entra compares exactly (`https://service.flow.microsoft.com//.default`)."""
    return f"{audience}/.default"


def _object_id(person: str, people: Mapping[str, str]) -> str:
    found = people.get(person, person).lower()
    if not GUID.fullmatch(found):
        known = ", ".join(sorted(people)) or "nobody yet"
        raise AccessFault(
            f"specific_users({person!r}): no such name in [people] of postern.toml (it knows {known}), and it is not "
            f'an object id either. Add a line  {person} = "<object id>"  to [people]'
        )
    return found


def _names(option: str, values: Iterable[str]) -> tuple[str, ...]:
    if isinstance(values, str):
        raise AccessFault(f'{option}= takes a list: write {option}=["{values}"]')
    names = tuple(values)
    for name in names:
        if not isinstance(name, str) or not name or name != name.strip():
            raise AccessFault(f"{option}= takes texts without spaces around them, not {name!r}")
    return names


def _guids(option: str, values: Iterable[str]) -> tuple[str, ...]:
    names = tuple(name.lower() for name in _names(option, values))
    for name in names:
        if not GUID.fullmatch(name):
            raise AccessFault(f"{option}= takes ids like 00000000-0000-0000-0000-000000000000, not {name!r}")
    return names
