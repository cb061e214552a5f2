"""The three access modes, as authors write them: `anonymous()`, `tenant_users()`, `specific_users("lisa")`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from postern.access.caller import GUID


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
