"""Which runs may act on behalf of their callers, and which workflows can have such runs."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.access import (
    ANYONE,
    Access,
    Caller,
    Principal,
    StartedBy,
    anonymous,
    bind,
    principal_of,
    specific_users,
    tenant_users,
)
from postern.connections.grants.reasons import REASONS
from postern.connections.on_behalf_of.rules import (
    NOT_ANONYMOUS,
    OTHER_TENANT,
    PEOPLE_ONLY,
    Application,
    wrong_with_run,
    wrong_with_workflow,
)
from tests.table import table

TENANT = "aaaaaaaa-0000-4000-8000-00000000000a"
OTHER = "bbbbbbbb-0000-4000-8000-00000000000b"
ID = "cccccccc-0000-4000-8000-00000000000c"
LISA = "dddddddd-0000-4000-8000-00000000000d"
ORDERS = "eeeeeeee-0000-4000-8000-00000000000e"

OWN = Application(TENANT, ID, ID, ("api://postern", ID))
PEOPLE = tenant_users(apps=False)


@table(
    ("application", "audience", "taken"),
    [
        (OWN, ID, True),
        (OWN, f"api://{ID}", True),
        (OWN, f"api://{ID}".upper().replace("API", "api"), True),
        (OWN, "api://postern", True),
        (OWN, "api://postern/", False),
        (OWN, "api://orders", False),
        (OWN, ORDERS, False),
        (Application(TENANT, ID, ID, (ORDERS, "api://postern")), ORDERS, False),
        (Application(TENANT, ID, ID, (f"api://{ORDERS}",)), f"api://{ORDERS}", False),
        (Application(TENANT, ORDERS, ID, ("api://postern", ORDERS)), ORDERS, True),
        (Application(TENANT, ORDERS, ID, ("api://postern",)), "api://postern", False),
        (Application(TENANT, ID, None, ("api://postern",)), "api://postern", True),
        (OWN, "", False),
        (OWN, "https://graph.microsoft.com", False),
    ],
)
def test_a_token_is_for_the_application_of_the_entry(application: Application, audience: str, taken: bool):
    assert application.takes(audience) is taken


def person(**changed: Any) -> Caller:
    return Caller(**{"kind": "user", "object_id": LISA, "tenant_id": TENANT, "audience": ID} | changed)


def of(caller: Caller, started_by: StartedBy = StartedBy.REQUEST, *, called: bool = False) -> Principal:
    return principal_of(caller, started_by, called=called)


@table("access", [PEOPLE, specific_users(LISA, apps=False), tenant_users(apps=False, guests=False)])
@table("caller", [person(), person(guest=True), person(audience="api://postern")])
def test_a_person_who_called_the_workflow_is_acted_for(access: Access, caller: Caller):
    assert wrong_with_run(access, caller, of(caller), OWN) is None


APPLICATION = person(kind="application")


@table(
    ("access", "caller", "principal", "reason", "text"),
    [
        (anonymous(), ANYONE, of(ANYONE), "", "anonymous"),
        (tenant_users(), APPLICATION, of(APPLICATION), "application", "is an application"),
        (PEOPLE, person(), of(person(), called=True), "called-by-run", "called by another run"),
        (PEOPLE, person(), of(person(), StartedBy.UNKNOWN), "no-person", "no person"),
        (None, person(), of(person(), StartedBy.SAME_AGAIN), "resubmitted", "resubmitted has none"),
        (PEOPLE, person(), of(person(), StartedBy.SAME_AGAIN), "resubmitted", "resubmitted has none"),
        (None, person(), of(person(), StartedBy.EDITED), "resubmitted", "resubmitted has none"),
        (None, person(), of(person(), StartedBy.ANOTHER), "resubmitted", "resubmitted has none"),
        (None, person(), of(person(), StartedBy.LOST), "resubmitted", "resubmitted has none"),
        (None, person(), of(person()), "resubmitted", "resubmitted has none"),
        (tenant_users(), person(), of(person()), "", "applications may call this workflow"),
        (PEOPLE, person(audience="api://orders"), of(person()), "", "the audience api://orders"),
        (PEOPLE, person(tenant_id=OTHER), of(person(tenant_id=OTHER)), "", "of another tenant"),
    ],
)
def test_other_runs_are_told_which_rule_it_is(
    access: Access | None, caller: Caller, principal: Principal, reason: str, text: str
):
    wrong = wrong_with_run(access, caller, principal, OWN)
    assert wrong is not None
    assert wrong.reason == reason
    assert not reason or reason in REASONS
    assert text in wrong.text
    assert wrong.fix.partition(":")[0] in ("Author", "Caller", "Operator")


@pytest.mark.parametrize("how", list(StartedBy))
def test_only_a_request_has_a_token(how: StartedBy):
    wrong = wrong_with_run(PEOPLE, person(), of(person(), how), OWN)
    assert (wrong is None) == (how is StartedBy.REQUEST)


@table(
    ("access", "expected"),
    [
        (anonymous(), NOT_ANONYMOUS),
        (tenant_users(), PEOPLE_ONLY),
        (specific_users(LISA), PEOPLE_ONLY),
        (PEOPLE, None),
        (specific_users(LISA, apps=False), None),
        (tenant_users(apps=False, audiences=["api://orders", f"api://{ID}"]), None),
        (tenant_users(apps=False, tenants=[OTHER]), OTHER_TENANT),
        (tenant_users(apps=False, tenants=[OTHER, TENANT]), None),
    ],
)
def test_a_workflow_that_names_such_a_connection_is_for_people(access: Access, expected: Any):
    policy = bind(access, people={}, tenants=[TENANT], audiences=["api://postern"], client_id=ID)
    assert wrong_with_workflow(access, policy, OWN) == expected


def test_a_workflow_for_other_audiences_says_which():
    access = tenant_users(apps=False, audiences=["api://orders"])
    policy = bind(access, people={}, tenants=[TENANT], audiences=["api://postern"], client_id=ID)
    wrong = wrong_with_workflow(access, policy, OWN)
    assert wrong is not None
    assert "api://orders" in wrong.text
    assert ID in wrong.fix


@given(
    apps=st.booleans(),
    kind=st.sampled_from(["user", "application", "anonymous"]),
    audience=st.sampled_from([ID, f"api://{ID}", "api://postern", "api://orders", ORDERS, ""]),
    tenant=st.sampled_from([TENANT, OTHER, ""]),
    how=st.sampled_from(list(StartedBy)),
    called=st.booleans(),
    held=st.booleans(),
)
def test_nothing_else_is_acted_for(
    apps: bool, kind: Any, audience: str, tenant: str, how: StartedBy, called: bool, held: bool
):
    caller = Caller(kind, LISA, tenant, audience=audience)
    access = tenant_users(apps=apps) if held else None
    allowed = wrong_with_run(access, caller, of(caller, how, called=called), OWN) is None
    assert allowed == (
        not apps
        and held
        and kind == "user"
        and audience in (ID, f"api://{ID}", "api://postern")
        and tenant == TENANT
        and how is StartedBy.REQUEST
        and not called
    )
