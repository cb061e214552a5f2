"""Durable runs while server processes are killed, frozen and come back, and while the database is restarted."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random

import pytest

from postern.journal.durable_runs import DEATHS
from tests.databases import put_sqlite
from tests.postgres import new_database
from tests.process.durable_cluster import PHASES, STEPS, Callers, Cluster, Lag, delays, repeated
from tests.process.postgres import own_postgres
from tests.process.servers import until

pytestmark = pytest.mark.process

OTHERS = "SELECT state, count(*) FROM runs WHERE workflow = 'five' GROUP BY state"
POISONED = "SELECT state, error_type FROM runs WHERE workflow = 'poison'"

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


def roll(cluster: Cluster, runs: int, rounds: int) -> list[str]:
    """Restart each server process under load, as a deployment does. Nothing is lost, and callers see 202 or a 503 with
    Retry-After only. Returns the ids of the runs."""
    deaths = "SELECT sum(deaths) FROM durable_runs"
    until(cluster.all_owners_live)
    before = cluster.rows(deaths)
    callers = Callers(cluster)
    callers.send(runs)
    for _ in range(rounds):
        for server in list(cluster.servers):
            until(partial(cluster.running, server))
            cluster.replace(server)
    ids = callers.stop()
    assert (callers.broken, callers.wrong) == (0, [])
    assert cluster.rows(deaths) == before
    return ids


def test_runs_on_sqlite_survive_kills(tmp_path, cluster, campaign, capsys):
    """One server process, which is started again each time."""
    random, runs, kills, freezes = Random(), campaign(20, 300), campaign(1, 8), campaign(0, 1)
    town = cluster(put_sqlite(tmp_path / "postern.db"))
    callers = Callers(town, pause=campaign(0.05, 0.2))
    town.start()
    callers.send()
    for number in range(kills):
        callers.accepted((number + 1) * runs // (kills + 1))
        until(partial(town.running, town.servers[0]))
        time.sleep(random.uniform(0, 0.3))
        if number < freezes:
            with town.frozen(town.servers[0]):
                time.sleep(FREEZE)
            continue
        town.kill(town.servers[0])
        town.start()
    callers.accepted(runs)
    ids = callers.stop() + roll(town, campaign(10, 100), rounds=campaign(1, 5))
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
        town.seconds = campaign(0.2, 0.5)
        for _ in range(2 if own is None else 3):
            town.start()
        callers = Callers(town, pause=campaign(0.05, 0.2))
        callers.send()
        freezes = 0
        for number in range(blows):
            callers.accepted((number + 1) * runs // (blows + 1))
            victim = random.choice(town.servers)
            until(partial(town.running, victim), what=lambda: f"{town.states()} {town.rows(PHASES)}")
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
        callers.accepted(runs)
        ids = callers.stop() + roll(town, campaign(10, 200), rounds=campaign(1, 2))
        town.wait_for(ids, 180)
        seen = assert_promise_kept(town, ids, freezes, "PostgreSQL")
        found = delays(town.blows, town.notes())
        assert max(found, default=0.0) <= NOTICED, sorted(found)[-5:]
        town.close()
    with capsys.disabled():
        print(seen, end="")


@pytest.mark.long
def test_a_run_that_kills_its_process_does_so_five_times_at_most_and_others_go_on(tmp_path, cluster, capsys):
    """Five starts of a server."""
    town = cluster(put_sqlite(tmp_path / "postern.db"))
    town.start()
    poison, others = Callers(town, workflow="poison", count=1), Callers(town, pause=0.0)
    others.send(40)
    ids = others.wait()
    poison.send(1)

    def ended() -> bool:
        (server,) = town.servers
        if server.process.poll() is not None:
            town.buried(server)
            town.start(wait=False)
        failed = town.rows(POISONED) == [("Failed", "too-many-crashes")]
        return failed and bool(town.rows(OTHERS) == [("Succeeded", len(ids))])

    until(ended, 180, what=lambda: f"{town.states()} {town.rows(PHASES)}")
    assert town.servers[0].process.poll() is None
    began = sum(line.split()[1] == "poison" for line in (tmp_path / "notes").read_text().splitlines())
    assert began == len(town.ended) == DEATHS
    poison.wait()
    with capsys.disabled():
        print(f" [{began} deaths, {len(ids)} other runs ended]", end="")


@pytest.mark.long
def test_many_sleeping_runs_neither_delay_a_stop_nor_a_recovery(tmp_path, cluster, campaign, capsys):
    most = campaign(40, 1000)
    town = cluster(put_sqlite(tmp_path / "postern.db"))
    town.seconds = campaign(5, 60)
    server = town.start()
    callers = Callers(town, workflow="nap", pause=0.0, count=8)
    callers.send(most)
    ids = callers.wait()
    waiting = "SELECT count(*) FROM durable_runs WHERE phase = 'waiting'"
    until(lambda: town.rows(waiting) == [(len(ids),)])
    began = time.monotonic()
    assert town.stop(server) == 0
    stopped = time.monotonic() - began
    assert town.rows("SELECT count(*), sum(deaths) FROM durable_runs WHERE phase='waiting' AND owner IS NULL") == [
        (len(ids), 0)
    ]
    server = town.start()
    due = town.rows("SELECT max(wakes_at) FROM durable_runs")[0][0]
    with Lag(server.address) as lag:
        town.wait_for(ids, 90)
    late = max(row[0] for row in town.rows("SELECT ended_at FROM runs")) - due
    assert town.states() == {"Succeeded": len(ids)}
    with capsys.disabled():
        print(
            f" [{len(ids)} sleeping runs: stopped in {stopped:.1f} s, all ended {late:.1f} s after they were due, "
            f"longest answer meanwhile {lag.most:.2f} s]",
            end="",
        )


def test_a_server_process_may_only_accept_and_another_only_execute(tmp_path, cluster):
    town = cluster(put_sqlite(tmp_path / "postern.db"))
    town.seconds = 0.0
    http = town.start("--role", "http")
    callers = Callers(town)
    callers.send(3)
    ids = callers.wait()
    worker = town.start("--role", "worker")
    town.wait_for(ids, 60)
    assert {note.process for note in town.notes()} == {worker.process.pid}
    assert http.client.get(f"/runs/{ids[0]}").status_code == 200
    assert [worker.client.get(path).status_code for path in ("/healthz", "/readyz", "/metrics")] == [200] * 3
    for path in ("/triggers/five", f"/runs/{ids[0]}", "/docs", "/workflows", "/console/"):
        assert worker.client.request("POST" if "triggers" in path else "GET", path).status_code == 404, path
    until(lambda: 'postern_nodes{process="' in (text := http.client.get("/metrics").text) and "} 2.0" in text)
    assert 'postern_durable_runs{phase="ready"' in http.client.get("/metrics").text
