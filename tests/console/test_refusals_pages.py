"""The pages of refusals: every check of a rejected request, and a list that is filtered and read page by page."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import insert
from structlog.testing import capture_logs

from postern.identity.explained import OF_ID_TOKENS, OF_TOKENS
from postern.ids import new_id
from postern.journal.reading import queries
from postern.journal.schema import refusals
from postern.local_tenant import LocalTenant
from tests.console.operator_pages import Pages, open_pages
from tests.journal.recorded import NOON, id_number, refusal_at

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

XSS = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
MOST_BYTES = 60 * 1024


@pytest.fixture
async def pages(tmp_path: Path, local_tenant: LocalTenant, own_modules: None) -> AsyncIterator[Pages]:
    """The pages on a journal of their own."""
    async with open_pages(tmp_path, local_tenant) as pages:
        yield pages


def row(number: int, **more: object) -> dict[str, object]:
    """The row of a refusal `number` seconds after NOON."""
    made = {"reason": "expiry", "last_at": NOON + number + 1, "count": 2, "request_ids": id_number(number)}
    return refusal_at(number, number, **{"id": id_number(number), **made, **more})


def put(pages: Pages, *rows: dict[str, object]) -> None:
    with pages.engine.begin() as connection:
        connection.execute(insert(refusals), list(rows))


NOT_MADE = ["revoked", "tenant-allowed", "audience", "listed"]
REJECTED = [
    ("not on the list", "ada", {}, "listed", True, []),
    ("expired", "lisa", {"expired": True}, "expiry", True, NOT_MADE),
    ("another tenant", "lisa", {"other_tenant": True}, "known-tenant", False, NOT_MADE),
    ("another audience", "lisa", {"wrong_audience": True}, "audience", True, []),
]


@pytest.mark.parametrize(("who", "options", "failed", "verified", "left"), [r[1:] for r in REJECTED])
async def test_a_refusal_shows_every_check_in_order(
    pages: Pages,
    local_tenant: LocalTenant,
    who: str,
    options: dict[str, Any],
    failed: str,
    verified: bool,
    left: list[str],
):
    """Passed and failed ones, then those that were not made; what was expected, what was found, and what to ask for.
    Who the token names is marked as unverified if no tenant of ours signed it."""
    token = local_tenant.token(who, **options)
    with capture_logs() as logs:
        request_id = await pages.refuse("payroll", token)
        page = await pages.get(f"/console/refusals/{request_id}")
    assert page.status_code == 200
    assert f"The check {failed} is the first that fails" in page.text
    assert "What to ask for:" in page.text
    assert ("unverified" in page.text) is not verified
    outcomes = re.findall(r"</svg>\s*<span>(passed|failed|also failed|not made)</span>", page.text)
    assert outcomes.count("failed") == 1
    assert outcomes.count("not made") == len(left)
    assert outcomes == sorted(outcomes, key=lambda state: state == "not made")
    for name in left:
        assert page.text.index(f'<code class="soft">{name}</code>') > page.text.index("not made")
    assert token.split(".")[2] not in page.text + str(logs)
    assert token.split(".")[1] not in page.text + str(logs)


async def test_without_a_token_no_further_check_was_made(pages: Pages):
    page = await pages.get(f"/console/refusals/{await pages.refuse('payroll', None)}")
    assert "The check credentials is the first that fails" in page.text
    assert page.text.count("not made") == len(OF_TOKENS) + 3
    assert "None: no token came that can be read." in page.text


async def test_any_request_of_a_row_leads_to_its_record(pages: Pages):
    first, second = id_number(1), id_number(2)
    put(pages, row(1, request_ids=f"{first} {second}"))
    page = await pages.get(f"/console/refusals/{second}")
    assert f"This record includes the request <code>{second}</code>" in page.text
    assert (await pages.get(f"/console/refusals/{first}")).status_code == 200


@pytest.mark.parametrize("request_id", [id_number(99), "nothing", quote(XSS, safe="")])
async def test_what_is_not_recorded_is_not_found(pages: Pages, request_id: str):
    page = await pages.get(f"/console/refusals/{request_id}")
    assert page.status_code == 404
    assert "alert" not in page.text


async def test_a_request_by_mcp_shows_its_client_and_agent_and_leads_to_the_others(pages: Pages):
    agent = '{"client_id": "c1", "blueprint": "b1", "kind": "autonomous"}'
    claimed = f'{{"object_id": "o1", "verified": true, "agent": {agent}}}'
    client = json.dumps({"name": XSS, "version": "1.2"})
    put(pages, row(1, via="mcp", via_client=client, claimed=claimed), row(2, via=None, via_client=None, claimed=None))
    page = await pages.get(f"/console/refusals/{id_number(1)}")
    for text in ("1.2 (unverified", "acts as itself", "c1", "b1", 'href="/console/refusals?via=mcp"'):
        assert text in page.text
    assert "<script>alert" not in page.text
    listed = await pages.get("/console/refusals?via=mcp")
    assert (id_number(1) in listed.text, id_number(2) in listed.text) == (True, False)


async def test_texts_of_others_are_shown_as_text(pages: Pages):
    claimed = '{"name": "NAME", "object_id": "NAME", "verified": false}'.replace("NAME", XSS.replace('"', '\\"'))
    check = f'[{{"name": "listed", "passed": false, "expected": "{XSS[:25]}", "found": "{XSS[:25]}"}}]'
    put(pages, row(1, reason=XSS, workflow=XSS, client_address=XSS, claimed=claimed, checks=check))
    for path in ("/console/refusals", f"/console/refusals/{id_number(1)}"):
        page = await pages.get(path)
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "<img" not in page.text
        assert "&lt;script&gt;" in page.text


async def test_a_token_in_a_record_is_not_shown(pages: Pages, local_tenant: LocalTenant):
    """Records leave tokens out; a page does so too, for what another release wrote."""
    token = local_tenant.token("lisa")
    put(pages, row(1, checks=f'[{{"name": "audience", "passed": false, "expected": "x", "found": "{token}"}}]'))
    assert token not in (await pages.get(f"/console/refusals/{id_number(1)}")).text


async def test_the_list_is_read_page_by_page_and_rows_never_jump(pages: Pages):
    claimed = json.dumps({"name": "☃" * 100, "verified": False})
    put(pages, *(row(number, claimed=claimed, client_address="2001:db8:" * 5) for number in range(120)))
    first = await pages.get("/console/refusals")
    assert first.text.count("<tr>") == 51
    assert "50 refusals, and older ones" in first.text
    assert len(first.content) < MOST_BYTES
    put(pages, row(500))
    second = await pages.get(link(first.text, "next"))
    third = await pages.get(link(second.text, "next"))
    assert [page.text.count("<tr>") - 1 for page in (second, third)] == [50, 20]
    assert "older ones" not in third.text
    ids = [part.split('"')[0] for page in (first, second, third) for part in page.text.split("/console/refusals/")[1:]]
    assert ids == [id_number(number) for number in reversed(range(120))]


def link(text: str, rel: str) -> str:
    """The address of the link with this relation."""
    return text.split(f'rel="{rel}" href="')[1].partition('"')[0].replace("&amp;", "&")


FILTERS = [
    ("", [3, 2, 1]),
    ("?workflow=&reason=&address=&since=&request_id=", [3, 2, 1]),
    ("?reason=listed", [2]),
    ("?workflow=orders", [3]),
    ("?address=192.0.2.9", [3]),
    (f"?request_id={id_number(2)}", [2]),
    ("?since=1h", []),
    ("?since=2026-01-01T12:00:03Z", [3, 2]),
]


@pytest.mark.parametrize(("query", "numbers"), FILTERS)
async def test_filters(pages: Pages, query: str, numbers: list[int]):
    put(pages, row(1), row(2, reason="listed"), row(3, workflow="orders", client_address="192.0.2.9"))
    page = await pages.get(f"/console/refusals{query}")
    assert page.status_code == 200
    assert [id_number(number) in page.text.split("<tbody>")[-1] for number in (3, 2, 1)] == [
        number in numbers for number in (3, 2, 1)
    ]


async def test_a_filter_is_a_chip_that_drops_it(pages: Pages):
    put(pages, row(1))
    page = await pages.get("/console/refusals?workflow=payroll&reason=expiry")
    assert 'href="/console/refusals?workflow=payroll" aria-label="Drop the filter reason expiry"' in page.text


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?workflow=orders", "Without <b>workflow orders</b> there are some."),
        ("?workflow=payroll&reason=listed", "Without <b>reason listed</b> there are some."),
        ("?workflow=orders&reason=listed", "No single filter is the reason."),
    ],
)
async def test_an_empty_list_names_the_filter_that_excludes_everything(pages: Pages, query: str, said: str):
    put(pages, row(1))
    assert said in (await pages.get(f"/console/refusals{query}")).text


@pytest.mark.parametrize("query", ["?what=x", "?since=yesterday", "?cursor=abc", "?request_id=%00", "?workflow=%ff"])
async def test_a_filter_that_is_wrong_is_named_without_its_value(pages: Pages, query: str):
    page = await pages.get(f"/console/refusals{query}")
    assert page.status_code == 400
    assert query.partition("=")[2] not in page.json()["detail"] or query == "?what=x"


async def test_a_short_page_is_read_on_and_then_says_how_far_back(pages: Pages, monkeypatch: pytest.MonkeyPatch):
    """The journal looks at a bounded number of rows for a page, and the console at five such pages."""
    monkeypatch.setattr(queries, "MOST_CANDIDATES", 32)
    put(pages, row(0, reason="listed"), row(270, reason="listed"), *(row(number) for number in range(1, 270)))
    page = await pages.get("/console/refusals?reason=listed")
    assert "1 refusal, and older ones" in page.text
    assert "Looked back to <time" in page.text
    last = await pages.get(link(page.text, "next"))
    assert "1 refusal<" in last.text
    assert "Looked back" not in last.text


async def test_a_page_says_that_nothing_was_rejected(pages: Pages):
    assert "No request was rejected" in (await pages.get("/console/refusals")).text
    assert new_id() not in pages.seen[0]


async def test_a_rejected_sign_in_shows_the_checks_of_an_id_token(pages: Pages):
    """What was not made after them are rules of ID tokens, not of access tokens, and no workflow's."""
    made = [{"name": name, "passed": name != "nonce"} for name in OF_ID_TOKENS[: OF_ID_TOKENS.index("nonce") + 1]]
    put(pages, row(1, reason="nonce", code="sign-in-refused", status=403, workflow="", checks=json.dumps(made)))
    page = await pages.get(f"/console/refusals/{id_number(1)}")
    assert "The check nonce is the first that fails" in page.text
    left = re.findall(
        r"not made</span></span></td>\s*<td class=\"what\">[^<]*<code class=\"soft\">([a-z_-]+)", page.text
    )
    assert left == list(OF_ID_TOKENS[OF_ID_TOKENS.index("nonce") + 1 :])
    assert "for payroll" not in page.text
