"""Pages of the audit log: every matching event exactly once, newest first, on each kind of database."""

from base64 import urlsafe_b64encode
from collections.abc import Iterable
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine

from postern.errors import Problem
from postern.ids import id_at
from postern.journal.audit import Checkpoint, append, record_checkpoint
from postern.journal.audit_chain import Head, packed
from postern.journal.audit_event import AuditEvent, Kind
from postern.journal.reading import audit
from postern.journal.reading.audit import AuditFilter, AuditRecord, audit_state, last_start, list_events
from postern.journal.reading.cursor import sealed
from tests.table import table

pytestmark = pytest.mark.slow

NOON = 1_800_000_000.0
ONE, TWO = id_at(NOON), id_at(NOON + 1)
ADA, LISA = "ed1bf663-4183-4555-b113-3ed7e5cc901b", "c33a0e11-b6a6-4ce1-b2e0-e5fbe1e362d2"


def happened(kind: Kind, second: float, who: str = "", workflow: str = "", **fields: Any) -> AuditEvent:
    return AuditEvent(kind, NOON + second, fields, who, workflow)


def write(engine: Engine, node: str, events: Iterable[AuditEvent], after: Head | None = None) -> Head:
    with engine.begin() as connection:
        return append(connection, node, after or Head(), packed(list(events)))


def all_pages(connection: Connection, filters: AuditFilter, limit: int) -> list[AuditRecord]:
    found: list[AuditRecord] = []
    cursor: str | None = None
    for _ in range(1000):
        page = list_events(connection, filters, cursor, limit)
        assert len(page.items) <= limit
        found += page.items
        if page.next is None:
            return found
        cursor = page.next
    raise AssertionError("the list does not end")


KINDS = (Kind.ADMISSION, Kind.REFUSAL, Kind.SIGN_IN)


@pytest.fixture
def full(engine: Engine) -> list[AuditEvent]:
    """Events of two server processes: many at the same time, of all combinations."""
    made = [
        happened(kind, second // 4, who, workflow, name=f"Name {who[:2]} ÄÖ")
        for second, (kind, who, workflow) in enumerate(list(product(KINDS, (ADA, LISA, ""), ("pay", "hello", ""))) * 3)
    ]
    write(engine, ONE, made[::2])
    write(engine, TWO, made[1::2])
    return made


@table("limit", [1, 7, 200])
@table(
    ("filters", "matches"),
    [
        (AuditFilter(), lambda e: True),
        (AuditFilter(kind=Kind.REFUSAL), lambda e: e.kind == Kind.REFUSAL),
        (AuditFilter(subject=ADA), lambda e: e.subject == ADA),
        (AuditFilter(workflow="pay"), lambda e: e.workflow == "pay"),
        (AuditFilter(name="äö"), lambda e: False),
        (AuditFilter(name="ÄÖ"), lambda e: True),
        (AuditFilter(name="NAME ED"), lambda e: e.subject == ADA),
        (AuditFilter(since=NOON + 5, until=NOON + 9), lambda e: NOON + 5 <= e.at <= NOON + 9),
        (
            AuditFilter(kind=Kind.SIGN_IN, subject=LISA, workflow="hello"),
            lambda e: (e.kind, e.subject, e.workflow) == (Kind.SIGN_IN, LISA, "hello"),
        ),
    ],
)
def test_pages_have_each_matching_event_once_newest_first(engine, full, filters, matches, limit):
    with engine.connect() as connection:
        found = all_pages(connection, filters, limit)
    assert sorted((e.at, e.kind, e.subject, e.workflow) for e in found) == sorted(
        (e.at, e.kind, e.subject, e.workflow) for e in full if matches(e)
    )
    places = [(e.at, e.node, e.number) for e in found]
    assert places == sorted(set(places), reverse=True)


def test_a_list_of_one_server_process_has_its_events_only(engine, full):
    with engine.connect() as connection:
        found = all_pages(connection, AuditFilter(node=TWO), 5)
    assert [e.number for e in found] == list(range(len(full) // 2, 0, -1))
    assert {e.node for e in found} == {TWO}


def test_a_filter_that_fits_few_events_looks_at_a_bounded_number_of_rows(engine, full, monkeypatch):
    monkeypatch.setattr(audit, "MOST_CANDIDATES", 40)
    with engine.connect() as connection:
        page = list_events(connection, AuditFilter(workflow="none"), clock=lambda: 0.0)
        assert page.items == ()
        assert page.next is not None
        assert all_pages(connection, AuditFilter(workflow="none"), 5) == []


@pytest.mark.parametrize(
    "text", ["", "0" * 16, "x" * 16 + "-1-a", "7ff8000000000000-1-a", "0" * 16 + "-" + "9" * 10 + "-a", "1-2-3"]
)
def test_a_made_up_cursor_is_a_mistake_of_its_sender(engine, text):
    forged = sealed(AuditFilter(), text) if text else urlsafe_b64encode(b"x").decode()
    with engine.connect() as connection, pytest.raises(Problem) as raised:
        list_events(connection, AuditFilter(), forged)
    assert raised.value.code == "bad-filter"


def test_a_cursor_is_of_one_list_only(engine, full):
    with engine.connect() as connection:
        cursor = list_events(connection, AuditFilter(), limit=3).next
        with pytest.raises(Problem):
            list_events(connection, AuditFilter(kind=Kind.REFUSAL), cursor)


def test_the_state_has_the_chains_and_the_last_checkpoint(engine):
    with engine.connect() as connection:
        assert audit_state(connection) == ((), False, None)
    first = write(engine, ONE, [happened(Kind.ADMISSION, 1), happened(Kind.ADMISSION, 2)])
    second = write(engine, TWO, [happened(Kind.ADMISSION, 3)])
    with engine.begin() as connection:
        record_checkpoint(connection, Checkpoint("b", TWO, 1, NOON + 5, "{}", "signature", "the-key"))
        record_checkpoint(connection, Checkpoint("a", ONE, 1, NOON + 4, "{}"))
        state = audit_state(connection)
    assert [(c.node, c.first, c.last, c.head, c.events) for c in state.chains] == [
        (TWO, 1, 1, second.hash, 1),
        (ONE, 1, 2, first.hash, 2),
    ]
    assert state.checkpoint == (TWO, NOON + 5, True, "the-key")


def test_the_last_start_is_of_another_server_process_and_has_its_later_changes(engine):
    with engine.connect() as connection:
        assert last_start(connection, ONE) is None
    changed = happened(Kind.WORKFLOW_CHANGED, 3, workflow="pay", sha256="new")
    started = happened(Kind.SERVER_STARTED, 2, version="1")
    write(engine, TWO, [started, happened(Kind.ADMISSION, 2.5), changed])
    write(engine, ONE, [happened(Kind.SERVER_STARTED, 4, version="2")])
    with engine.connect() as connection:
        found = last_start(connection, ONE)
        own = last_start(connection, TWO)
    assert found == ({"version": "1"}, (("workflow-changed", "pay", {"sha256": "new"}),))
    assert own == ({"version": "2"}, ())


@given(
    st.floats(min_value=0, max_value=1e11),
    st.integers(1, 999_999_999),
    st.from_regex(r"[0-9a-z-]{1,36}", fullmatch=True),
)
def test_a_cursor_leads_back_to_its_place(at: float, number: int, node: str):
    assert audit._place_in(audit._place_text((at, node, number))) == (at, node, number)


@given(st.text(max_size=80))
def test_any_text_is_a_place_or_a_mistake_of_its_sender(text: str):
    try:
        audit._place_in(text)
    except Problem as problem:
        assert problem.code == "bad-filter"
