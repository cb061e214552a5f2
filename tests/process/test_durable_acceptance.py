"""What is accepted is one run, at any server process, and beside a process of release 0.1."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from tests.process.durable_cluster import Cluster
from tests.process.servers import until

PROGRAM = Path(__file__).with_name("process_of_0001.py")
BEATS = "SELECT beat FROM nodes WHERE id = 'durable'"


@pytest.fixture
def cluster(tmp_path: Path, database_url: str) -> Iterator[Cluster]:
    with closing(Cluster(tmp_path, database_url)) as made:
        yield made


@pytest.fixture
def look(database_url: str) -> Iterator[Callable[[float], list[str]]]:
    """A process of release 0.1: it looks at the others at so many seconds of its clock."""
    command = [sys.executable, "-P", str(PROGRAM), database_url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        source, told = process.stdin, process.stdout

        def look(at: float) -> list[str]:
            print(at, file=source, flush=True)
            found: list[str] = json.loads(told.readline())
            return found

        yield look
        source.close()


def test_50_equal_keys_at_three_server_processes_are_one_run(cluster: Cluster):
    cluster.seconds = 0.01
    servers = [cluster.start(wait=False) for _ in range(3)]
    for server in servers:
        server.open()

    def send(number: int) -> tuple[int, str, str]:
        reply = servers[number % 3].post("five", headers={"Idempotency-Key": "one"})
        return reply.status_code, reply.headers["location"], reply.headers.get("idempotent-replayed", "")

    with ThreadPoolExecutor(12) as threads:
        found = list(threads.map(send, range(50)))
    assert {(status, location) for status, location, _ in found} == {(202, found[0][1])}
    assert sorted(replayed for *_, replayed in found) == ["", *["true"] * 49]
    cluster.wait_for([found[0][1]], 20)
    assert cluster.rows("SELECT count(*) FROM runs")[0][0] == 1
    assert [note.what for note in cluster.notes()] == ["0", "1", "2", "3", "4"]


@pytest.mark.long
def test_a_process_of_release_0_1_neither_ends_durable_runs_nor_frees_their_keys(
    cluster: Cluster, look: Callable[[float], list[str]]
):
    """It looks during acceptance and after a death. If it interrupts a run all the same, because all processes of this
    release were away, the run is taken up again."""
    cluster.seconds = 30
    first = cluster.start()
    assert look(0) == []
    reply = first.post("five", headers={"Idempotency-Key": "one"})
    run_id = reply.json()["id"]
    until(lambda: cluster.running(first))
    for at in (20, 40):
        before = cluster.rows(BEATS)
        until(partial(_changed, cluster, before))
        assert look(at) == []
    cluster.kill(first)
    look(45)
    assert cluster.rows("SELECT state, node FROM runs") == [("Running", "durable")]
    assert "durable" in look(200)
    assert cluster.rows("SELECT state FROM runs") == [("Interrupted",)]
    assert cluster.rows("SELECT run_id, status FROM idempotency_keys") == [(run_id, 202)]
    cluster.seconds = 0.01
    second = cluster.start()
    again = second.post("five", headers={"Idempotency-Key": "one"})
    assert (again.status_code, again.json(), again.headers["idempotent-replayed"]) == (202, reply.json(), "true")
    until(
        lambda: cluster.rows("SELECT state FROM runs") == [("Succeeded",)],
        what=lambda: str(cluster.rows("SELECT * FROM durable_runs")),
    )
    assert look(220) == []
    assert [note.what for note in cluster.notes()] == ["0", "0", "1", "2", "3", "4"]


def _changed(cluster: Cluster, before: list[tuple[object, ...]]) -> bool:
    return cluster.rows(BEATS) != before
