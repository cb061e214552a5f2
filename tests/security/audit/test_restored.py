"""What verifies after an older backup was restored."""

from pathlib import Path

import pytest
from sqlalchemy import Engine
from structlog.testing import capture_logs

from postern.journal.database import sqlite_copies
from postern.journal.database.engine import open_engine
from postern.journal.reading.audit_lines import audit_lines
from postern.security.audit.verifier import Report, Verifier, checkpoints_in, public_key
from tests.databases import put_sqlite
from tests.security.audit.logs import Node, a_key

pytestmark = pytest.mark.anyio


def verified(engine: Engine, kept: Path | None) -> Report:
    verifier = Verifier([public_key(a_key().public_pem.encode())])
    for line in checkpoints_in(kept.read_text("ascii").splitlines()) if kept else ():
        verifier.kept_elsewhere(line)
    with engine.begin() as connection:
        for line in audit_lines(connection, columns=True):
            verifier.take(line)
    return verifier.finish()


async def test_a_restore_leaves_chains_that_verify_and_kept_checkpoints_show_what_it_removed(tmp_path: Path) -> None:
    url, backup, kept = put_sqlite(tmp_path / "postern.db"), tmp_path / "backup", tmp_path / "kept"
    with capture_logs():
        engine = open_engine(url, writing=True)
        before = Node(engine, "before", 100.0, a_key(), kept)
        await before.happens(3)
        await before.checkpoint()
        backup.touch()
        sqlite_copies.copy(tmp_path / "postern.db", backup)
        await before.happens(2)
        await before.checkpoint()
        engine.dispose()
        sqlite_copies.put_in_place(backup, tmp_path / "postern.db", ".replaced")
        engine = open_engine(url, writing=True)
        after = Node(engine, "after", 200.0, a_key(), kept)
        await after.happens(2)
        await after.checkpoint()
        alone, beside = verified(engine, None), verified(engine, kept)
        engine.dispose()
    assert alone.problems == []
    assert [problem.partition(":")[0] for problem in beside.problems] == [
        "event 5 of before was removed",
        "checkpoint 2 of before, which was kept elsewhere, is not in the log any more",
    ]
