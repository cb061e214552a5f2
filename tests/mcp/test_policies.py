"""Whatever the policies of tools are, a caller sees those that admit it, and no other person's."""

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from postern import Context, anonymous, specific_users, tenant_users, workflow
from postern.access import ANYONE, Agent, Caller, Policy, SpecificUsers, bind, checks
from postern.catalog import Trigger
from postern.mcp.listing import shown_to
from postern.mcp.tools import McpTool, tools_of
from tests.examples import example_count

TENANTS = ("11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222")
PEOPLE = {
    name: f"{digit * 8}-aaaa-aaaa-aaaa-aaaaaaaaaaaa" for name, digit in (("lisa", "a"), ("ada", "b"), ("bot", "c"))
}
CLIENTS = ("dddddddd-dddd-dddd-dddd-dddddddddddd", "eeeeeeee-eeee-eeee-eeee-eeeeeeeeeeee")
AUDIENCES = ("api://postern", "https://flows.example.com/mcp")
NAMES = st.sets(st.sampled_from(["Clerk", "Run"]))

OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "clients": st.lists(st.sampled_from(CLIENTS), min_size=1, unique=True),
    "roles": st.lists(st.sampled_from(["Clerk", "Run"]), min_size=1, unique=True),
    "scopes": st.lists(st.sampled_from(["Clerk", "Run"]), min_size=1, unique=True),
    "guests": st.booleans(),
    "agents": st.booleans(),
}
GUARDED = st.fixed_dictionaries({}, optional=OPTIONS)
POLICIES = st.one_of(
    st.builds(anonymous),
    GUARDED.map(lambda options: tenant_users(**options)),
    st.tuples(st.sets(st.sampled_from(sorted(PEOPLE)), min_size=1), GUARDED).map(
        lambda found: specific_users(*sorted(found[0]), **found[1])
    ),
)
CALLERS = st.one_of(
    st.just(ANYONE),
    st.builds(
        Caller,
        kind=st.sampled_from(["user", "application"]),
        object_id=st.sampled_from(sorted(PEOPLE.values())),
        tenant_id=st.sampled_from(TENANTS),
        client_id=st.sampled_from(CLIENTS),
        audience=st.sampled_from(AUDIENCES),
        scopes=NAMES.map(frozenset),
        roles=NAMES.map(frozenset),
        guest=st.booleans(),
        agent=st.sampled_from([None, Agent(CLIENTS[0], "", "autonomous")]),
    ),
)


@workflow(tool=True)
async def greet(ctx: Context) -> str:
    """Greet."""
    return "Hello"


def policy_of(access: Any) -> Policy:
    return bind(access, people=PEOPLE, tenants=TENANTS[:1], audiences=AUDIENCES[:1])


def tool_of(policy: Policy) -> McpTool:
    [made] = tools_of({"greet": Trigger(greet, policy, Path("flows.py"))}).values()
    return made


@given(accesses=st.lists(POLICIES, max_size=8), caller=CALLERS)
@settings(max_examples=example_count(100))
def test_a_caller_sees_the_tools_that_admit_it_and_none_of_other_people(accesses: list[Any], caller: Caller):
    policies = [policy_of(access) for access in accesses]
    tools = [tool_of(policy) for policy in policies]
    shown = shown_to(tools, caller, {"type": "http"})
    assert shown == [
        tool
        for tool, policy in zip(tools, policies, strict=True)
        if all(each.passed for each in checks(policy, caller))
    ]
    for access, tool in zip(accesses, tools, strict=True):
        if isinstance(access, SpecificUsers) and any(tool is each for each in shown):
            assert caller.object_id in {PEOPLE[name] for name in access.people}
