"""The three access modes, as authors write them: `anonymous()`, `tenant_users()`, `specific_users("lisa")`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from postern.access.caller import GUID
from postern.access.sender import SenderSignature
from postern.audiences import wrong_with


class AccessFault(ValueError):
    """An access mode that is not valid. The message says what is wrong and how to fix it."""


class SettingMissing(AccessFault):
    """An access mode that needs settings which are not set. `settings` maps each name to the value that it needs."""

    def __init__(self, mode: str, settings: Mapping[str, str]) -> None:
        needed = " and ".join(f"{name} to {value}" for name, value in settings.items())
        super().__init__(
            f"access mode {mode} needs more settings: set {needed} and restart the server, or use access=anonymous()"
        )
        self.settings = settings


@dataclass(frozen=True, slots=True)
class Anonymous:
    """Anyone may use the trigger, or only those with a signed URL, or a sender that signs. Tokens are ignored."""

    signed: bool = False
    signed_by: SenderSignature | None = None

    mode = "anonymous"


@dataclass(frozen=True, slots=True)
class TenantUsers:
    """Any user, guest or service principal of the tenant, unless an option narrows it."""

    scopes: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    apps: bool = True
    guests: bool = True
    agents: bool = True
    audiences: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    auth_context: str = ""

    mode = "tenant_users"


@dataclass(frozen=True, slots=True)
class SpecificUsers(TenantUsers):
    """Only the people and service principals listed, each by its object id or its name in `[people]`."""

    people: tuple[str, ...] = ()

    mode = "specific_users"


Access = Anonymous | TenantUsers | SpecificUsers


def anonymous(*, signed: bool = False, signed_by: SenderSignature | None = None) -> Anonymous:
    """Anyone may use the trigger (Power Automate: Anyone).

    `signed=True`: anyone with a signed URL, which `postern link` makes. `signed_by`: only the sender that signs the
    body, such as `github("github-hook")`. Raises AccessFault if both are given.
    """
    signed = _yes_or_no("signed", signed)
    if signed_by is not None and not isinstance(signed_by, SenderSignature):
        raise AccessFault(
            'signed_by= takes a sender: write github("NAME"), stripe("NAME"), slack("NAME") or hmac_header(...), where '
            "NAME is a secret in Key Vault"
        )
    if signed and signed_by is not None:
        raise AccessFault("signed= and signed_by=: a trigger has one of the two, so leave one out")
    return Anonymous(signed=signed, signed_by=signed_by)


def tenant_users(
    *,
    scopes: Iterable[str] | None = None,
    roles: Iterable[str] | None = None,
    clients: Iterable[str] | None = None,
    apps: bool = True,
    guests: bool = True,
    agents: bool = True,
    audiences: Iterable[str] | None = None,
    tenants: Iterable[str] | None = None,
    auth_context: str | None = None,
) -> TenantUsers:
    """Any user or service principal of the tenant (Power Automate: Any user in my tenant).

    `scopes` and `roles`: the token must have at least one of each list given. Tokens of applications never have scopes:
    an application is checked against `roles` if both are given, and rejected if only `scopes` is. `clients`: the
    allowed client application ids. `apps=False`: people only. `guests=False`: no guests. `agents=False`: no agents of
    Entra Agent ID, where the tokens have the optional claims that name them; `clients` is the limit that needs none.
    `audiences` and `tenants` replace those of the settings. `auth_context`: the sign-in must meet this authentication
    context of Conditional Access, a name in the table `[auth_contexts]` of `postern.toml`. Raises AccessFault for an
    empty list, because that would admit more callers than any other list.
    """
    return TenantUsers(
        scopes=_names("scopes", scopes),
        roles=_names("roles", roles),
        clients=_guids("clients", clients),
        apps=_yes_or_no("apps", apps),
        guests=_yes_or_no("guests", guests),
        agents=_yes_or_no("agents", agents),
        audiences=_audiences("audiences", audiences),
        tenants=_guids("tenants", tenants),
        auth_context=_auth_context(auth_context),
    )


def specific_users(
    *people: str,
    scopes: Iterable[str] | None = None,
    roles: Iterable[str] | None = None,
    clients: Iterable[str] | None = None,
    apps: bool = True,
    guests: bool = True,
    agents: bool = True,
    audiences: Iterable[str] | None = None,
    tenants: Iterable[str] | None = None,
    auth_context: str | None = None,
) -> SpecificUsers:
    """Only these people and service principals (Power Automate: Specific users in my tenant).

    Each of `people` is an object id or a name in the table `[people]` of `postern.toml`. The options are those of
    `tenant_users`, and restrict access further.
    """
    if not people:
        raise AccessFault(
            "specific_users() has no names: give at least one name from [people] or object id, "
            "or use tenant_users() to allow the whole tenant"
        )
    for person in people:
        if not isinstance(person, str) or not person.strip():
            names = ", ".join(repr(each) for each in person) if isinstance(person, list | tuple | set) else ""
            write = f": write specific_users({names})" if names else ""
            raise AccessFault(f"specific_users() takes names and object ids, not {person!r}{write}")
        if "@" in person:
            raise AccessFault(
                f"specific_users({person!r}): an e-mail address can be reassigned, an object id cannot. Add the object "
                "id to [people] of postern.toml under a short name, and use that name"
            )
    return SpecificUsers(
        people=tuple(people),
        scopes=_names("scopes", scopes),
        roles=_names("roles", roles),
        clients=_guids("clients", clients),
        apps=_yes_or_no("apps", apps),
        guests=_yes_or_no("guests", guests),
        agents=_yes_or_no("agents", agents),
        audiences=_audiences("audiences", audiences),
        tenants=_guids("tenants", tenants),
        auth_context=_auth_context(auth_context),
    )


def _names(option: str, values: Iterable[str] | None) -> tuple[str, ...]:
    if values is None:
        return ()
    if isinstance(values, str):
        raise AccessFault(f'{option}= takes a list: write {option}=["{values}"]')
    if not isinstance(values, Iterable):
        raise AccessFault(f"{option}= takes a list of strings, not {values!r}")
    names = tuple(values)
    if not names:
        raise AccessFault(f"{option}= is empty: leave the option out, or list what is allowed")
    for name in names:
        if not isinstance(name, str) or name.split() != [name]:
            raise AccessFault(f"{option}= takes strings without spaces, not {name!r}")
    return names


def _audiences(option: str, values: Iterable[str] | None) -> tuple[str, ...]:
    names = _names(option, values)
    for name in names:
        wrong, fix = wrong_with(name)
        if wrong:
            raise AccessFault(f"{option}=: {name!r} {wrong}. {fix}")
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


def _auth_context(value: str | None) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or value.split() != [value]:
        raise AccessFault(
            f"auth_context={value!r}: give one name of [auth_contexts] in postern.toml, or leave the option out"
        )
    return value
