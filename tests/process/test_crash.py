"""Servers that are killed or stopped under load: every acknowledged run is recorded, and no run stays Running."""

import signal
import time
from pathlib import Path
from random import Random

import pytest

from tests.audit_log import assert_audited
from tests.process.load import (
    assert_kept,
    assert_undisturbed,
    calling,
    folder_of_workflows,
    none_stays_running,
    records,
)
from tests.process.servers import Server, running, until


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'postern.db'}"


@pytest.fixture
def environ(tmp_path: Path, url: str) -> dict[str, str]:
    folder_of_workflows(tmp_path)
    return {"POSTERN_PORT": "0", "POSTERN_DATABASE_URL": url, "POSTERN_LOG_FORMAT": "json"}


def kill(server: Server) -> None:
    """As the kernel does it when memory runs out."""
    server.process.kill()
    server.process.wait(10)


def test_what_was_answered_before_a_kill_is_on_record(tmp_path, url, environ, campaign, capsys):
    """Killed several times at random moments. Calls with a key are sent again, and have one run that ended."""
    random, kills = Random(time.time_ns()), campaign(4, 100)
    with calling() as callers:
        for _ in range(kills):
            with running("serve", tmp_path, environ) as server:
                callers.go_to(server.port)
                callers.wait_for(random.randrange(1, 200), server)
                kill(server)
                assert_undisturbed(server)
        with running("serve", tmp_path, environ) as server:
            callers.go_to(server.port)
            callers.wait_for(100, server)
            callers.stop()
            none_stays_running(url, server)
            assert server.stop() == 0
            assert_undisturbed(server)
    states = assert_kept(url, callers)
    assert_audited(url, 1)  # a server that was killed at once has written nothing yet
    assert {reply.code for reply in callers.turned_away} <= {"run-in-progress"}
    with capsys.disabled():
        counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        print(
            f" [{kills} kills, {len(callers.replies)} replies checked, {len(callers.broken)} cut off: {counts}]", end=""
        )


def test_a_stop_under_load_loses_nothing(tmp_path, url, environ, campaign):
    """An admitted request gets a reply. If its connection was closed before, there is no run."""
    random = Random(time.time_ns())
    with calling() as callers:
        for _ in range(campaign(2, 40)):
            with running("serve", tmp_path, environ) as server:
                callers.go_to(server.port)
                callers.wait_for(random.randrange(50, 200), server)
                assert server.stop(signal.SIGTERM) == 0
                assert_undisturbed(server)
    assert set(assert_kept(url, callers)) == {"Succeeded", "Failed"}
    assert callers.turned_away == []
    assert len(records(url)) == len(callers.replies)


def test_a_run_that_a_second_signal_ends_is_interrupted(tmp_path, url, environ):
    with calling(count=3, triggers=("hold",)) as callers:
        with running("serve", tmp_path, environ) as server:
            callers.go_to(server.port)
            until(lambda: len(records(url)) == 3)
            server.process.send_signal(signal.SIGTERM)
            server.says("draining")
            assert server.stop(signal.SIGTERM) == 128 + signal.SIGTERM
        with running("serve", tmp_path, environ) as server:
            none_stays_running(url, server)
    assert {row["state"] for row in records(url)} == {"Interrupted"}
    assert not [reply for reply in callers.replies if reply.status < 500 or reply.run_id]
