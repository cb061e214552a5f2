"""The page of the audit log: each event in words, a list that is filtered and read page by page, and the chains."""

import re
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest

from postern.console.audit_words import LABELS, audit_row
from postern.ids import id_at
from postern.journal.audit import Checkpoint, append, record_checkpoint
from postern.journal.audit_chain import Head, packed
from postern.journal.audit_event import CALLER, FIELDS, AuditEvent, Kind
from postern.journal.reading.audit import AuditRecord
from postern.local_tenant import LocalTenant
from tests.console.operator_pages import Pages, open_pages
from tests.journal.recorded import NOON, id_number
from tests.table import table

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

XSS = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
ADA = "ed1bf663-4183-4555-b113-3ed7e5cc901b"
NODE = id_at(NOON)
BY_ADA = dict(zip(CALLER, ("user", ADA, "tenant", "client", "Ada Tester"), strict=True))


@pytest.fixture
async def pages(tmp_path: Path, local_tenant: LocalTenant, own_modules: None) -> AsyncIterator[Pages]:
    """The pages on a journal of their own."""
    async with open_pages(tmp_path, local_tenant) as pages:
        yield pages


def put(pages: Pages, events: Iterable[AuditEvent], node: str = NODE) -> Head:
    with pages.engine.begin() as connection:
        return append(connection, node, Head(), packed(list(events)))


def viewed(second: float, run: str = "", workflow: str = "payroll") -> AuditEvent:
    fields = {**BY_ADA, "workflow": workflow, "run": run, "owner": "lisa-id", "client_address": "10.0.0.1"}
    return AuditEvent(Kind.RECORD_VIEWED, NOON + second, fields, ADA, workflow)


async def test_without_events_the_page_says_so(pages: Pages):
    page = await pages.get("/console/audit")
    assert page.status_code == 200
    assert "No event yet" in page.text
    assert "No event was recorded yet." in page.text


async def test_an_event_is_shown_in_words_with_who_and_links_to_its_run(pages: Pages):
    head = put(pages, [viewed(1, id_number(7))])
    page = (await pages.get("/console/audit")).text
    for said in ("Record viewed", "of lisa-id", "Ada Tester", "payroll", head.hash, f"event 1 of {NODE}"):
        assert said in page, said
    assert f'href="/console/runs/{id_number(7)}"' in page
    assert f'href="/console/audit?who={ADA}"' in page


EXAMPLES: dict[Kind, tuple[dict[str, Any], str]] = {
    Kind.ADMISSION: ({"count": 1200, "client_addresses": ["10.0.0.1"]}, "1\u202f200 requests from 10.0.0.1"),
    Kind.REFUSAL: ({"count": 1, "client_address": "(many)", "reason": "expiry"}, "1 request from many addresses: "),
    Kind.SIGN_IN: ({"client_address": "10.0.0.1"}, "from 10.0.0.1"),
    Kind.SIGN_OUT: ({"object_id": ADA, "owner": "lisa-id"}, "of lisa-id"),
    Kind.CONSENT: ({"connection": "tickets", "action": "link-made"}, "made a link to connect tickets"),
    Kind.SECRET_READ: ({"secret": "pay-key", "version": "v1"}, "pay-key, version v1"),
    Kind.WORKFLOW_ADDED: ({"file": "a.py", "access": {"mode": "anonymous"}}, "in a.py: anonymous"),
    Kind.WORKFLOW_CHANGED: ({"file": "a.py"}, "in a.py"),
    Kind.WORKFLOW_REMOVED: ({"file": "a.py"}, "was in a.py"),
    Kind.FILE_FAULTY: ({"file": "a.py", "line": 3}, "a.py, line 3"),
    Kind.ACCESS_CHANGED: (
        {
            "before": {"mode": "specific_users", "people": ["a", "b"], "guests": False, "tenants": ["t"]},
            "after": {"mode": "anonymous"},
        },
        "from specific_users (2 callers, guests) to anonymous",
    ),
    Kind.SERVER_STARTED: ({"version": "0.2.0", "workflows": {"a": {}}}, "version 0.2.0, workflows: 1"),
    Kind.REVOCATION: ({"revoked_kind": "caller", "revoked": "x", "reason": "lost"}, "caller x: lost"),
    Kind.REVOCATION_LIFTED: ({"revoked_kind": "caller", "revoked": "x"}, "caller x"),
    Kind.RUN_CANCELLED: ({"owner": "lisa-id"}, "of lisa-id"),
    Kind.RUN_RESUBMITTED: ({"owner": ""}, "of an anonymous caller"),
    Kind.RUN_RESUMED: ({"owner": "lisa-id", "from_start": True}, "of lisa-id, from the start"),
    Kind.SIGNAL_SENT: ({"signal": "paid"}, "paid"),
    Kind.APPROVAL_DECIDED: ({"approval": "manager", "decision": "approved"}, "manager: approved"),
    Kind.RECORD_VIEWED: ({"owner": "lisa-id"}, "of lisa-id"),
    Kind.RETENTION: ({"deleted": {"runs": 3}}, "3 runs"),
    Kind.FINDING: ({"finding_kind": "dormant"}, "dormant"),
    Kind.FINDING_ACKNOWLEDGED: ({"finding_kind": "dormant", "state": "acknowledged"}, "dormant: acknowledged"),
    Kind.SIGNED_URL_MADE: ({"link": "partner-x", "key": "primary"}, "partner-x, with the primary key"),
    Kind.SIGNED_URL_REVOKED: ({"link": "partner-x"}, "partner-x"),
    Kind.EVENTS_LOST: ({"count": 5}, "5, while the database was unavailable"),
}


def record(kind: str, fields: dict[str, Any], workflow: str = "") -> AuditRecord:
    return AuditRecord(NODE, 1, NOON, kind, "", workflow, fields, "hash")


@table("kind", list(Kind))
def test_each_kind_of_event_has_words(kind: Kind):
    fields, expected = EXAMPLES[kind]
    assert set(fields) <= set(FIELDS[kind])
    row = audit_row(record(kind, fields))
    assert row.label == LABELS[kind]
    assert row.words.startswith(expected)
    assert expected


@table("fields", [{}, {"count": "x", "access": 7, "deleted": 3, "workflows": 3, "client_addresses": 4}])
@table("kind", [*Kind, "a-kind-of-a-newer-release"])
def test_fields_of_another_release_are_shown_as_they_are(kind: str, fields: dict[str, Any]):
    row = audit_row(record(kind, fields))
    assert row.label
    assert len(row.facts) == len(fields)


def test_who_did_it_is_a_name_an_id_or_the_kind_of_caller():
    found = [
        audit_row(record(Kind.ADMISSION, {"count": 1, **fields})).who
        for fields in (
            BY_ADA,
            BY_ADA | {"name": ""},
            {"caller_kind": "anonymous"},
            {"caller_kind": "(many)"},
            {},
        )
    ]
    assert found == ["Ada Tester", ADA, "anonymous", "many callers", ""]
    refused = [audit_row(record(Kind.REFUSAL, fields)).who for fields in ({"object_id": ADA}, {"object_id": ""})]
    assert refused == [ADA, "no verified caller"]


def test_an_event_about_a_finding_links_to_it():
    for kind in (Kind.FINDING, Kind.FINDING_ACKNOWLEDGED):
        assert audit_row(record(kind, {"finding": id_number(7)}, "payroll")).link == f"/findings/{id_number(7)}"


@pytest.mark.parametrize(("people", "said"), [(["a"], "specific_users (1 caller)"), (["a", "b"], "(2 callers)")])
def test_a_list_of_one_caller_is_counted_as_one(people: list[str], said: str):
    access = {"mode": "specific_users", "people": people}
    assert said in audit_row(record(Kind.WORKFLOW_ADDED, {"file": "a.py", "access": access})).words


async def test_texts_of_others_are_shown_as_text(pages: Pages):
    fields = BY_ADA | {"name": XSS, "workflow": XSS, "run": XSS, "owner": XSS + "\u202e", "client_address": XSS}
    put(pages, [AuditEvent(kind, NOON, fields | {"access": {XSS: XSS}, XSS: XSS}, XSS, XSS) for kind in Kind])
    page = await pages.get("/console/audit")
    assert page.status_code == 200
    assert "<script>alert" not in page.text
    assert "<img" not in page.text
    assert "\u202e" not in page.text
    assert "&lt;script&gt;" in page.text


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("", [4, 3, 2, 1]),
        ("?kind=record-viewed", [3, 2, 1]),
        ("?kind=record-viewed&workflow=hello", [3]),
        (f"?who={ADA}", [3, 2, 1]),
        ("?who=ada+tester", [3, 2, 1]),
        ("?who=pay-key", [4]),
        (f"?node={NODE}&until=2000-01-01T00:00:00Z", []),
        ("?kind=&who=&workflow=", [4, 3, 2, 1]),
    ],
)
async def test_the_list_is_filtered_as_the_form_says(pages: Pages, query: str, numbers: list[int]):
    secret = AuditEvent(Kind.SECRET_READ, NOON + 4, {"secret": "pay-key", "version": "1"})
    put(pages, [viewed(1), viewed(2), viewed(3, workflow="hello"), secret])
    page = (await pages.get(f"/console/audit{query}")).text
    assert [int(number) for number in re.findall(r"of event (\d+) of", page)] == numbers


async def test_a_filter_that_excludes_everything_is_named(pages: Pages):
    put(pages, [viewed(1)])
    page = (await pages.get("/console/audit?kind=sign-in&workflow=payroll")).text
    assert "Without <b>kind sign-in</b> there are some." in page
    assert 'href="/console/audit?workflow=payroll"' in page


@pytest.mark.parametrize("query", ["?kind=nothing", "?since=yesterday", "?nonsense=1", "?node=1", "?cursor=x"])
async def test_a_wrong_filter_is_named_and_its_value_is_not(pages: Pages, query: str):
    page = await pages.get(f"/console/audit{query}")
    assert page.status_code == 400
    assert query.partition("=")[2] not in page.json()["detail"].split()


async def test_each_event_is_on_one_page_of_the_list(pages: Pages):
    put(pages, [viewed(number // 3) for number in range(120)])
    seen: list[int] = []
    path = "/console/audit"
    while path:
        page = (await pages.get(path)).text
        seen += [int(number) for number in re.findall(r"of event (\d+) of", page)]
        older = re.search(r'rel="next" href="([^"]+)"', page)
        path = older[1].replace("&amp;", "&") if older else ""
    assert seen == list(range(120, 0, -1))


@pytest.mark.parametrize(
    ("signature", "said"),
    [
        ("x", "signed with the key <code>k1</code>"),
        ("", "a person with write access to the database can rewrite the chains"),
    ],
)
async def test_the_state_of_the_chains_says_who_signed_the_last_checkpoint(pages: Pages, signature: str, said: str):
    put(pages, [viewed(1), viewed(2)])
    other = put(pages, [viewed(3)], id_at(NOON + 1))
    assert "No checkpoint was made yet" in (await pages.get("/console/audit")).text
    with pages.engine.begin() as connection:
        key_id = "k1" if signature else ""
        record_checkpoint(connection, Checkpoint("c", NODE, 1, NOON + 5, "{}", signature, key_id))
    page = (await pages.get("/console/audit")).text
    for words in (said, "3 events of 2 server processes", other.hash, "postern audit verify --public-key FILE"):
        assert words in page, words
