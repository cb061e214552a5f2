"""Server processes of this release beside the real release 0.1 on one database, while both are killed, frozen, stopped
and started: each 202 has one outcome, no finished step runs again, no key is freed, and 0.1 records all its runs."""

import contextlib
import random
import sqlite3
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from httpx2 import HTTPError, Response

from postern.durable.checkpoints_database import checkpoints_file
from postern.ids import new_id
from tests.process import release_of_0001
from tests.process.durable_cluster import PHASES, STEPS, Callers, Cluster, delays, repeated
from tests.process.release_of_0001 import Load, Release0001
from tests.process.servers import Server, until

QUICK = """
from postern import anonymous, workflow


@workflow(access=anonymous())
async def quick(ctx):
    return "0.2"


@workflow(access=anonymous(), durable=True, signals=anonymous())
async def waits(ctx):
    return (await ctx.wait_for("go")).body
"""
RUN = "import runpy; runpy.run_module('postern', run_name='__main__', alter_sys=True)"
OF_ANOTHER_MACHINE = f"import socket; socket.gethostname = lambda: 'another'; {RUN}"
DAYS = 40
OF_THE_PAST = f"""
import time, types
import postern.ids
postern.ids.time = types.SimpleNamespace(time_ns=lambda: time.time_ns() - {DAYS} * 86400 * 10**9)
{RUN}
"""
"""A server process that accepts runs as it would have done so many days ago: their ids are of that time."""

RECORDS = "SELECT id, state, node FROM runs"
KEPT = "SELECT run_id FROM idempotency_keys WHERE status = 202"
ROUNDS = 3
NOTICED = 15.0
FREEZE = 35.0
"""Seconds: longer than the silence after which 0.1 takes a process for gone."""


class Both:
    """Release 0.1 under inline load all the time, and server processes of this release."""

    def __init__(self, folder: Path, url: str) -> None:
        self.old = Release0001(folder, url)
        self.load = Load(self.old)
        (folder / "new").mkdir()
        self.new = Cluster(folder / "new", url)
        (folder / "new" / "workflows" / "quick.py").write_text(QUICK, encoding="utf-8")
        self.ids: list[str] = []
        self.of_the_past: list[str] = []

    def accepted(self, workflow: str, server: Server) -> str:
        """The id of a run that was accepted."""
        reply = server.post(workflow, headers={"Idempotency-Key": new_id()})
        assert reply.status_code == 202, reply.text
        self.ids.append(reply.json()["id"])
        return self.ids[-1]

    def states_of(self, ids: list[str]) -> dict[str, str]:
        """The states of those of these runs that have a record."""
        return {run_id: state for run_id, state, _ in self.new.rows(RECORDS) if run_id in ids}

    def close(self) -> None:
        """End all."""
        self.new.close()
        self.old.close()


@pytest.fixture
def both(tmp_path: Path, new_database_url: str) -> Iterator[Both]:
    with contextlib.closing(Both(tmp_path, new_database_url)) as made:
        made.old.start()
        yield made


def test_without_the_history_of_git_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(release_of_0001, "COMMIT", "0" * 40)
    with pytest.raises(AssertionError, match=r"git does not have it here: (.|\n)*git fetch --unshallow"):
        release_of_0001.unpack(tmp_path)


@pytest.mark.long
def test_release_0_1_and_this_one_lose_nothing_of_each_other(both, capsys):
    """Release 0.1 made the tables, and this release adds its own beside it."""
    both.load.begin()
    until(lambda: len(both.load.replied) > 10)
    begin_long_ago(both)
    both.new.seconds = 0.3
    both.new.start()
    both.new.start()
    callers = Callers(both.new, pause=0.3)
    callers.send()
    kill_new_ones(both, callers)
    send_equal_keys(both)
    freeze_a_new_one(both)
    gone = let_0_1_think_that_no_new_one_is_left(both)
    kill_0_1(both)
    callers.accepted(len(callers.ids) + 5)
    both.ids += callers.stop()
    assert callers.wrong == []  # a request that a frozen one did not answer was sent again with its key
    both.new.wait_for(both.ids, 120)
    both.load.stop()
    assert both.old.stop() == 0, both.old.server.output
    seen = assert_kept(both)
    with capsys.disabled():
        print(f" [{seen}, {gone}]", end="")


def begin_long_ago(both: Both) -> None:
    """Runs whose records 0.1 takes for old. Those that are durable wait."""
    server = both.new.start(code=OF_THE_PAST)
    both.of_the_past += [both.accepted("waits", server) for _ in range(4)]
    assert server.post("quick").status_code == 200
    waiting = "SELECT count(*) FROM durable_runs WHERE phase = 'waiting'"
    until(lambda: both.new.rows(waiting) == [(4,)])
    assert both.new.stop(server) == 0


def kill_new_ones(both: Both, callers: Callers) -> None:
    """Some of this machine, which 0.1 notices at once, and one of another one, which it takes for gone after 30 s."""
    for number in range(ROUNDS):
        callers.accepted(len(callers.ids) + 10)
        another = both.new.start(code=OF_ANOTHER_MACHINE) if number == 1 else None
        victim = another or random.choice(both.new.servers)
        until(lambda: both.new.running(victim), what=lambda: f"{both.new.states()} {both.new.rows(PHASES)}")  # noqa: B023
        both.new.kill(victim)
        if another is None:
            both.new.start()


def send_equal_keys(both: Both) -> None:
    """A key has one run: of the release that got it first."""
    server = both.new.servers[0]
    first = {"Idempotency-Key": new_id()}
    reply = server.post("five", headers=first)
    both.ids.append(reply.json()["id"])
    assert reply.status_code == 202
    for _ in range(2):
        again = both.old.server.post("five", headers=first)
        assert (again.status_code, again.json(), again.headers["idempotent-replayed"]) == (202, reply.json(), "true")
        until(lambda: both.states_of([reply.json()["id"]]) == {reply.json()["id"]: "Succeeded"})

    other = {"Idempotency-Key": new_id()}
    both.old.hold.touch()
    with ThreadPoolExecutor(1) as threads:
        held = threads.submit(both.old.server.post, "five", headers=other)
        until(lambda: both.old.begun)
        meanwhile = server.post("five", headers=other)
        assert (meanwhile.status_code, meanwhile.json()["code"]) == (409, "run-in-progress"), meanwhile.text
        both.old.hold.unlink()
        assert held.result().json() == "0.1"
    replayed = server.post("five", headers=other)
    assert (replayed.status_code, replayed.json(), replayed.headers["idempotent-replayed"]) == (200, "0.1", "true")
    for _ in range(ROUNDS):
        send_one_key_to_all(both, new_id())


def send_one_key_to_all(both: Both, key: str) -> None:
    servers = [*both.new.servers, both.old.server]

    def send(number: int) -> Response:
        return servers[number % len(servers)].post("five", headers={"Idempotency-Key": key})

    with ThreadPoolExecutor(6) as threads:
        replies = list(threads.map(send, range(24)))
    first = [reply for reply in replies if reply.is_success and "idempotent-replayed" not in reply.headers]
    assert len(first) == 1, [(reply.status_code, reply.text) for reply in replies]
    assert {reply.status_code for reply in replies} <= {first[0].status_code, 409}
    if first[0].status_code == 202:
        both.ids.append(first[0].json()["id"])


@contextlib.contextmanager
def standing_still(both: Both, servers: Sequence[Server]) -> Iterator[None]:
    """These are frozen, on SQLite in a moment in which none of them writes: one that stands still within a transaction
    keeps all others from the file, of both releases."""
    for _ in range(30):
        blows = len(both.new.blows)
        with contextlib.ExitStack() as stack:
            for server in servers:
                stack.enter_context(both.new.frozen(server))
            if is_free(both.new.url):
                yield
                return
        del both.new.blows[blows:]
        time.sleep(0.5)
    raise AssertionError("the database is never free")


def is_free(url: str) -> bool:
    """Whether others can write, to the checkpoints too. A session of PostgreSQL that stands still within a transaction
    is ended."""
    checkpoints = checkpoints_file(url)
    if checkpoints is None:
        return True
    try:
        for path in (url.removeprefix("sqlite:///"), checkpoints):
            with contextlib.closing(sqlite3.connect(path, timeout=2)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.rollback()
    except sqlite3.OperationalError:
        return False
    return True


def freeze_a_new_one(both: Both) -> None:
    """0.1 deletes its row, and it comes back."""
    victim = both.new.servers[0]
    until(lambda: both.new.running(victim))
    with standing_still(both, [victim]):
        time.sleep(FREEZE)
    until(lambda: both.new.running(victim), what=lambda: f"{both.new.rows(PHASES)}")


def let_0_1_think_that_no_new_one_is_left(both: Both) -> str:
    """It marks all durable runs Interrupted, and then deletes the records that are old by its rules."""
    assert both.old.stop() == 0, both.old.server.output
    both.old.start()
    unended = [row[0] for row in both.new.rows("SELECT run_id FROM durable_runs WHERE phase <> 'ended'")]
    assert set(both.of_the_past) <= set(unended)
    with standing_still(both, both.new.servers):
        until(lambda: "Interrupted" in both.states_of(both.of_the_past).values(), 60)
        until(lambda: "records-deleted" in both.old.server.output, 90)
        states = both.states_of(unended)
        assert not both.states_of(both.of_the_past), "0.1 has deleted their records"
    until(lambda: list(both.states_of(both.of_the_past).values()) == ["Waiting"] * len(both.of_the_past), 90)
    until(lambda: "Interrupted" not in both.states_of(unended).values(), 60)
    for run_id in both.of_the_past:
        reply = both.new.servers[0].client.post(f"/runs/{run_id}/signals/go", json=1)
        assert reply.status_code == 202, reply.text
    return (
        f"{list(states.values()).count('Interrupted')} durable runs Interrupted, {len(unended) - len(states)} records"
    )


def kill_0_1(both: Both) -> None:
    """While it has runs with keys: this release makes them Interrupted, and their callers may try again."""
    keys = [{"Idempotency-Key": new_id()} for _ in range(3)]
    both.old.hold.touch()
    before = both.old.begun

    def send(key: dict[str, str]) -> None:
        with contextlib.suppress(HTTPError):
            both.old.server.post("five", headers=key)

    with ThreadPoolExecutor(3) as threads:
        threads.map(send, keys)
        until(lambda: len(both.old.begun) == len(before) + 3)
        held = [run_id for run_id in both.old.begun if run_id not in before]
        until(lambda: list(both.states_of(held).values()) == ["Running"] * 3)
        both.old.kill()
    until(lambda: list(both.states_of(held).values()) == ["Interrupted"] * 3)
    both.old.hold.unlink()
    both.ids += [each.json()["id"] for each in (both.new.servers[0].post("five", headers=key) for key in keys)]
    both.old.start()


def assert_kept(both: Both) -> str:
    """Every 202 has one outcome, and every reply of 0.1 a record. Returns what was seen."""
    records = {run_id: state for run_id, state, _ in both.new.rows(RECORDS)}
    lost = [run_id for run_id in both.ids if records.get(run_id) != "Succeeded"]
    assert lost == [], [(run_id, records.get(run_id)) for run_id in lost]
    assert len(both.ids) == len(set(both.ids)) == both.new.rows("SELECT count(*) FROM durable_runs")[0][0]
    notes = both.new.notes()
    assert repeated(notes) == []
    done = {(note.run_id, note.what) for note in notes}
    assert len(done) == STEPS * (len(both.ids) - len(both.of_the_past))
    assert {row[0] for row in both.new.rows(KEPT)} == set(both.ids)
    assert both.load.wrong == []
    assert [run_id for run_id in both.load.replied if records.get(run_id) != "Succeeded"] == []
    assert set(records.values()) <= {"Succeeded", "Interrupted"}
    interrupted = [run_id for run_id, state in records.items() if state == "Interrupted"]
    assert len(interrupted) <= both.load.cut + 3
    assert both.old.mistakes() == []
    again = sum(line["runs"] for line in both.new.log("durable-runs-taken-up-again"))
    taken = sum(line["runs"] for line in both.new.log("durable-runs-taken-over"))
    kills = [blow for blow in both.new.blows if not blow.frozen]
    late = max(delays(kills, notes), default=0.0)
    assert late <= NOTICED
    return (
        f"{len(both.load.replied)} inline runs of 0.1, {both.load.cut} cut off, {len(interrupted)} Interrupted, "
        f"{len(both.ids)} durable runs, {len(kills)} kills, {len(both.new.blows) - len(kills)} freezes, {taken} taken "
        f"over, {again} taken up again, {len(notes) - len(done)} steps again, longest delay {late:.1f} s"
    )
