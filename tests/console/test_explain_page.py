"""The page that explains a token or a person. A token that is pasted is kept nowhere."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import MetaData
from structlog.testing import capture_logs

from postern.access import Check, bind, specific_users, tenant_users
from postern.assembly import create_identity, tenants
from postern.cli.local_callers import caller_here
from postern.console.check_rows import Outcome, rows_of, rows_of_person
from postern.console.check_words import CHECKS
from postern.console.explain import MOST_BYTES
from postern.identity.explained import ABOUT_SCOPES, OF_HEADERS, OF_ID_TOKENS, OF_TOKENS, explained, given_token
from postern.local_tenant import LocalTenant
from postern.triggers.challenge import UNSIGNED
from tests.console.operator_pages import Pages, open_pages
from tests.journal.recorded import TENANT

pytestmark = pytest.mark.slow

LISA = "c33a0e11-b6a6-4ce1-b2e0-e5fbe1e362d2"
NARROW = bind(
    tenant_users(scopes=["A"], roles=["B"], clients=[LISA], apps=False, guests=False),
    people={},
    tenants=[TENANT],
    audiences=["api://postern"],
)
LISTED = bind(specific_users(LISA, guests=False), people={}, tenants=[TENANT], audiences=["api://postern"])


def test_every_check_has_its_words():
    policies = [requirement.name for policy in (NARROW, LISTED) for requirement in policy.requirements]
    assert {*OF_HEADERS, *OF_TOKENS, *OF_ID_TOKENS, *policies, *UNSIGNED} <= CHECKS.keys()
    assert all(words.about and words.wrong and words.ask for words in CHECKS.values())
    assert not [text for words in CHECKS.values() for text in words if text.endswith(".")]


@pytest.fixture
async def pages(tmp_path: Path, local_tenant: LocalTenant, own_modules: None) -> AsyncIterator[Pages]:
    """The pages on a journal of their own."""
    async with open_pages(tmp_path, local_tenant) as pages:
        yield pages


EXPLAINED = [
    ("lisa", {}, "payroll", ""),
    ("ada", {}, "payroll", "listed"),
    ("lisa", {"expired": True}, "payroll", "expiry"),
    ("lisa", {"wrong_audience": True}, "payroll", "audience"),
    ("lisa", {"other_tenant": True}, "payroll", "known-tenant"),
    ("nightly-report", {}, "orders", "people-only"),
    ("ada", {}, "orders", "scope"),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("who", "options", "workflow", "failed"), EXPLAINED)
async def test_a_pasted_token_is_explained_check_by_check(
    pages: Pages, local_tenant: LocalTenant, who: str, options: dict[str, Any], workflow: str, failed: str
):
    """As `postern explain` does. The token is in no page, no line of the log and no row of the database."""
    token = local_tenant.token(who, **options)
    with capture_logs() as logs:
        page = await pages.post("/console/explain", workflow=workflow, token=f"  Bearer {token}\n")
    assert page.status_code == 200
    if failed:
        assert f"{workflow} rejects this caller with 401" in page.text
        assert f"The check {failed} is the first that fails" in page.text
        assert ("Scope to request:" in page.text) is (failed in ABOUT_SCOPES)
    else:
        assert f"{workflow} admits this caller" in page.text
        assert "first that fails" not in page.text
    stored = everything(pages)
    for part in token.split("."):
        assert part not in page.text + str(logs) + stored


def everything(pages: Pages) -> str:
    """All rows of all tables."""
    tables = MetaData()
    tables.reflect(pages.engine)
    with pages.engine.connect() as connection:
        return str([connection.execute(table.select()).all() for table in tables.sorted_tables])


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"workflow": "payroll", "token": ""}, "Paste the token"),
        ({"workflow": "hello", "token": "x"}, "hello is open to anyone"),
        ({"workflow": "<script>", "token": "x"}, "There is no workflow of this name now."),
        ({"workflow": "", "token": "x"}, "Choose a workflow."),
        ({"workflow": "payroll", "token": "no-token-at-all"}, "The check form is the first that fails"),
        ({"workflow": "payroll", "token": "<script>alert(1)</script>"}, "The check form is the first that fails"),
    ],
)
async def test_what_cannot_be_explained_is_said(pages: Pages, fields: dict[str, str], said: str):
    page = await pages.post("/console/explain", **fields)
    assert page.status_code == 200
    assert said in page.text
    assert "no-token-at-all" not in page.text
    assert "<script>a" not in page.text


@pytest.mark.anyio
async def test_a_form_that_is_too_large_or_no_form_is_rejected_without_its_content(pages: Pages):
    with capture_logs() as logs:
        large = await pages.post("/console/explain", workflow="payroll", token="x" * MOST_BYTES)
        json = await pages.client.post("/console/explain", json={"token": "marker"})
        broken = await pages.client.post(
            "/console/explain",
            content=b"token=%ff-marker",
            headers={"content-type": "application/x-www-form-urlencoded"},
        )
    assert [each.status_code for each in (large, json, broken)] == [413, 415, 400]
    assert "marker" not in large.text + json.text + broken.text + str(logs)


@pytest.mark.anyio
async def test_a_token_in_the_address_is_not_read(pages: Pages, local_tenant: LocalTenant):
    token = local_tenant.token("lisa")
    page = await pages.get(f"/console/explain?workflow=payroll&token={quote(token)}")
    assert token not in page.text
    assert "admits this caller" not in page.text


PEOPLE = [
    ("lisa", "payroll", "admits this caller, if the token has what it requires"),
    ("ada", "payroll", "payroll rejects this caller with 401"),
    ("lisa", "orders", "admits this caller, if the token has what it requires"),
    (LISA, "orders", "admits this caller, if the token has what it requires"),
    ("nobody", "payroll", "This is neither a name of [people] nor an object id."),
    ("<script>", "payroll", "This is neither a name of [people] nor an object id."),
    ("lisa", "hello", "hello is open to anyone"),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("person", "workflow", "said"), PEOPLE)
async def test_of_a_person_the_object_id_decides_and_the_rest_depends_on_the_token(
    pages: Pages, person: str, workflow: str, said: str
):
    page = await pages.get(f"/console/explain?workflow={workflow}&person={quote(person)}")
    assert said in page.text
    assert "<script>&" not in page.text
    assert 'value="<' not in page.text


@pytest.mark.anyio
@pytest.mark.parametrize(("person", "workflow", "admitted"), [("lisa", "payroll", True), ("lisa", "orders", False)])
async def test_the_local_tenant_knows_what_a_token_of_a_person_has(
    pages: Pages, local_tenant: LocalTenant, person: str, workflow: str, admitted: bool
):
    pages.change(local_caller=caller_here(local_tenant), local=True)
    page = await pages.get(f"/console/explain?workflow={workflow}&person={person}")
    assert (f"{workflow} admits this caller<" in page.text) is admitted
    assert "depends on the token" not in page.text


@pytest.mark.anyio
async def test_without_signing_keys_nothing_is_claimed_of_a_token(pages: Pages, local_tenant: LocalTenant):
    async def away() -> bytes:
        raise OSError("no route to host")

    identity = create_identity(pages.services.settings, lambda _: away)
    identity.serve(tenants(pages.services.settings, pages.catalog.snapshot))
    pages.change(explain=partial(explained, identity))
    page = await pages.post("/console/explain", workflow="payroll", token=local_tenant.token("lisa"))
    assert "The checks cannot be completed for payroll now" in page.text
    assert "signing keys are not available, so a request gets 503 now" in page.text
    assert "rejects this caller" not in page.text


@pytest.mark.anyio
async def test_a_token_in_the_field_of_the_person_is_not_shown(pages: Pages, local_tenant: LocalTenant):
    token = local_tenant.token("lisa")
    page = await pages.get(f"/console/explain?workflow=payroll&person={quote(token)}")
    assert "This looks like a token" in page.text
    assert token.split(".")[1] not in page.text


def test_only_what_the_object_id_decides_is_said_of_a_person():
    rows = {row.name: row.outcome for row in rows_of_person(LISTED, TENANT, LISA)}  # type: ignore[arg-type]
    assert rows == {
        "tenant-allowed": Outcome.PASSED,
        "audience": Outcome.DEPENDS,
        "no-guests": Outcome.DEPENDS,
        "listed": Outcome.PASSED,
    }


@given(st.lists(st.tuples(st.sampled_from([*OF_TOKENS, "newer-check"]), st.booleans()), unique_by=lambda each: each[0]))
def test_exactly_the_first_failed_check_is_marked_and_none_is_named_twice(made: list[tuple[str, bool]]):
    rows = rows_of([Check(name, passed) for name, passed in made], None)
    failed = [name for name, passed in made if not passed]
    assert [row.name for row in rows if row.outcome is Outcome.FAILED] == failed[:1]
    assert len({row.name for row in rows}) == len(rows)
    assert [row.name for row in rows][: len(made)] == [name for name, _ in made]


@given(st.text())
def test_a_token_is_taken_out_of_what_was_copied_with_it(text: str):
    token = given_token(text)
    assert token == token.strip()
    assert given_token(f" Bearer {token} ") == token or token == ""
