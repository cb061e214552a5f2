"""A backup that is taken while a server works, and what is there after a disaster."""

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from postern.journal.database.engine import open_engine
from postern.journal.schema import refusals
from tests.audit_log import assert_audited
from tests.postgres import new_database
from tests.process import commands
from tests.process.load import (
    PATIENCE,
    assert_recorded,
    assert_undisturbed,
    calling,
    folder_of_workflows,
    none_stays_running,
    records,
)
from tests.process.servers import running, until
from tests.tools import postgres_tools


@pytest.fixture
def environ(request: pytest.FixtureRequest, tmp_path: Path, database_url: str) -> dict[str, str]:
    folder_of_workflows(tmp_path)
    path = os.environ["PATH"]
    if database_url.startswith("postgresql"):
        path = postgres_tools(request.getfixturevalue("postgres_url"))
    return {"POSTERN_PORT": "0", "POSTERN_LOG_FORMAT": "json", "POSTERN_DATABASE_URL": database_url, "PATH": path}


@pytest.fixture
def new_place(request: pytest.FixtureRequest, tmp_path: Path, database_url: str) -> Iterator[str]:
    """Where a backup is restored: a file that is not there, or an empty database."""
    if database_url.startswith("sqlite"):
        yield f"sqlite:///{tmp_path / 'new' / 'place.db'}"
        return
    with new_database(request.getfixturevalue("postgres_url")) as (_, url):
        yield url


def command(folder: Path, environ: dict[str, str], *arguments: str) -> str:
    """What a command says, which succeeds."""
    done = commands.command(folder, "database", *arguments, environ=environ)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def refused(url: str) -> list[dict[str, Any]]:
    engine = open_engine(url, writing=False)
    with engine.connect() as connection:
        rows = [dict(row) for row in connection.execute(select(refusals)).mappings()]
    engine.dispose()
    return rows


def test_what_was_answered_before_a_backup_is_there_after_a_restore(
    tmp_path, environ, database_url, new_place, campaign, capsys
):
    """Callers go on meanwhile; afterwards the server is killed, and another starts on what the backup has."""
    file = tmp_path / "backup"
    with calling(count=6) as callers:
        with running("serve", tmp_path, environ) as server:
            assert server.post("no-such-trigger").status_code == 404
            until(lambda: refused(database_url), PATIENCE)
            callers.go_to(server.port)
            callers.wait_for(campaign(150, 5000), server)
            before = list(callers.replies)
            assert "checked" in command(tmp_path, environ, "backup", str(file))
            assert len(callers.replies) > len(before)
            callers.wait_for(20, server)
            server.process.kill()
            server.process.wait(10)
            assert_undisturbed(server)
        callers.stop()
    assert callers.turned_away == []
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []

    environ["POSTERN_DATABASE_URL"] = new_place
    command(tmp_path, environ, "restore", str(file))
    with running("serve", tmp_path, environ) as server:
        none_stays_running(new_place, server)
        rows = records(new_place)
        assert_recorded(rows, before)
        assert [row["reason"] for row in refused(new_place)] == [row["reason"] for row in refused(database_url)]
        for reply in [reply for reply in before if reply.key][:5]:
            again = server.post(reply.trigger, json=int(reply.body), headers={"Idempotency-Key": reply.key})
            assert again.headers["idempotent-replayed"] == "true"
            assert (again.headers["x-run-id"], again.text) == (reply.run_id, reply.content)
        assert server.post("doubles", json=1).status_code == 200
        assert server.stop() == 0
        assert_undisturbed(server)
    assert_audited(new_place, 2)  # the chain of the backup, and a new one
    if new_place.startswith("sqlite"):
        with closing(sqlite3.connect(new_place.removeprefix("sqlite:///"))) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with capsys.disabled():
        print(f" [{len(before)} replies checked in {len(rows)} runs of a backup]", end="")
