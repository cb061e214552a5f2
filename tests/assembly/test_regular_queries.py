"""What a server does by itself, again and again, reads no table from its beginning to its end: with millions of records
that would take seconds, in which the writer writes nothing else."""

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from postern.assembly import create_app
from postern.journal.database.engine import migrate, open_engine
from postern.journal.journal import Journal
from postern.journal.metadata import metadata
from postern.local_tenant import LocalTenant
from tests.pipeline.pipelines import settings_for

pytestmark = [pytest.mark.anyio, pytest.mark.process, pytest.mark.usefixtures("own_modules")]

BEGUN = {"cancel_ownerless", "take_up_again", "has_work", "beat_and_keep", "delete_runs", "delete_refusals"}
SECONDS = 1.2
"""After these, all of it has begun: the slowest waits for a second."""

WORKFLOWS = """
from postern import tenant_users, workflow

@workflow(access=tenant_users(), durable=True)
async def later(ctx): ...
"""

SMALL = {
    *("nodes", "sessions", "revocations", "clock", "signed_urls", "authorizations", "invitations", "grants"),
    *("schedules", "findings", "audit_chains", "audit_checkpoints", "failure_watches", "known_callers"),
}
"""Tables that never have many rows: 100,000 at most."""

PARTIAL = {str(index.name) for table in metadata.tables.values() for index in table.indexes if "where" in index.info}

Work = Callable[[Connection], Any]


class Watched:
    """A database, and the statements that read a large table whole."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.slow: dict[str, str] = {}
        self._statements: list[tuple[str, Any]] = []
        event.listen(engine, "before_cursor_execute", self._executed)

    def _executed(self, _connection: Any, _cursor: Any, statement: str, values: Any, _context: Any, many: bool) -> None:
        if not many and statement.lstrip().upper().startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
            self._statements.append((statement, values))

    def do(self, work: Work) -> None:
        """Do the work, and look at its statements."""
        with self.engine.begin() as connection:
            work(connection)
            statements, self._statements = self._statements, []
            for statement, values in statements:
                for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values):
                    if reads_whole_table(row[3]):
                        self.slow[f"{row[3]}: {statement}"] = str(work)
            self._statements = []


def reads_whole_table(step: str) -> bool:
    """Whether a step of SQLite's plan reads all rows of a table that may be large."""
    found = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", step)
    if found is None or found[1] not in metadata.tables or found[1] in SMALL:
        return False
    return found[2] not in PARTIAL


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    engine = open_engine(f"sqlite:///{tmp_path / 'watched.db'}", writing=True)
    migrate(engine)
    yield Watched(engine)
    engine.dispose()


async def test_a_server_that_waits_for_requests_reads_no_table_whole(
    local_tenant: LocalTenant, tmp_path: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch
):
    work: list[Work] = []
    for name in ("write", "write_soon", "read"):
        original = getattr(Journal, name)

        def noted(self: Journal, operation: Work, *more: Any, original: Any = original, **others: Any) -> Any:
            work.append(operation)
            return original(self, operation, *more, **others)

        monkeypatch.setattr(Journal, name, noted)
    monkeypatch.setattr("postern.journal.retention.FIRST", 0.1)  # as each hour
    (tmp_path / "served.py").write_text(WORKFLOWS, encoding="utf-8")
    app = create_app(settings_for(local_tenant, tmp_path, client_id=local_tenant.client_id))
    async with app.router.lifespan_context(app):
        async with asyncio.timeout(60):
            while not {getattr(each, "func", each).__name__ for each in work} >= BEGUN:
                await asyncio.sleep(0.05)
        await asyncio.sleep(SECONDS)
    for each in work:
        watched.do(each)
    assert watched.slow == {}


@pytest.mark.parametrize(
    ("step", "whole"),
    [
        ("SCAN runs", True),
        ("SCAN runs USING INDEX runs_by_workflow", True),
        ("SCAN runs USING COVERING INDEX runs_by_state", False),
        ("SEARCH runs USING INDEX runs_by_workflow (workflow=?)", False),
        ("SCAN nodes", False),
        ("SCAN CONSTANT ROW", False),
    ],
)
def test_a_plan_that_reads_a_table_whole_is_found(step: str, whole: bool):
    assert reads_whole_table(step) is whole
