"""A singleton and a concurrency key are held by their runs, not by server processes: over a kill they stay with the run
that had them, until it is interrupted or has ended."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from httpx2 import HTTPError

from tests.process.durable_cluster import Cluster
from tests.process.servers import Server, until

WORKFLOWS = """
import asyncio
import os
import time
from pathlib import Path

from postern import anonymous, workflow

FOLDER = Path(os.environ["NOTES"]).parent


async def gate(ctx, what):
    with (FOLDER / "notes").open("a") as notes:
        notes.write(f"{ctx.run_id} {what} {os.getpid()} {time.time()} None\\n")
    while not (FOLDER / f"open-{what}").exists():
        await asyncio.sleep(0.02)
    return os.getpid()


@workflow(access=anonymous(), singleton=True)
async def only(ctx):
    return await gate(ctx, "only")


@workflow(access=anonymous(), singleton=True, concurrency_key=lambda caller, body: body["order"])
async def one_of_each(ctx, body: dict):
    return await gate(ctx, body["order"])


@workflow(access=anonymous(), durable=True, concurrency_key=lambda caller, body: body["order"])
async def in_turn(ctx, body: dict):
    return await ctx.step(gate, ctx, body["order"], name="gate")
"""
CALLS: tuple[tuple[str, dict[str, Any]], ...] = (("only", {}), ("one-of-each", {"json": {"order": "inline"}}))


@pytest.fixture
def cluster(tmp_path: Path, database_url: str) -> Iterator[Cluster]:
    with closing(Cluster(tmp_path, database_url)) as made:
        (tmp_path / "workflows" / "singletons.py").write_text(WORKFLOWS, encoding="utf-8")
        yield made


def noted(cluster: Cluster) -> Counter[tuple[str, int]]:
    """How often each gate was reached in each process."""
    return Counter((note.what, note.process) for note in cluster.notes())


def test_a_kill_leaves_a_singleton_and_a_key_with_their_runs(cluster: Cluster, tmp_path: Path):
    """The processes are shared by all kinds of limits: each start takes seconds."""
    first, second = cluster.start(wait=False), cluster.start(wait=False)
    for server in (first, second):
        server.open()

    def call_until_the_kill(name: str, sent: dict[str, Any]) -> None:
        with suppress(HTTPError):
            first.client.post(f"/triggers/{name}", **sent)

    def statuses(server: Server) -> list[int]:
        return [server.post(name, **sent).status_code for name, sent in CALLS]

    with ThreadPoolExecutor(len(CALLS)) as threads:
        calls = [threads.submit(call_until_the_kill, name, sent) for name, sent in CALLS]
        runs = [first.post("in-turn", json={"order": "durable"}).json()["id"] for _ in range(2)]
        until(lambda: len(cluster.notes()) == 3, what=lambda: f"{noted(cluster)} {first.output} {second.output}")
        assert statuses(second) == [429, 429]
        claimed = cluster.rows("SELECT run_id FROM idempotency_keys WHERE status IS NULL ORDER BY run_id")
        owner = second if cluster.running(second) else first  # either may run what was accepted
        with cluster.frozen(second):  # it would look after the dead at any moment
            cluster.kill(first)
            for each in calls:
                each.result(20)
            held = cluster.rows("SELECT run_id FROM idempotency_keys WHERE status IS NULL ORDER BY run_id")
            assert (len(held), held) == (2, claimed)  # nothing is freed by the death itself
        for name in ("only", "inline"):
            (tmp_path / f"open-{name}").touch()
        for name, sent in CALLS:
            second.answers(name, 200, **sent)
    interrupted = cluster.rows("SELECT id FROM runs WHERE state = 'Interrupted' ORDER BY id")
    assert interrupted == claimed
    until(lambda: cluster.running(second) == [runs[0]] and noted(cluster)["durable", second.process.pid])
    assert {note.run_id for note in cluster.notes() if note.what == "durable"} == {runs[0]}  # the other one waits on
    assert noted(cluster)["durable", first.process.pid] == (owner is first)
    (tmp_path / "open-durable").touch()
    cluster.wait_for(runs, 20)
    assert [note.run_id for note in cluster.notes() if note.what == "durable"][-1] == runs[1]
    assert cluster.states()["Succeeded"] == 2 + len(CALLS)
