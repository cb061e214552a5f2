"""Durable runs while server processes are killed, frozen and come back, and while the database is restarted."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from tests.databases import put_sqlite
from tests.postgres import new_database
from tests.process.durable_cluster import STEPS, Callers, Cluster, delays, repeated
from tests.process.postgres import own_postgres
from tests.process.servers import until

pytestmark = pytest.mark.process

FREEZE = 20.0
NOTICED = 15.0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    with contextlib.ExitStack() as stack:

        def make(url: str, *arguments: str, **settings: str) -> Cluster:
            made = Cluster(tmp_path, url, arguments, **settings)
            stack.callback(made.close)
            return made

        yield make


def assert_promise_kept(cluster: Cluster, ids: list[str], freezes: int, label: str) -> str:
    """Every 202 has one outcome, no finished step was repeated, and no step began where the run was lost. Returns what
    was seen."""
    outcomes = dict(cluster.rows("SELECT id, state FROM runs"))
    assert len(ids) == len(set(ids))
    assert {outcomes[run_id] for run_id in ids} == {"Succeeded"}, Counter(outcomes.values())
    assert len(outcomes) == len(ids)
    notes = cluster.notes()
    assert repeated(notes) == []
    done = {(note.run_id, note.what) for note in notes}
    assert len(done) == STEPS * len(ids)
    lost = [note for note in notes if note.ours == "False"]
    assert len(lost) <= freezes, lost
    ended = {row[0]: row[1] for row in cluster.rows("SELECT id, ended_at FROM runs")}
    assert [note for note in notes if note.at > ended[note.run_id]] == []
    longest = max(delays(cluster.blows, notes), default=0.0)
    kills = sum(not blow.frozen for blow in cluster.blows)
    taken = sum(line["runs"] for line in cluster.log("durable-runs-taken-over"))
    return (
        f" [{label}: {len(ids)} runs, {kills} kills, {freezes} freezes, {taken} taken over, "
        f"{len(notes) - len(done)} steps again, {len(lost)} begun after the run was lost, longest delay "
        f"{longest:.1f} s]"
    )


def test_runs_on_sqlite_survive_kills(tmp_path, cluster, campaign, capsys):
    """One server process, which is started again each time."""
    random, runs, kills, freezes = Random(), campaign(20, 300), campaign(1, 8), campaign(0, 1)
    town = cluster(put_sqlite(tmp_path / "postern.db"))
    callers = Callers(town, pause=campaign(0.0, 0.1))
    town.start()
    callers.send(runs)
    for number in range(kills):
        goal = (number + 1) * runs // (kills + 1)
        until(lambda goal=goal: len(callers.ids) >= goal, 120)
        until(lambda: town.running(town.servers[0]), 30)
        time.sleep(random.uniform(0, 0.3))
        if number < freezes:
            with town.frozen(town.servers[0]):
                time.sleep(FREEZE)
            continue
        town.kill(town.servers[0])
        town.start()
    ids = callers.wait()
    town.wait_for(ids, 120)
    seen = assert_promise_kept(town, ids, freezes, "SQLite")
    with capsys.disabled():
        print(seen, end="")


def test_runs_on_postgresql_survive_kills_freezes_and_a_restart_of_the_database(
    postgres_url, cluster, campaign, capsys
):
    """Three server processes, of which those that were killed are started again. The frozen ones come back."""
    random, runs, blows = Random(), campaign(20, 300), campaign(1, 10)
    with contextlib.ExitStack() as stack:
        own = stack.enter_context(own_postgres()) if blows > 1 else None
        url = own.url if own else stack.enter_context(new_database(postgres_url))[1]
        town = cluster(url)
        for _ in range(2 if own is None else 3):
            town.start()
        callers = Callers(town, pause=campaign(0.0, 0.25))
        callers.send(runs)
        freezes = 0
        for number in range(blows):
            goal = (number + 1) * runs // (blows + 1)
            until(lambda goal=goal: len(callers.ids) >= goal, 180)
            victim = random.choice(town.servers)
            until(lambda victim=victim: town.running(victim), 30)
            if own is not None and number == blows // 2:
                own.crash()
                time.sleep(5)
                own.start()
            elif number % 3 == 2:
                freezes += 1
                with town.frozen(victim):
                    time.sleep(FREEZE)
            else:
                town.kill(victim)
                town.start()
        ids = callers.wait(240)
        town.wait_for(ids, 180)
        seen = assert_promise_kept(town, ids, freezes, "PostgreSQL")
        found = delays(town.blows, town.notes())
        assert max(found, default=0.0) <= NOTICED, sorted(found)[-5:]
        town.close()
    with capsys.disabled():
        print(seen, end="")
