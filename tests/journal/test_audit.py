"""The tables of the audit log, on each kind of database."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, event, select

from postern.journal.audit import Checkpoint, append, heads, record_checkpoint
from postern.journal.audit_chain import GENESIS, Head, bodies, canonical, hash_after, packed
from postern.journal.audit_event import AuditEvent, Kind
from postern.journal.security_tables import audit_chains, audit_checkpoints, audit_events
from tests.journal.engines import all_of

pytestmark = pytest.mark.slow

NODE = "node-1"


def happened(name: str, at: float = 1.5) -> AuditEvent:
    return AuditEvent(Kind.RECORD_VIEWED, at, {"run": name}, "somebody", "hello")


def write(engine: Engine, after: Head, *names: str, node: str = NODE) -> Head:
    with engine.begin() as connection:
        return append(connection, node, after, packed([happened(name) for name in names]))


def test_events_form_a_chain_whose_hashes_are_made_of_the_hash_before_and_the_body(engine: Engine) -> None:
    head = write(engine, write(engine, Head(), "a", "b"), "c")
    rows = all_of(engine, audit_events, "number")
    assert [row["number"] for row in rows] == [1, 2, 3]
    previous = GENESIS
    for row in rows:
        previous = hashlib.sha256(f"{previous}{row['body']}".encode("ascii")).hexdigest()
        assert row["hash"] == previous
    assert head == Head(3, previous)


def test_a_body_has_all_that_its_row_has(engine: Engine) -> None:
    write(engine, Head(), "a")
    [row] = all_of(engine, audit_events, "number")
    assert json.loads(row["body"]) == {
        "at": 1.5,
        "fields": {"run": "a"},
        "kind": "record-viewed",
        "node": NODE,
        "number": 1,
        "subject": "somebody",
        "workflow": "hello",
    }
    assert (row["at"], row["kind"], row["subject"], row["workflow"]) == (1.5, "record-viewed", "somebody", "hello")


def test_an_append_that_is_repeated_writes_nothing_twice(engine: Engine) -> None:
    first = write(engine, Head(), "a", "b")
    again = write(engine, Head(), "a", "b")
    write(engine, first, "c")
    write(engine, Head(), "a", "b")  # a repetition that comes late
    assert first == again
    assert [row["number"] for row in all_of(engine, audit_events, "number")] == [1, 2, 3]
    assert all_of(engine, audit_chains, "node")[0]["last"] == 3


def test_each_server_process_has_a_chain_of_its_own(engine: Engine) -> None:
    one, two = write(engine, Head(), "a"), write(engine, Head(), "a", "b", node="node-2")
    with engine.begin() as connection:
        assert heads(connection) == {NODE: one, "node-2": two}


def test_a_batch_is_written_by_two_statements(engine: Engine) -> None:
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    with engine.begin() as connection:
        raw = _counting(connection)
        append(connection, NODE, Head(), packed([happened(str(number)) for number in range(100)]))
    assert len(statements) + len(raw) <= 4  # SQLite takes 100 rows as 64, 32 and 4


def _counting(connection: Connection) -> list[str]:
    """The driver's own cursors are not seen by SQLAlchemy's events: its connection is asked for each."""
    made: list[str] = []
    take = connection.connection.cursor

    def cursor(*given: Any) -> Any:
        made.append("cursor")
        return take(*given)

    connection.connection.cursor = cursor  # type: ignore[method-assign]
    return made


def test_a_checkpoint_is_stored_once_and_counted(engine: Engine) -> None:
    write(engine, Head(), "a")
    checkpoint = Checkpoint("id-1", NODE, 1, 2.5, '{"id":"id-1"}', "signature", "key")
    for _ in range(2):
        with engine.begin() as connection:
            record_checkpoint(connection, checkpoint)
    [row] = all_of(engine, audit_checkpoints)
    assert dict(row) == {
        "id": "id-1",
        "node": NODE,
        "number": 1,
        "at": 2.5,
        "body": '{"id":"id-1"}',
        "signature": "signature",
        "key_id": "key",
    }
    with engine.begin() as connection:
        assert connection.execute(select(audit_chains.c.checkpoints)).scalar() == 1


@pytest.mark.parametrize(
    ("given_value", "written"),
    [
        (float("nan"), None),
        (float("inf"), None),
        ("a\0b\ud800", "a\ufffdb?"),
        ("x" * 5000, "x" * 4000),
        ({3: {"a", "b"}}, {"3": ["a", "b"]}),
        ((1, 2.5, True, None), [1, 2.5, True, None]),
        (b"bytes", "b'bytes'"),
    ],
)
def test_a_value_that_is_no_json_is_written_as_what_it_is_closest_to(given_value: Any, written: Any) -> None:
    event = AuditEvent(Kind.ADMISSION, 1.0, {"value": given_value})
    [body] = bodies(NODE, Head(), packed([event]))
    assert body["fields"] == {"value": written}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_canonical_json_is_ascii_and_reads_as_the_same_text_again(value: Any) -> None:
    [body] = bodies(NODE, Head(), packed([AuditEvent(Kind.ADMISSION, 1.0, {"value": value})]))
    text = canonical(body)
    assert text.isascii()
    assert canonical(json.loads(text)) == text
    text.encode("utf-8")
    assert "\0" not in text


@given(JSON, JSON)
def test_two_values_have_one_canonical_text_only_if_they_are_the_same_json(one: Any, other: Any) -> None:
    first, second = (bodies(NODE, Head(), packed([AuditEvent(Kind.ADMISSION, 1.0, {"v": v})]))[0] for v in (one, other))
    if canonical(first) == canonical(second):
        assert json.loads(canonical(first)) == json.loads(canonical(second))
        assert hash_after(GENESIS, canonical(first)) == hash_after(GENESIS, canonical(second))
    else:
        assert hash_after(GENESIS, canonical(first)) != hash_after(GENESIS, canonical(second))
