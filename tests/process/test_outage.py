"""Databases that are unavailable, frozen or full under load: callers get errors, and nothing is lost."""

import resource
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from postern.journal.journal import PATIENCE as JOURNAL_PATIENCE
from tests.process.load import (
    PATIENCE,
    Callers,
    assert_kept,
    assert_told,
    assert_undisturbed,
    calling,
    folder_of_workflows,
    none_stays_running,
    records,
)
from tests.process.postgres import Postgres, own_postgres
from tests.process.servers import INTERPRETER, Server, running, until

ROOM = 256 * 1024
"""Bytes that can still be written."""


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    with own_postgres() as server:
        yield server


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    folder_of_workflows(tmp_path)
    return {"POSTERN_PORT": "0", "POSTERN_LOG_FORMAT": "json"}


def assert_reported(callers: Callers) -> None:
    """Rejected callers got a Retry-After where nothing ran, and no caller waited much longer than the journal does."""
    away = [reply for reply in callers.turned_away if reply.code == "journal-unavailable"]
    assert away
    assert {reply.status for reply in away} == {503}
    assert {reply.headers.get("retry-after") for reply in away if reply.key or not reply.run_id} <= {"2"}
    assert max(reply.seconds for reply in [*callers.replies, *away]) < JOURNAL_PATIENCE + 10


def kill(server: Server) -> None:
    server.process.kill()
    server.process.wait(10)


def test_kills_and_crashes_of_postgresql_lose_nothing(tmp_path, environ, postgres, campaign, capsys):
    """In each round, one crash of PostgreSQL lasts longer than callers are made to wait, one is short, and in one the
    server is killed too. In the last part of a round, the server is killed alone."""
    random, rounds = Random(time.time_ns()), campaign(1, 15)
    environ |= {"POSTERN_DATABASE_URL": postgres.url}
    with calling() as callers:
        for crash in ("long", "short", "at the same time", "") * rounds:
            with running("serve", tmp_path, environ) as server:
                callers.go_to(server.port)
                callers.wait_for(random.randrange(1, 200), server)
                if crash:
                    postgres.crash()
                if crash == "long":
                    callers.wait_for(10, server, "turned_away")
                if crash in ("long", "short"):
                    postgres.start()
                    callers.wait_for(random.randrange(1, 200), server)
                kill(server)
                assert_undisturbed(server)
            if crash == "at the same time":
                postgres.start()
        with running("serve", tmp_path, environ) as server:
            callers.go_to(server.port)
            callers.wait_for(100, server)
            callers.stop()
            none_stays_running(postgres.url, server)
            assert server.stop() == 0
            assert_undisturbed(server)
    states = assert_kept(postgres.url, callers)
    assert_reported(callers)
    assert {reply.code for reply in callers.turned_away} <= {"run-in-progress", "journal-unavailable"}
    with capsys.disabled():
        counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        print(f" [{4 * rounds} kills, {3 * rounds} crashes, {len(callers.replies)} replies checked: {counts}]", end="")


def test_a_start_without_postgresql_heals_by_itself(tmp_path, environ, postgres):
    """Until it is there, the server says that it is not ready, and serves what needs no record."""
    postgres.crash()
    with running("serve", tmp_path, environ | {"POSTERN_DATABASE_URL": postgres.url}) as server:
        ready = server.client.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["journal"]) == (503, "failing")
        assert server.post("unrecorded").status_code == 200
        server.says("journal-write-failed")
        refused = server.post("doubles", json=1)
        assert (refused.status_code, refused.json()["code"]) == (503, "journal-unavailable")
        assert refused.headers["retry-after"].isdigit()
        postgres.start()
        answer = server.answers("doubles", 200, seconds=PATIENCE, json=1)
        until(lambda: server.client.get("/readyz").status_code == 200, PATIENCE)
        assert [row["id"] for row in records(postgres.url)] == [answer.headers["x-run-id"]]
        assert server.stop() == 0
        assert_undisturbed(server)


def test_while_postgresql_is_frozen_no_caller_waits_for_long(tmp_path, environ, postgres):
    """Runs in progress are recorded when it resumes."""
    environ |= {"POSTERN_DATABASE_URL": postgres.url}
    with calling() as callers, running("serve", tmp_path, environ) as server:
        callers.go_to(server.port)
        callers.wait_for(100, server)
        with postgres.frozen():
            callers.wait_for(20, server, "turned_away")
            assert server.client.get("/readyz").status_code == 503
            assert server.post("unrecorded").status_code == 200
            read = server.client.get(f"/runs/{callers.replies[0].run_id}")
            assert (read.status_code, read.json()["code"]) == (503, "journal-unavailable")
        assert server.client.get(f"/runs/{callers.replies[0].run_id}").status_code == 200
        callers.wait_for(100, server)
        callers.stop()
        none_stays_running(postgres.url, server)
        assert server.stop() == 0
        assert_undisturbed(server)
    assert_reported(callers)
    assert_told(postgres.url, callers)
    assert "Interrupted" not in assert_kept(postgres.url, callers)


def children(process: int) -> list[int]:
    """The processes that it started."""
    return [
        int(child) for file in Path(f"/proc/{process}/task").glob("*/children") for child in file.read_text().split()
    ]


def test_a_full_disk_turns_callers_away_until_there_is_room(tmp_path, environ):
    """It fills up under load; then nothing can be written any more, the log included."""
    file = tmp_path / "postern.db"
    url = f"sqlite:///{file}"

    def leave_room(server: Server, size: int) -> None:
        for process in (server.process.pid, *children(server.process.pid)):  # the writer is one of these
            _, hard = resource.prlimit(process, resource.RLIMIT_FSIZE)
            resource.prlimit(process, resource.RLIMIT_FSIZE, (size, hard))

    with running("serve", tmp_path, environ | {"POSTERN_DATABASE_URL": url}, INTERPRETER) as server:
        with calling(padding=8000) as callers:
            callers.go_to(server.port)
            callers.wait_for(50, server)
            leave_room(server, max(path.stat().st_size for path in tmp_path.glob("postern.db*")) + ROOM)
            callers.wait_for(20, server, "turned_away")
            leave_room(server, 1)
            callers.wait_for(20, server, "turned_away")
            assert server.client.get("/readyz").status_code == 503
            assert server.post("unrecorded").status_code == 200
            known = callers.replies[0].run_id  # what is recorded can be read
            assert server.client.get(f"/runs/{known}").json()["id"] == known
            assert server.client.get(f"/runs/{known}/tree").status_code == 200
            leave_room(server, resource.RLIM_INFINITY)
            callers.wait_for(50, server)
            callers.stop()
        none_stays_running(url, server)
        assert server.stop() == 0
        assert_undisturbed(server)
    assert_reported(callers)
    assert_told(url, callers)
    assert "Interrupted" not in assert_kept(url, callers)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("fault", ["the file is moved", "a table is renamed"])
def test_a_database_that_records_nothing_turns_callers_away_until_it_is_corrected(fault, tmp_path, environ):
    """It would answer all the same, so each reply that was sent is compared with the records."""
    file = tmp_path / "postern.db"
    url = f"sqlite:///{file}"

    def rename(before: str, after: str) -> None:
        if fault == "the file is moved":
            (tmp_path / before).rename(tmp_path / after)
            return
        names = {"postern.db": "runs", "moved.db": "renamed"}
        with closing(sqlite3.connect(file, timeout=30)) as connection:
            connection.execute(f"ALTER TABLE {names[before]} RENAME TO {names[after]}")

    with running("serve", tmp_path, environ | {"POSTERN_DATABASE_URL": url}) as server:
        with calling() as callers:
            callers.go_to(server.port)
            callers.wait_for(50, server)
            rename("postern.db", "moved.db")
            callers.wait_for(20, server, "turned_away")
            assert server.client.get("/readyz").status_code == 503
            assert server.post("unrecorded").status_code == 200
            server.says("journal-unavailable.*cause")
            rename("moved.db", "postern.db")
            callers.wait_for(50, server)
            callers.stop()
        none_stays_running(url, server)
        assert server.stop() == 0
        assert_undisturbed(server)
        assert "rows-lost" not in server.output
    assert_reported(callers)
    assert "Interrupted" not in assert_kept(url, callers)
