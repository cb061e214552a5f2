"""The task that writes the audit events of a server process."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine
from structlog.testing import capture_logs

from postern.errors import problem
from postern.journal.audit_event import Kind
from postern.journal.security_tables import audit_events
from postern.security.audit.log import AuditLog
from postern.security.audit.writer import AuditWriter
from tests.databases import put_sqlite
from tests.journal.engines import all_of, empty_journal

pytestmark = pytest.mark.anyio


class Database:
    """A journal's `write`. `before` and `after` are raised once, by a write that is then not made, or made."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.before: list[Exception] = []
        self.after: list[Exception] = []
        self.writes = 0

    async def __call__(self, operation: Callable[[Connection], Any], /) -> Any:
        self.writes += 1
        if self.before:
            raise self.before.pop(0)
        with self.engine.begin() as connection:
            result = operation(connection)
        if self.after:
            raise self.after.pop(0)
        return result

    def kinds(self) -> list[tuple[int, str]]:
        return [(row["number"], row["kind"]) for row in all_of(self.engine, audit_events, "number")]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    engine = empty_journal(put_sqlite(tmp_path / "postern.db"))
    yield Database(engine)
    engine.dispose()


def unavailable() -> Exception:
    return problem("journal-unavailable")


async def test_events_that_wait_are_written_together(database: Database) -> None:
    audit = AuditLog()
    writer = AuditWriter(audit, "node-1", database)
    for _ in range(3):
        audit.note(Kind.SIGN_IN)
    assert writer.waiting == 3
    assert await writer.flush()
    assert (database.writes, writer.written, writer.waiting) == (1, 3, 0)
    assert database.kinds() == [(1, "sign-in"), (2, "sign-in"), (3, "sign-in")]


async def test_nothing_is_written_where_nothing_happened(database: Database) -> None:
    assert await AuditWriter(AuditLog(), "node-1", database).flush()
    assert database.writes == 0


@pytest.mark.parametrize("when", ["before", "after"])
async def test_events_wait_for_a_database_that_is_away_and_none_is_written_twice(database: Database, when: str) -> None:
    audit = AuditLog()
    writer = AuditWriter(audit, "node-1", database)
    audit.note(Kind.SIGN_IN)
    getattr(database, when).append(unavailable())
    assert not await writer.flush()
    audit.note(Kind.SIGN_OUT)
    assert writer.waiting == 2
    assert await writer.flush()
    assert database.kinds() == [(1, "sign-in"), (2, "sign-out")]


async def test_events_that_no_longer_fit_are_counted_in_an_event(database: Database) -> None:
    audit = AuditLog(most_waiting=2)
    for _ in range(5):
        audit.note(Kind.SIGN_IN)
    await AuditWriter(audit, "node-1", database).flush()
    rows = all_of(database.engine, audit_events, "number")
    assert [row["kind"] for row in rows] == ["sign-in", "sign-in", "events-lost"]
    assert '"count":3' in rows[2]["body"]


async def test_an_event_that_cannot_be_written_costs_no_other(database: Database) -> None:
    class Refusing(Database):
        async def __call__(self, operation: Callable[[Connection], Any], /) -> Any:
            if b"poison" in operation.keywords["events"]:  # type: ignore[attr-defined]
                raise RuntimeError("IntegrityError")
            return await super().__call__(operation)

    audit = AuditLog()
    writer = AuditWriter(audit, "node-1", Refusing(database.engine))
    for name in ("one", "poison", "two"):
        audit.note(Kind.SIGN_IN, fields={"name": name})
    with capture_logs() as lines:
        for _ in range(4):
            await writer.flush()
    assert database.kinds() == [(1, "sign-in"), (2, "sign-in"), (3, "events-lost")]
    assert [line["event"] for line in lines] == ["audit-event-lost"]


async def test_a_value_that_has_no_text_costs_no_other_event(database: Database) -> None:
    class Mute:
        def __str__(self) -> str:
            raise LookupError

    audit = AuditLog()
    writer = AuditWriter(audit, "node-1", database)
    audit.note(Kind.SIGN_IN, fields={"name": Mute()})
    audit.note(Kind.SIGN_OUT)
    with capture_logs():
        await writer.flush()
    assert database.kinds() == [(1, "sign-out"), (2, "events-lost")]


async def test_a_revocation_is_written_at_once(database: Database) -> None:
    audit = AuditLog()
    writer = AuditWriter(audit, "node-1", database, every=3600.0)
    task = asyncio.create_task(writer.run())
    audit.note(Kind.REVOCATION)
    while not writer.written:
        await asyncio.sleep(0)
    task.cancel()
    assert database.kinds() == [(1, "revocation")]
