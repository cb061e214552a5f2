"""The pages of workflows: access in words, faulty files, failures, how to call one."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from postern import Context, workflow
from postern.access import OPEN, Access, Guarded, anonymous, bind, specific_users, tenant_users
from postern.catalog import Trigger
from postern.catalog.snapshot import Fault, Snapshot
from postern.console.access_words import access_words
from postern.console.workflow_view import workflow_page
from postern.local_tenant import LocalTenant
from tests.console.operator_pages import Pages, open_pages
from tests.journal.recorded import NOON, TENANT, id_number, put, run_row
from tests.table import table

pytestmark = pytest.mark.slow

LISA = "c33a0e11-b6a6-4ce1-b2e0-e5fbe1e362d2"
GIL = "00000000-0000-0000-0000-00000000000b"
CLIENT = "99999999-9999-9999-9999-999999999999"
OTHER = "11111111-1111-1111-1111-111111111111"

PEOPLE = [f"p{number}" for number in range(7)]

WORDS: list[tuple[Access, str, list[str]]] = [
    (anonymous(), "Anyone, without a token", []),
    (tenant_users(), "Any person, guest or application of the tenant", []),
    (tenant_users(apps=False), "Any person or guest of the tenant, no applications", []),
    (tenant_users(guests=False), "Any person or application of the tenant, no guests", []),
    (tenant_users(apps=False, guests=False), "Any person of the tenant, no guests and no applications", []),
    (
        tenant_users(scopes=["A", "B"]),
        "Any person, guest or application of the tenant",
        ["the token has the scope A or B"],
    ),
    (
        tenant_users(scopes=["A"], roles=["Clerk"]),
        "Any person, guest or application of the tenant",
        ["the token has the scope A, which applications do not need", "the caller has the app role Clerk"],
    ),
    (
        tenant_users(scopes=["A"], roles=["Clerk"], apps=False),
        "Any person or guest of the tenant, no applications",
        ["the token has the scope A", "the caller has the app role Clerk"],
    ),
    (
        tenant_users(clients=[CLIENT]),
        "Any person, guest or application of the tenant",
        [f"the token was requested by the application {CLIENT}"],
    ),
    (
        tenant_users(audiences=["api://other"], tenants=[OTHER]),
        "Any person, guest or application of the tenant",
        ["the token is for api://other", f"the caller is of the tenant {OTHER}, which replaces the server's own"],
    ),
    (specific_users("lisa"), "Only lisa", []),
    (
        specific_users("lisa", auth_context="strong"),
        "Only lisa",
        ["the sign-in met the authentication context strong"],
    ),
    (specific_users("lisa", GIL), f"Only lisa and {GIL}", []),
    (specific_users(*PEOPLE), "Only p0, p1, p2, p3, p4 and 2 others", []),
    (
        specific_users("lisa", apps=False, guests=False),
        "Only lisa",
        ["the caller is no application", "the caller is no guest"],
    ),
]


@table(("access", "who", "conditions"), WORDS)
def test_access_in_words(access: Access, who: str, conditions: list[str]):
    people = {"lisa": LISA, **dict.fromkeys(PEOPLE, GIL)}
    contexts = {"strong": "c1"}
    policy = bind(access, people=people, tenants=[TENANT], audiences=["api://postern"], auth_contexts=contexts)
    words = access_words(access, policy)
    assert (words.who, list(words.conditions)) == (who, conditions)
    assert words.anyone is not isinstance(policy, Guarded)
    if "lisa" in who:
        assert words.people[0] == ("lisa", LISA)


def test_the_networks_and_origins_of_a_workflow_are_shown_as_options():
    @workflow(access=anonymous(), networks=["10.0.0.0/8", "2001:db8::/32"], origins=["https://app.example"])
    async def door(ctx: Context) -> None: ...

    @workflow(access=anonymous(), origins=["*"])
    async def anywhere(ctx: Context) -> None: ...

    shown = dict(workflow_page(Trigger(door, OPEN, Path("door.py"))).options)
    assert (shown["Networks"], shown["Pages of other origins"]) == ("10.0.0.0/8, 2001:db8::/32", "https://app.example")
    shown = dict(workflow_page(Trigger(anywhere, OPEN, Path("door.py"))).options)
    assert (shown.get("Networks"), shown["Pages of other origins"]) == (None, "any")


def test_the_next_times_of_a_schedule_are_shown_as_options():
    @workflow(schedule="0 7 * * MON-FRI", timezone="Europe/Madrid", missed="once", on_failure="notify-me")
    async def report(ctx: Context) -> None: ...

    now = datetime(2027, 3, 26, 12, tzinfo=UTC).timestamp()  # a Friday
    shown = dict(workflow_page(Trigger(report, OPEN, Path("report.py")), now).options)
    assert shown["Schedule"] == "0 7 * * MON-FRI in Europe/Madrid, missed times start one run"
    assert shown["Next times"] == "2027-03-29 07:00 CEST, 2027-03-30 07:00 CEST, 2027-03-31 07:00 CEST"
    assert shown["After a failure"] == "notify-me is started"


def test_the_tools_that_agents_have_of_a_workflow_are_an_option():
    @workflow(tool=True, methods=["GET", "PUT"])
    async def report(ctx: Context) -> None:
        """Report."""

    shown = dict(workflow_page(Trigger(report, OPEN, Path("report.py"))).options)
    assert shown["Tool for agents"] == "get-report, put-report"


@pytest.fixture
async def pages(tmp_path: Path, local_tenant: LocalTenant, own_modules: None) -> AsyncIterator[Pages]:
    """The pages on a journal of their own."""
    async with open_pages(tmp_path, local_tenant) as pages:
        yield pages


@pytest.mark.anyio
async def test_the_list_marks_what_is_open_to_anyone_and_shows_faulty_files(pages: Pages):
    page = await pages.get("/console/workflows")
    rows = {row.split("</a>")[0].rpartition(">")[2]: row for row in page.text.split("<tr>")[2:]}
    assert list(rows) == ["hello", "orders", "payroll"]
    assert [name for name, row in rows.items() if "open to anyone" in row] == ["hello"]
    assert "Only lisa" in rows["payroll"]
    assert "faulty.py:1" in page.text
    assert "<b>Fix:</b> Correct the error at this line." in page.text
    assert "Nothing of this file is served." in page.text
    assert "<img" not in page.text
    assert "<script>alert" not in page.text


@pytest.mark.anyio
async def test_failures_of_a_day_are_counted_and_lead_to_the_newest(pages: Pages):
    pages.change(now=lambda: NOON + 3600)
    with pages.engine.begin() as connection:
        put(
            connection,
            run_row(1, workflow="payroll", state="Failed", error_type="ValueError"),
            run_row(2, workflow="payroll", state="TimedOut", error_type="TimedOut"),
            run_row(3, workflow="payroll"),
            run_row(4, workflow="orders", state="Cancelled"),
            run_row(-90_000, workflow="orders", state="Failed"),
        )
    page = await pages.get("/console/workflows")
    assert f'<a href="/console/runs/{id_number(2)}"><span class="hidden">Newest of </span>2</a>' in page.text
    assert page.text.count('<span class="soft">0</span>') == 2
    one = await pages.get("/console/workflows/payroll")
    assert "2 failed in 24 h, last with TimedOut" in one.text
    assert [one.text.index(id_number(number)) for number in (3, 2, 1)] == sorted(
        one.text.index(id_number(number)) for number in (3, 2, 1)
    )


@pytest.mark.anyio
async def test_the_last_runs_are_shown_as_the_list_of_runs_shows_them(pages: Pages):
    named = {"object_id": LISA, "caller_name": "Lisa \N{RIGHT-TO-LEFT OVERRIDE}admin"}
    failed = {"state": "Failed", "error_type": "ValueError", "error_message": "no such \x1b[2Jroom"}
    with pages.engine.begin() as connection:
        put(connection, run_row(1, workflow="payroll", **named, **failed), run_row(2, workflow="payroll"))
    page = (await pages.get("/console/workflows/payroll")).text
    assert "Lisa \\u202eadmin" in page
    assert "ValueError: no such \\x1b[2Jroom" in page
    assert '<td class="wide">anonymous</td>' in page
    assert '<td class="num">250 ms</td>' in page


@pytest.mark.anyio
async def test_a_workflow_shows_how_to_call_it_and_who_may(pages: Pages):
    page = await pages.get("/console/workflows/payroll")
    assert "curl -X POST &#39;https://postern.example/triggers/payroll&#39;" in page.text
    assert "Authorization: Bearer $TOKEN" in page.text
    assert "<dt>lisa</dt><dd><code>" in page.text
    assert '<code>number</code> <span class="soft">required</span>' in page.text
    assert "examples.py:" in page.text
    assert "declared: it can use no others" in page.text
    assert '<code>gone</code> <span class="badge">not in postern.toml</span>' in page.text
    again = await pages.get("/console/workflows/payroll")
    assert again.text == page.text
    other = await pages.get("/console/workflows/orders")
    assert "<code>order-key</code>" in other.text
    assert "seen in its code" in other.text
    assert "declared" not in other.text


@pytest.mark.anyio
async def test_in_the_local_tenant_the_command_has_its_own_token(pages: Pages):
    pages.change(token_command=lambda trigger: f"postern token --as {trigger.workflow.name}")
    assert "Bearer $(postern token --as orders)" in (await pages.get("/console/workflows/orders")).text


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["nothing", "%3Cscript%3E", "Payroll"])
async def test_a_workflow_that_is_not_served_is_not_found(pages: Pages, name: str):
    page = await pages.get(f"/console/workflows/{name}")
    assert page.status_code == 404
    assert "script" not in page.text


@pytest.mark.anyio
async def test_many_workflows_are_shown_by_fifty_and_filtered_by_name(pages: Pages):
    trigger = pages.catalog.snapshot.triggers["payroll"]

    def named(number: int) -> Any:
        return replace(trigger, workflow=replace(trigger.workflow, name=f"work-{number:03}"))

    many = {f"work-{number:03}": named(number) for number in range(120)}
    pages.change(snapshot=lambda: Snapshot(many, ()))
    first = await pages.get("/console/workflows")
    assert len(first.content) < 60 * 1024
    assert first.text.count("<tr>") == 51
    assert 'href="/console/workflows?after=work-049"' in first.text
    second = await pages.get("/console/workflows?after=work-049")
    assert "work-050" in second.text
    assert "work-048" not in second.text
    assert len((await pages.get("/console/refusals")).content) < 60 * 1024
    explain = await pages.get("/console/explain?workflow=work-110")
    assert len(explain.content) < 60 * 1024
    assert explain.text.count('value="work-110"') == 2
    some = await pages.get("/console/workflows?name=K-11")
    assert some.text.count("<tr>") == 11
    assert "No workflow matches" in (await pages.get("/console/workflows?name=zzz")).text


@pytest.mark.anyio
async def test_a_token_in_the_cause_of_a_fault_is_not_shown(pages: Pages, local_tenant: LocalTenant):
    token = local_tenant.token("lisa")
    fault = Fault(Path("a.py"), 3, f"ValueError: {token}", "Correct it.", ("payroll",))
    pages.change(snapshot=lambda: Snapshot(pages.catalog.snapshot.triggers, (fault,)))
    for path in ("/console/workflows", "/console/workflows/payroll"):
        page = await pages.get(path)
        assert "The last version that worked still serves payroll." in page.text
        assert token not in page.text
