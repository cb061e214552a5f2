"""Who may come in: the three access modes, the Caller who asks, and the decision between them. All of it is pure.

An author writes an access mode (`anonymous()`, `tenant_users()`, `specific_users("lisa")`). When the workflow is
loaded, `bind` turns it into a policy with the object ids, tenants and audiences of this installation. At each request
`admit` measures the verified Caller by that policy, check by check; `postern explain` prints the same checks.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
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


class SettingMissing(AccessFault):
    """An access mode that needs settings which are not set: `settings` has what each is for and how to set it."""

    def __init__(self, mode: str, settings: Mapping[str, str]) -> None:
        super().__init__(f"access mode {mode} needs " + " and ".join(settings.values()) + ", or use access=anonymous()")
        self.settings = settings


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
    scopes: Iterable[str] | None = None,
    roles: Iterable[str] | None = None,
    clients: Iterable[str] | None = None,
    apps: bool = True,
    guests: bool = True,
    audiences: Iterable[str] | None = None,
    tenants: Iterable[str] | None = None,
) -> TenantUsers:
    """Any user or service principal of the tenant (Power Automate: Any user in my tenant).

    `scopes` and `roles`: the token has at least one of those named; an application, whose tokens never carry scopes,
    is measured by `roles` when both are named and refused when only `scopes` are. `clients`: the application ids
    through which callers may come. `apps=False`: people only. `guests=False`: no guests. `audiences`, `tenants`: in
    place of the installation's own. Raises AccessFault where a list is given that names nothing, because that would let
    in more than any other list does.
    """
    return TenantUsers(
        scopes=_names("scopes", scopes),
        roles=_names("roles", roles),
        clients=_guids("clients", clients),
        apps=_yes_or_no("apps", apps),
        guests=_yes_or_no("guests", guests),
        audiences=_names("audiences", audiences),
        tenants=_guids("tenants", tenants),
    )


def specific_users(
    *people: str,
    scopes: Iterable[str] | None = None,
    roles: Iterable[str] | None = None,
    clients: Iterable[str] | None = None,
    apps: bool = True,
    guests: bool = True,
    audiences: Iterable[str] | None = None,
    tenants: Iterable[str] | None = None,
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
        apps=_yes_or_no("apps", apps),
        guests=_yes_or_no("guests", guests),
        audiences=_names("audiences", audiences),
        tenants=_guids("tenants", tenants),
    )


class Question(NamedTuple):
    """What a policy asks of every verified caller, put together once: at a request only `passes` is called, and the
    rest when somebody wants to know why."""

    name: str
    passes: Callable[[Caller], bool]
    expected: Any
    found: Callable[[Caller], Any]
    advice: str

    def check(self, caller: Caller) -> Check:
        """The answer for this caller."""
        found = self.found(caller)
        return Check(self.name, self.passes(caller), self.expected, found, self.advice.replace("{found}", str(found)))


class Open:
    """The policy of an anonymous trigger."""

    __slots__ = ()

    mode = "anonymous"
    questions: tuple[Question, ...] = ()


OPEN = Open()


@dataclass(frozen=True, slots=True)
class Guarded:
    """The policy of the two authenticated modes: all of its questions have to be answered with yes. `tenants` are those
    whose tokens may be looked at, `audiences` what they may be issued for."""

    mode: str
    tenants: frozenset[str]
    audiences: frozenset[str]
    questions: tuple[Question, ...]


Policy = Open | Guarded


def bind(access: Access, *, people: Mapping[str, str], tenants: Iterable[str], audiences: Iterable[str]) -> Policy:
    """The policy that `access` means in this installation. Raises AccessFault where it cannot be served."""
    if isinstance(access, Anonymous):
        return OPEN
    allowed_tenants = frozenset(access.tenants or tenants)
    allowed_audiences = frozenset(access.audiences or audiences)
    missing = {}
    if not allowed_tenants:
        missing["POSTERN_TENANT_ID"] = "a tenant: set POSTERN_TENANT_ID"
    if not allowed_audiences:
        missing["POSTERN_AUDIENCE"] = (
            "an audience: set POSTERN_AUDIENCE to the Application ID URI or client id of your app registration"
        )
    if missing:
        raise SettingMissing(access.mode, missing)
    return Guarded(
        mode=access.mode,
        tenants=allowed_tenants,
        audiences=allowed_audiences,
        questions=tuple(_questions(access, people, allowed_tenants, allowed_audiences)),
    )


def _questions(
    access: TenantUsers, people: Mapping[str, str], tenants: frozenset[str], audiences: frozenset[str]
) -> Iterator[Question]:
    """Every question that this access mode asks, in order."""
    ask_for = " or ".join(default_scope(audience) for audience in sorted(audiences))
    scopes, roles, clients = frozenset(access.scopes), frozenset(access.roles), frozenset(access.clients)
    yield Question(
        "tenant-allowed",
        lambda caller: caller.tenant_id in tenants,
        tenants,
        lambda caller: caller.tenant_id,
        "Your tenant may not use this trigger.",
    )
    yield Question(
        "audience",
        lambda caller: caller.audience in audiences,
        audiences,
        lambda caller: caller.audience,
        f"The token is for another audience. Ask for one with the scope {ask_for}",
    )
    if not access.apps:
        yield Question(
            "people-only",
            lambda caller: caller.kind == "user",
            "user",
            lambda caller: caller.kind,
            "This trigger is for people only.",
        )
    if not access.guests:
        yield Question(
            "no-guests",
            lambda caller: not caller.guest,
            "a member",
            lambda caller: "a guest" if caller.guest else "a member",
            "This trigger is not for guests.",
        )
    if clients:
        yield Question(
            "client",
            lambda caller: caller.client_id in clients,
            clients,
            lambda caller: caller.client_id,
            "The application that asked for this token may not use this trigger.",
        )
    if scopes:
        yield Question(
            "scope",
            lambda caller: bool(scopes & caller.scopes) or bool(roles and caller.kind == "application"),
            scopes,
            lambda caller: caller.scopes,
            "The token lacks a scope that this trigger asks for: " + " ".join(sorted(scopes)),
        )
    if roles:
        yield Question(
            "role",
            lambda caller: bool(roles & caller.roles),
            roles,
            lambda caller: caller.roles,
            "The token lacks an app role that this trigger asks for: " + " ".join(sorted(roles)),
        )
    if isinstance(access, SpecificUsers):
        object_ids = frozenset(_object_id(person, people) for person in access.people)
        yield Question(
            "listed",
            lambda caller: caller.object_id in object_ids,
            object_ids,
            lambda caller: caller.object_id,
            "Object id {found} is not on the list of this trigger.",
        )


def checks(policy: Policy, caller: Caller) -> list[Check]:
    """The answers to every question of the policy, also after one that is no."""
    return [question.check(caller) for question in policy.questions]


def admit(policy: Policy, caller: Caller) -> None:
    """Let the caller in, or raise Refused. The caller's token has been verified, so the refusal may tell the truth."""
    for number, question in enumerate(policy.questions, start=1):
        if not question.passes(caller):
            raise Refused(checks(policy, caller)[:number], proved=True)


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


def _names(option: str, values: Iterable[str] | None) -> tuple[str, ...]:
    if values is None:
        return ()
    if isinstance(values, str):
        raise AccessFault(f'{option}= takes a list: write {option}=["{values}"]')
    if not isinstance(values, Iterable):
        raise AccessFault(f"{option}= takes a list of texts, not {values!r}")
    names = tuple(values)
    if not names:
        raise AccessFault(f"{option}= names nothing: leave the option out, or say what may come in")
    for name in names:
        if not isinstance(name, str) or name.split() != [name]:
            raise AccessFault(f"{option}= takes texts without spaces, not {name!r}")
    return names


def _guids(option: str, values: Iterable[str] | None) -> tuple[str, ...]:
    names = tuple(name.lower() for name in _names(option, values))
    for name in names:
        if not GUID.fullmatch(name):
            raise AccessFault(f"{option}= takes ids like 00000000-0000-0000-0000-000000000000, not {name!r}")
    return names


def _yes_or_no(option: str, value: bool) -> bool:
    if not isinstance(value, bool):
        raise AccessFault(f"{option}= is True or False, not {value!r}")
    return value
