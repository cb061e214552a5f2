"""The access decisions, as tables: what an author writes, its policy here, and which callers are admitted."""

from dataclasses import replace
from typing import Any

import pytest

from postern.access import (
    ANYONE,
    Access,
    AccessFault,
    Agent,
    Anonymous,
    Caller,
    Guarded,
    Policy,
    Refused,
    SpecificUsers,
    admit,
    anonymous,
    bind,
    checks,
    default_scope,
    specific_users,
    tenant_users,
)
from postern.access.policy import Open
from tests.table import table

HOME = "11111111-1111-1111-1111-111111111111"
AWAY = "22222222-2222-2222-2222-222222222222"
LISA = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"
ADA = "bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb"
ROBOT = "cccccccc-cccc-cccc-cccc-cccccccccccc"
PORTAL = "dddddddd-dddd-dddd-dddd-dddddddddddd"
SCRIPT = "eeeeeeee-eeee-eeee-eeee-eeeeeeeeeeee"
AUDIENCE = "api://postern"

lisa = Caller("user", LISA, HOME, PORTAL, AUDIENCE, "Lisa", frozenset({"Run"}), frozenset({"Clerk"}))
ada = Caller("user", ADA, HOME, SCRIPT, AUDIENCE, "Ada", frozenset({"Read"}))
guest = replace(lisa, object_id="99999999-9999-9999-9999-999999999999", guest=True)
robot = Caller("application", ROBOT, HOME, PORTAL, AUDIENCE, roles=frozenset({"Clerk"}))
other_tenant = replace(lisa, tenant_id=AWAY)
other_audience = replace(lisa, audience="api://postern/")
loose_tenant: Any = tenant_users  # the tables of mistakes break their types on purpose
loose_users: Any = specific_users
CALLERS = (lisa, ada, guest, robot, other_tenant, other_audience, ANYONE)


def bound(access: Access) -> Policy:
    people = {"lisa": LISA.upper(), "typo": "lisa"}
    return bind(access, people=people, tenants=[HOME], audiences=[AUDIENCE], auth_contexts={"strong": "c1"})


def outcome(policy: Policy, caller: Caller) -> str:
    """`in`, or the name of the check that failed."""
    answers = checks(policy, caller)
    if all(check.passed for check in answers):
        admit(policy, caller)
        return "in"
    with pytest.raises(Refused) as caught:
        admit(policy, caller)
    assert caught.value.proved
    assert [check.passed for check in caught.value.checks] == [True] * (len(caught.value.checks) - 1) + [False]
    return caught.value.failed.name


TABLE = [
    # access mode                        lisa        ada         guest       robot          other tenant      audience
    (anonymous(), "in in in in in in in"),
    (tenant_users(), "in in in in tenant-allowed audience tenant-allowed"),
    (tenant_users(apps=False), "in in in people-only tenant-allowed audience tenant-allowed"),
    (tenant_users(guests=False), "in in no-guests in tenant-allowed audience tenant-allowed"),
    (tenant_users(clients=[PORTAL]), "in client in in tenant-allowed audience tenant-allowed"),
    (tenant_users(scopes=["Run"]), "in scope in scope tenant-allowed audience tenant-allowed"),
    (tenant_users(scopes=["Run", "Read"]), "in in in scope tenant-allowed audience tenant-allowed"),
    (tenant_users(roles=["Clerk"]), "in role in in tenant-allowed audience tenant-allowed"),
    (tenant_users(scopes=["Run"], roles=["Clerk"]), "in scope in in tenant-allowed audience tenant-allowed"),
    (tenant_users(scopes=["Read"], roles=["Clerk"]), "scope role scope in tenant-allowed audience tenant-allowed"),
    (tenant_users(tenants=[AWAY]), " ".join(["tenant-allowed"] * 4 + ["in"] + ["tenant-allowed"] * 2)),
    (
        tenant_users(audiences=["api://postern/"]),
        "audience audience audience audience tenant-allowed in tenant-allowed",
    ),
    (specific_users("lisa"), "in listed listed listed tenant-allowed audience tenant-allowed"),
    (specific_users(ADA.upper()), "listed in listed listed tenant-allowed audience tenant-allowed"),
    (specific_users("lisa", ROBOT), "in listed listed in tenant-allowed audience tenant-allowed"),
    (specific_users("lisa", ROBOT, apps=False), "in listed listed people-only tenant-allowed audience tenant-allowed"),
    (specific_users("lisa", scopes=["Read"]), "scope listed scope scope tenant-allowed audience tenant-allowed"),
]


@table(("access", "expected"), TABLE, ids=lambda value: repr(value)[:60])
def test_each_mode_admits_exactly_these(access: Any, expected: Any) -> None:
    """Columns: lisa, ada, a guest, an application, another tenant, another audience, an unlisted user."""
    policy = bound(access)

    assert [outcome(policy, caller) for caller in CALLERS] == expected.split()


@table(
    ("access", "kind", "blueprint", "expected"),
    [
        (tenant_users(), "on-behalf-of-user", SCRIPT, "in"),
        (tenant_users(agents=False), None, "", "in"),
        (tenant_users(agents=False), "on-behalf-of-user", "", "no-agents"),
        (tenant_users(agents=False), "agent-user", "", "no-agents"),
        (tenant_users(agents=False), "autonomous", SCRIPT, "no-agents"),
        (specific_users("lisa", agents=False), "on-behalf-of-user", "", "no-agents"),
        (specific_users("lisa", agents=False), None, "", "in"),
        (specific_users("lisa"), "agent-user", "", "in"),
        # An agent is named by its own client id, never by the blueprint that it has in common with others.
        (tenant_users(clients=[PORTAL]), "autonomous", SCRIPT, "in"),
        (tenant_users(clients=[SCRIPT]), "autonomous", SCRIPT, "client"),
        (specific_users(SCRIPT), "autonomous", SCRIPT, "listed"),
    ],
)
def test_agents_are_kept_out_by_agents_false_and_by_no_blueprint(
    access: Any, kind: Any, blueprint: Any, expected: Any
) -> None:
    caller = lisa if kind is None else replace(lisa, agent=Agent(PORTAL, blueprint, kind))

    assert outcome(bound(access), caller) == expected


STRONG = tenant_users(auth_context="strong")
LISA_ONLY = specific_users("lisa", auth_context="strong")


@table(
    ("access", "caller", "contexts", "capabilities", "expected"),
    [
        (STRONG, lisa, {"c1"}, set(), "in"),
        (STRONG, lisa, {"c2", "c1"}, set(), "in"),
        (STRONG, lisa, {"C1"}, set(), "auth-context"),
        (STRONG, lisa, {"c11", "strong"}, set(), "auth-context"),
        (STRONG, lisa, set(), set(), "auth-context"),
        (STRONG, lisa, set(), {"cp1"}, "auth-context with a challenge"),
        (STRONG, robot, set(), {"cp1"}, "auth-context"),
        (LISA_ONLY, lisa, {"c1"}, {"cp1"}, "in"),
        (LISA_ONLY, lisa, set(), {"cp1"}, "auth-context with a challenge"),
        (LISA_ONLY, ada, set(), {"cp1"}, "listed"),  # another sign-in would not help ada
        (LISA_ONLY, ada, {"c1"}, {"cp1"}, "listed"),
    ],
)
def test_an_authentication_context_is_required_of_the_sign_in(
    access: Any, caller: Any, contexts: Any, capabilities: Any, expected: Any
) -> None:
    """Only a caller who may use the trigger otherwise is challenged, if the client handles challenges."""
    policy = bound(access)
    with_claims = replace(caller, auth_contexts=frozenset(contexts), capabilities=frozenset(capabilities))

    found = outcome(policy, with_claims)
    if found != "in":
        with pytest.raises(Refused) as caught:
            admit(policy, with_claims)
        found += " with a challenge" if caught.value.claims else ""

    assert found == expected


@pytest.mark.parametrize(
    ("caller", "says"),
    [
        (lisa, "only to clients that declare the capability cp1"),
        (replace(lisa, capabilities=frozenset({"cp1"})), "with the claims of WWW-Authenticate"),
        (robot, "Only tokens of people"),
    ],
)
def test_the_advice_says_how_to_meet_the_authentication_context(caller: Any, says: Any) -> None:
    with pytest.raises(Refused) as caught:
        admit(bound(STRONG), caller)

    assert says in caught.value.failed.advice


@table(
    ("write", "says"),
    [
        (lambda: loose_users(), "has no names"),
        (lambda: loose_users(""), "not ''"),
        (lambda: loose_users("  "), "not '  '"),
        (lambda: loose_users(None), "not None"),
        (lambda: loose_users(["lisa"]), "not ['lisa']"),
        (lambda: loose_users("lisa", "lisa@contoso.com"), "e-mail"),
        (lambda: loose_tenant(scopes="Run"), 'scopes=["Run"]'),
        (lambda: loose_tenant(scopes=[]), "is empty"),
        (lambda: loose_tenant(roles=iter(())), "is empty"),
        (lambda: loose_users("lisa", clients=set()), "is empty"),
        (lambda: loose_tenant(audiences=()), "is empty"),
        (lambda: loose_tenant(tenants=[]), "is empty"),
        (lambda: loose_tenant(roles=7), "takes a list"),
        (lambda: loose_tenant(roles=[""]), "without spaces"),
        (lambda: loose_tenant(roles=[" Clerk"]), "without spaces"),
        (lambda: loose_tenant(scopes=["Run Read"]), "without spaces"),
        (lambda: loose_tenant(audiences=[7]), "without spaces"),
        (lambda: loose_tenant(audiences=["api://x/.default"]), "is a scope"),
        (lambda: loose_users("lisa", audiences=["api://x/user_impersonation"]), "Write api://x"),
        (lambda: loose_tenant(audiences=["'api://x'"]), "has quotes"),
        (lambda: loose_tenant(clients=["portal"]), "takes ids"),
        (lambda: loose_tenant(tenants=["contoso.com"]), "takes ids"),
        (lambda: loose_tenant(tenants=[HOME + "\n"]), "without spaces"),
        (lambda: loose_tenant(apps="no"), "True or False"),
        (lambda: loose_users("lisa", guests=0), "True or False"),
        (lambda: loose_users("lisa", agents=None), "True or False"),
        (lambda: loose_tenant(auth_context=""), "give one name"),
        (lambda: loose_tenant(auth_context=["strong"]), "give one name"),
        (lambda: loose_users("lisa", auth_context=" strong"), "give one name"),
    ],
)
def test_an_invalid_access_mode_is_a_fault_with_the_reason(write: Any, says: Any) -> None:
    """An access mode that is malformed, or that would allow more than the author means, is an error."""
    with pytest.raises(AccessFault) as caught:
        write()

    assert says in str(caught.value)


@table(
    ("access", "tenants", "audiences", "says"),
    [
        (tenant_users(), [], [AUDIENCE], "POSTERN_TENANT_ID"),
        (tenant_users(), [HOME], [], "POSTERN_AUDIENCE"),
        (specific_users("lisa"), [], [], "POSTERN_TENANT_ID"),
        (specific_users("lena"), [HOME], [AUDIENCE], "it has lisa, typo"),
        (specific_users("typo"), [HOME], [AUDIENCE], "[people]"),
        (specific_users("lisa", ADA[:-1]), [HOME], [AUDIENCE], "nor an object id"),
        (specific_users("Lisa"), [HOME], [AUDIENCE], "neither a name"),
        (tenant_users(auth_context="strong"), [HOME], [AUDIENCE], "it has no names"),
        (specific_users("lisa", auth_context="c1"), [HOME], [AUDIENCE], "not a name in [auth_contexts]"),
    ],
)
def test_binding_fails_where_this_installation_cannot_serve_it(
    access: Any, tenants: Any, audiences: Any, says: Any
) -> None:
    """An unknown name, or a tenant or audience that is not set, is a fault and never allows access."""
    with pytest.raises(AccessFault) as caught:
        bind(access, people={"lisa": LISA, "typo": "lisa"}, tenants=tenants, audiences=audiences)

    assert says in str(caught.value)


def test_anonymous_needs_neither_tenant_nor_audience() -> None:
    """A laptop with nothing configured can serve anonymous workflows."""
    policy = bind(anonymous(), people={}, tenants=[], audiences=[])

    assert isinstance(policy, Open)
    assert policy.mode == Anonymous.mode == "anonymous"


def test_ids_are_bound_in_lower_case() -> None:
    """Object ids, client ids and tenants are compared in lower case, as callers have them."""
    policy = bound(specific_users(ADA.upper(), "lisa", clients=[PORTAL.upper()], tenants=[AWAY.upper()]))

    assert isinstance(policy, Guarded)
    expected = {requirement.name: requirement.expected for requirement in policy.requirements}
    assert (expected["listed"], expected["client"]) == (frozenset({ADA, LISA}), frozenset({PORTAL}))
    assert policy.tenants == frozenset({AWAY})


def test_an_empty_list_made_by_hand_admits_no_caller() -> None:
    """A SpecificUsers that went past specific_users() stays closed."""
    assert outcome(bound(SpecificUsers()), lisa) == "listed"


def test_the_name_of_a_caller_never_lets_in() -> None:
    """Authorization is by object id: a caller may call themselves what they like."""
    assert outcome(bound(specific_users("lisa")), replace(ada, name="lisa")) == "listed"


def test_the_scope_to_request_keeps_the_slash_of_the_audience() -> None:
    """Power Automate's audience ends with a slash, so its scope has two."""
    assert default_scope("https://service.flow.microsoft.com/") == "https://service.flow.microsoft.com//.default"
    with pytest.raises(Refused) as caught:
        admit(bound(tenant_users(audiences=["https://service.flow.microsoft.com/"])), lisa)
    assert "https://service.flow.microsoft.com//.default" in caught.value.failed.advice


def test_a_policy_says_whom_its_list_names_for_operators() -> None:
    policy = bound(specific_users("lisa", ADA.upper()))
    assert policy.people == (("lisa", LISA), (None, ADA))
    assert [bound(access).people for access in (anonymous(), tenant_users())] == [None, None]
