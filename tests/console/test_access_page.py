"""`/console/access` and `GET /access`: the access review for operators."""

import csv
import io
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from postern.http_client import Response
from postern.local_tenant import LocalTenant
from tests.console.consoles import AT_HTTPS, Console, open_console

pytestmark = [pytest.mark.anyio, pytest.mark.process]

MODULE = """
from postern import anonymous, specific_users, tenant_users, workflow

@workflow(access=anonymous())
async def hello(ctx): ...

@workflow(access=anonymous())
async def leak(ctx): ...

@workflow(access=specific_users("lisa", "00000000-0000-4000-8000-000000000099"))
async def payroll(ctx): ...

@workflow(access=tenant_users(guests=False))
async def open_to_all(ctx): ...
"""


@pytest.fixture(scope="module")
async def console(local_tenant: LocalTenant, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    folder = tmp_path_factory.mktemp("access")
    (folder / "served.py").write_text(MODULE, encoding="utf-8")
    async with open_console(local_tenant, folder, AT_HTTPS, access={"anonymous": ["hello"]}) as opened:
        yield opened


def rows_of(page: str) -> list[str]:
    """The rows of the table, as texts."""
    body = page.split("<tbody>")[1].split("</tbody>", maxsplit=1)[0] if "<tbody>" in page else ""
    return [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in body.split("<tr>")[1:]]


async def ask(console: Console, path: str, who: str) -> Response:
    async with console.browser().client as client:
        return await client.get(path, headers={"Authorization": f"Bearer {console.local.token(who)}"})


async def test_an_operator_sees_who_may_call_what_with_names_of_the_directory_and_marks(console: Console):
    page = (await (await console.signed_in("ada")).get("/console/access")).text
    rows = rows_of(page)
    assert any(row.startswith("payroll Lisa Moreau person") for row in rows)
    assert any("000000000099" in row and row.endswith("unknown") for row in rows)
    assert any(row.startswith("leak Anyone") and row.endswith("anyone unexpected") for row in rows)
    assert any(row.startswith("operators Ada Okafor person") for row in rows)
    assert "<b>Anyone may call leak</b>" in page


@pytest.mark.parametrize(
    ("query", "workflows"),
    [
        ("?workflow=payroll", {"payroll"}),
        ("?mark=unexpected&text=&workflow=", {"leak"}),
        ("?text=MOREAU", {"payroll"}),
        ("?text=nobody+at+all", set()),
    ],
)
async def test_rows_are_filtered(console: Console, query: str, workflows: set[str]):
    browser = await console.signed_in("ada")
    page = (await browser.get(f"/console/access{query}")).text
    assert {row.split()[0] for row in rows_of(page)} == workflows
    found = await browser.get(f"/console/access.csv{query}")
    assert {row["workflow"] for row in csv.DictReader(io.StringIO(found.text))} == workflows


@pytest.mark.parametrize("query", ["?mark=odd", "?other=1", "?mark=guest&mark=guest", "?workflow=%ff"])
async def test_a_filter_that_there_is_not_is_an_error(console: Console, query: str):
    browser = await console.signed_in("ada")
    assert (await browser.get(f"/console/access{query}")).status_code == 400
    assert (await browser.get(f"/console/access.csv{query}")).status_code == 400
    assert (await ask(console, f"/access{query}", "ada")).status_code == 400


async def test_the_csv_is_a_file_to_save(console: Console):
    answer = await (await console.signed_in("ada")).get("/console/access.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="access.csv"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert len(answer.headers.get_list("content-type")) == 1


async def test_the_api_gives_operators_the_document_of_the_command(console: Console):
    found: dict[str, Any] = (await ask(console, "/access", "ada")).json()
    assert (found["version"], found["directory"], found["unexpected"]) == (1, "ok", ["leak"])
    chosen = (await ask(console, "/access?workflow=payroll&mark=unknown", "ada")).json()
    assert [row["object_id"] for row in chosen["rows"]] == ["00000000-0000-4000-8000-000000000099"]


async def test_nobody_else_sees_it(console: Console):
    lisa = await console.signed_in("lisa")
    assert (await lisa.get("/console/access")).status_code == 404
    assert (await lisa.get("/console/access.csv")).status_code == 404
    assert (await ask(console, "/access", "lisa")).status_code == 403
    assert (await console.browser().client.get("/access")).status_code == 401


async def test_a_caller_who_used_a_workflow_is_a_row_with_the_time(console: Console):
    assert (await console.browser().client.post("/triggers/hello")).is_success
    document = (await ask(console, "/access?workflow=hello", "ada")).json()
    assert document["rows"][0]["last_used_at"] is not None
