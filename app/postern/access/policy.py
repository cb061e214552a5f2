"""The policy: an access mode bound to the object ids, tenants and audiences of one installation."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

from postern.access import claims_request
from postern.access.caller import GUID, Caller
from postern.access.check import Check
from postern.access.modes import Access, AccessFault, Anonymous, SettingMissing, SpecificUsers, TenantUsers
from postern.access.sender import SenderSignature
from postern.audiences import could_be_ours, of_microsoft
from postern.near_names import near

_LIKE_AN_ID = re.compile(r"[0-9A-Fa-f-]{24,}")


class Requirement(NamedTuple):
    """What a policy requires of every verified caller. It is made once. A request calls only `passes`; the other fields
    explain a failure. `claims` is the claims request with which the same caller gets a token that passes, "" if none
    does."""

    name: str
    passes: Callable[[Caller], bool]
    expected: Any
    found: Callable[[Caller], Any]
    advice: Callable[[Caller], str]
    hint: Callable[[Caller], str] = lambda _: ""
    claims: str = ""

    def check(self, caller: Caller) -> Check:
        """The result for this caller."""
        passed = self.passes(caller)
        hint = "" if passed else self.hint(caller)
        return Check(self.name, passed, self.expected, self.found(caller), self.advice(caller), hint)


class Listed(NamedTuple):
    """One entry of a list of callers: the name that the author wrote, if it is one of `[people]`, and the object id
    here."""

    name: str | None
    object_id: str


class Open:
    """The policy of an anonymous trigger."""

    __slots__ = ()

    mode = "anonymous"
    people: tuple[Listed, ...] | None = None
    requirements: tuple[Requirement, ...] = ()


OPEN = Open()


@dataclass(frozen=True, slots=True)
class Signed:
    """The policy of an anonymous trigger whose requests have to be signed: in a URL that this server signed (`url`), or
    by the sender (`by`). It looks at no token."""

    url: bool
    by: SenderSignature | None

    mode = "anonymous"
    people = None
    requirements = ()


@dataclass(frozen=True, slots=True)
class Guarded:
    """The policy of the two authenticated modes: a caller has to meet all requirements. `tenants` are the tenants whose
    tokens are accepted, `audiences` the audiences that tokens may be issued for. `client_id` is Postern's own, which
    tokens of version 2.0 may also have as audience; "" if they may not. `people` are the callers on the list, None
    without a list: for operators only."""

    mode: str
    tenants: frozenset[str]
    audiences: frozenset[str]
    requirements: tuple[Requirement, ...]
    client_id: str = ""
    people: tuple[Listed, ...] | None = None

    def takes_audience(self, audience: str) -> bool:
        """Whether some token for this audience is accepted."""
        return audience in self.audiences or (audience != "" and audience == self.client_id)


Policy = Open | Signed | Guarded


def bind(
    access: Access,
    *,
    people: Mapping[str, str],
    tenants: Iterable[str],
    audiences: Iterable[str],
    client_id: str | None = None,
    auth_contexts: Mapping[str, str] | None = None,
) -> Policy:
    """The policy for `access` in this installation. Raises AccessFault if there can be none. `client_id` is Postern's
    own: it is an audience of tokens of version 2.0 unless the author names `audiences=`. `people` and `auth_contexts`
    are the tables of `postern.toml`."""
    if isinstance(access, Anonymous):
        return Signed(access.signed, access.signed_by) if access.signed or access.signed_by else OPEN
    allowed_tenants = frozenset(access.tenants or tenants)
    allowed_audiences = frozenset(access.audiences or audiences)
    missing = {}
    if not allowed_tenants:
        missing["POSTERN_TENANT_ID"] = "your Entra tenant id"
    if not allowed_audiences:
        missing["POSTERN_AUDIENCE"] = "the Application ID URI or client id of your app registration"
    if missing:
        raise SettingMissing(access.mode, missing)
    listed = None
    if isinstance(access, SpecificUsers):
        listed = tuple(_listed(person, people) for person in access.people)
    context = _context(access.auth_context, auth_contexts or {}) if access.auth_context else ""
    own = "" if access.audiences else client_id or ""
    audience = audience_requirement(
        allowed_audiences, own, "audiences= of the workflow" if access.audiences else "POSTERN_AUDIENCE"
    )
    return Guarded(
        mode=access.mode,
        tenants=allowed_tenants,
        audiences=allowed_audiences,
        requirements=tuple(_requirements(access, listed, allowed_tenants, audience, context)),
        client_id=own,
        people=listed,
    )


def audience_requirement(audiences: frozenset[str], client_id: str, setting: str) -> Requirement:
    """The requirement that a token is for this server: for one of `audiences`, which are in `setting`, or of version
    2.0 and for `client_id`."""
    scope = " or ".join(default_scope(audience) for audience in sorted(audiences))
    also = {f"{client_id} (tokens of version 2.0)"} if client_id and client_id not in audiences else set()

    def advice(caller: Caller) -> str:
        if could_be_ours(caller.audience, audiences, client_id):
            return (
                f"The token is for the audience {caller.audience}, which this server does not accept. "
                f"If you requested the scope {scope}, give the request_id to the operator of this server"
            )
        return f"The token is for another audience. Request one with the scope {scope}"

    def hint(caller: Caller) -> str:
        api = of_microsoft(caller.audience)
        if api:
            return f"This is a token for {api}. Request one with Postern's own scope: {scope}"
        if could_be_ours(caller.audience, audiences, client_id):
            return (
                f"The audience {caller.audience} could be yours. If it is, add it to {setting}: it is compared exactly"
            )
        return ""

    return Requirement(
        "audience",
        lambda caller: caller.audience in audiences or caller.has_audience(audiences, client_id),
        audiences | also,
        lambda caller: caller.audience,
        advice,
        hint,
    )


def _requirements(
    access: TenantUsers,
    people: Iterable[Listed] | None,
    tenants: frozenset[str],
    audience: Requirement,
    context: str,
) -> Iterator[Requirement]:
    """The requirements of this access mode, in order. The authentication context is the last one: only callers who may
    use the trigger otherwise are asked to sign in again."""
    scopes, roles, clients = frozenset(access.scopes), frozenset(access.roles), frozenset(access.clients)
    yield _one_of("tenant-allowed", attrgetter("tenant_id"), tenants, "Your tenant may not use this trigger.")
    yield audience
    yield from _kinds(access)
    if clients:
        advice = "The application that requested this token may not use this trigger."
        yield _one_of("client", attrgetter("client_id"), clients, advice)
    if scopes:
        yield Requirement(
            "scope",
            lambda caller: bool(scopes & caller.scopes) or bool(roles and caller.kind == "application"),
            scopes,
            lambda caller: caller.scopes,
            lambda _: "The token lacks a scope that this trigger requires: " + " ".join(sorted(scopes)),
        )
    if roles:
        yield Requirement(
            "role",
            lambda caller: bool(roles & caller.roles),
            roles,
            lambda caller: caller.roles,
            lambda _: "The token lacks an app role that this trigger requires: " + " ".join(sorted(roles)),
        )
    if people is not None:
        listed = frozenset(person.object_id for person in people)
        advice = "Object id {found} is not on the list of this trigger."
        yield _one_of("listed", attrgetter("object_id"), listed, advice)
    if context:
        yield _auth_context(context)


def _kinds(access: TenantUsers) -> Iterator[Requirement]:
    """The requirements of `apps`, `guests` and `agents`."""
    if not access.apps:
        yield Requirement(
            "people-only",
            lambda caller: caller.kind == "user",
            "user",
            lambda caller: caller.kind,
            lambda _: "This trigger is for people only.",
        )
    if not access.guests:
        yield Requirement(
            "no-guests",
            lambda caller: not caller.guest,
            "a member",
            lambda caller: "a guest" if caller.guest else "a member",
            lambda _: "This trigger is not for guests.",
        )
    if not access.agents:
        yield Requirement(
            "no-agents",
            lambda caller: caller.agent is None,
            "no agent",
            lambda caller: caller.agent.kind if caller.agent else "no agent",
            lambda _: "This trigger is not for agents.",
        )


def _auth_context(context: str) -> Requirement:
    """The requirement that the caller's sign-in met an authentication context of Conditional Access."""

    def advice(caller: Caller) -> str:
        needs = f"This trigger requires a sign-in that meets the authentication context {context}"
        if caller.kind != "user":
            return f"{needs}. Only tokens of people can meet one."
        if claims_request.handles_challenges(caller):
            return f"{needs}: sign in again, and request a token with the claims of WWW-Authenticate."
        return (
            f"{needs}: sign in again, and request a token with that context (claims request, acrs). The challenge "
            "itself is sent only to clients that declare the capability cp1."
        )

    return Requirement(
        "auth-context",
        lambda caller: context in caller.auth_contexts,
        context,
        lambda caller: caller.auth_contexts,
        advice,
        claims=claims_request.auth_context(context),
    )


def _one_of(name: str, found: Callable[[Caller], str], allowed: frozenset[str], advice: str) -> Requirement:
    """The requirement that a value of the caller is one of those allowed."""
    return Requirement(
        name,
        lambda caller: found(caller) in allowed,
        allowed,
        found,
        lambda caller: advice.replace("{found}", found(caller)),
    )


def default_scope(audience: str) -> str:
    """The scope to request from the v2 token endpoint. Built by appending, never by trimming: an audience that ends
    with a slash gives a double one, and Entra compares exactly (`https://service.flow.microsoft.com//.default`)."""
    return f"{audience}/.default"


def _context(name: str, auth_contexts: Mapping[str, str]) -> str:
    """The authentication context of this name."""
    found = auth_contexts.get(name)
    if found is None:
        known = ", ".join(sorted(auth_contexts)) or "no names"
        raise AccessFault(
            f"auth_context={name!r}: this is not a name in [auth_contexts] of postern.toml (it has {known}). Add a "
            f'line  {name} = "c1"  to [auth_contexts], with the id that the Entra admin center shows'
        )
    return found


def _name_meant(person: str, people: Mapping[str, str]) -> str:
    if meant := near(person, people):
        return f'Write {meant!r}, or add a line  {person} = "<object id>"  to [people]'
    if _LIKE_AN_ID.fullmatch(person):
        return "An object id has 32 hexadecimal digits in groups of 8, 4, 4, 4 and 12: copy it from Entra again"
    return f'Add a line  {person} = "<object id>"  to [people]'


def _listed(person: str, people: Mapping[str, str]) -> Listed:
    found = people.get(person, person).lower()
    if not GUID.fullmatch(found):
        known = ", ".join(sorted(people)) or "no names"
        raise AccessFault(
            f"specific_users({person!r}): this is neither a name in [people] of postern.toml (it has {known}) nor an "
            f"object id. {_name_meant(person, people)}"
        )
    return Listed(person if person in people else None, found)
