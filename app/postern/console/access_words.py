"""Who may call a workflow, in words. Pure. Names of people are those of `[people]`."""

from typing import NamedTuple

from postern.access import Access, Anonymous, Guarded, Policy, Signed, SpecificUsers, TenantUsers

_WHO = {
    (True, True): "Any person, guest or application of the tenant",
    (True, False): "Any person or application of the tenant, no guests",
    (False, True): "Any person or guest of the tenant, no applications",
    (False, False): "Any person of the tenant, no guests and no applications",
}
"""By `apps` and `guests`."""


MOST_NAMED = 5
"""Callers of a list who are named in its sentence."""


class Named(NamedTuple):
    """A caller on a list. `name` is "" if the author wrote the object id itself."""

    name: str
    object_id: str


class AccessWords(NamedTuple):
    """`who` in one sentence without its full stop, further `conditions`, and the `people` of a list with their object
    ids. `anyone` marks a workflow that takes no token."""

    who: str
    conditions: tuple[str, ...]
    people: tuple[Named, ...]
    anyone: bool


def access_words(access: Access, policy: Policy) -> AccessWords:
    """The access mode with its policy here."""
    if isinstance(access, Anonymous) or not isinstance(policy, Guarded):
        if isinstance(policy, Signed):
            who = f"Only {policy.by.named}, by its signature" if policy.by else "Anyone with a signed URL"
            return AccessWords(who, (), (), anyone=False)
        return AccessWords("Anyone, without a token", (), (), anyone=True)
    listed = tuple(Named(person.name or "", person.object_id) for person in policy.people or ())
    if isinstance(access, SpecificUsers):
        who = f"Only {_people([each.name or each.object_id for each in listed])}"
        limits = [] if access.apps else ["the caller is no application"]
        limits += [] if access.guests else ["the caller is no guest"]
    else:
        who, limits = _WHO[access.apps, access.guests], []
    limits += [] if access.agents else ["the caller is no agent"]
    return AccessWords(who, (*limits, *_conditions(access)), listed, anyone=False)


def _conditions(access: TenantUsers) -> list[str]:
    found = []
    if access.scopes:
        without = ", which applications do not need" if access.roles and access.apps else ""
        found.append(f"the token has the scope {_joined(access.scopes, 'or')}{without}")
    if access.roles:
        found.append(f"the caller has the app role {_joined(access.roles, 'or')}")
    if access.clients:
        found.append(f"the token was requested by the application {_joined(access.clients, 'or')}")
    if access.audiences:
        found.append(f"the token is for {_joined(access.audiences, 'or')}")
    if access.tenants:
        found.append(f"the caller is of the tenant {_joined(access.tenants, 'or')}, which replaces the server's own")
    if access.auth_context:
        found.append(f"the sign-in met the authentication context {access.auth_context}")
    return found


def _people(names: list[str]) -> str:
    if len(names) > MOST_NAMED:
        return f"{', '.join(names[:MOST_NAMED])} and {len(names) - MOST_NAMED} others"
    return _joined(names, "and")


def _joined(values: list[str] | tuple[str, ...], word: str) -> str:
    if len(values) < 2:
        return "".join(values)
    return f"{', '.join(values[:-1])} {word} {values[-1]}"
