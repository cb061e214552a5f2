"""Which server processes are running, and what happens to the runs of dead ones."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event
from structlog.testing import capture_logs

from postern.errors import problem
from postern.journal.database.engine import IDLE_SECONDS
from postern.journal.durable_runs import NODE
from postern.journal.idempotency_keys import claim, settle
from postern.journal.journal import Journal
from postern.journal.process_identity import lives, this_machine
from postern.journal.run import MOVES, State
from postern.journal.schema import idempotency_keys, nodes, runs
from postern.journal.server_processes import (
    BEAT_EVERY,
    CANCEL_EVERY,
    FIRST_EVERY,
    FIRST_LOOKS,
    NO_ROW,
    OUT_OF_TURN,
    SILENCE,
    Seen,
    ServerProcess,
    ServerProcesses,
    beat,
    beat_again,
    beat_and_keep,
    gone,
    interrupt,
    is_known_gone,
    read_processes,
    registered_processes,
    requested_cancellations,
    watch,
)
from postern.runs.idempotency import keep
from tests.journal.engines import add, all_of, run_row
from tests.journal.operations import scalar
from tests.table import table

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

OWN = ServerProcess("own", "here", "1:10", 0.0)


def node(name: str = "other", machine: str = "there", process: str = "7:70", beat: int = 3) -> ServerProcess:
    return ServerProcess(name, machine, process, 0.0, beat)


@table(
    ("found", "seen", "alive", "is_gone"),
    [
        # another machine: only its beat counts
        (node(), Seen(3, 100.0), False, False),
        (node(), Seen(3, 70.1), False, False),
        (node(), Seen(3, 70.0), False, True),
        (node(), Seen(3, 70.0), True, True),
        (node(), Seen(2, 10.0), False, False),
        (node(), None, False, False),
        # this machine: its process counts, and its beat where the process is there
        (node(machine="here"), Seen(3, 100.0), False, True),
        (node(machine="here"), None, False, True),
        (node(machine="here"), Seen(3, 70.1), True, False),
        (node(machine="here"), Seen(3, 70.0), True, True),
        # no row, only runs
        (node("x", "", "", NO_ROW), Seen(NO_ROW, 70.1), False, False),
        (node("x", "", "", NO_ROW), Seen(NO_ROW, 70.0), False, True),
        (node("x", "", "", NO_ROW), Seen(5, 10.0), False, False),
        # ourselves, held up or not
        (OWN, Seen(0, 0.0), False, False),
    ],
)
def test_a_node_is_gone_when_its_process_ended_here_or_its_beat_stood_still_for_30_seconds(found, seen, alive, is_gone):
    remembered = {found.id: seen} if seen else {}
    lost = gone([OWN, found], remembered, 100.0, OWN, lambda process: alive and process == found.process)
    assert lost == ({found.id} if is_gone else set())


def test_only_nodes_that_beat_are_seen_anew():
    seen = {"still": Seen(3, 1.0), "beating": Seen(3, 1.0), "left": Seen(3, 1.0)}
    found = [node("still"), node("beating", beat=4), node("new")]
    assert watch(found, seen, 9.0) == {"still": Seen(3, 1.0), "beating": Seen(4, 9.0), "new": Seen(3, 9.0)}


def test_a_beat_out_of_turn_keeps_the_row_and_makes_none(engine):
    with engine.begin() as connection:
        assert not beat_again(connection, "other")
        beat(connection, node(beat=3))
        assert beat_again(connection, "other")
        assert [each.beat for each in read_processes(connection)] == [3 + OUT_OF_TURN]
        interrupt(connection, "other", 0.0, seen=3)
        assert beat_again(connection, "other")
        interrupt(connection, "other", 0.0, seen=3 + 2 * OUT_OF_TURN)
        assert not beat_again(connection, "other")


def test_a_beat_out_of_turn_is_not_the_next_regular_one(engine):
    """A process whose value stays the same for longer than between two beats would be taken for a silent one."""
    found = []
    with engine.begin() as connection:
        for number in range(3, 9):
            beat(connection, node(beat=number))
            found += [each.beat for each in read_processes(connection)]
            for _ in range(number % 3):
                beat_again(connection, "other")
                found += [each.beat for each in read_processes(connection)]
    assert all(one != next_one for one, next_one in pairwise(found))


@pytest.mark.parametrize(
    ("row", "alive", "is_gone"),
    [
        (None, True, True),
        (node(machine="here"), False, True),
        (node(machine="here"), True, False),
        (node(machine="there"), False, False),
    ],
)
def test_a_node_is_known_to_be_gone_without_a_row_or_when_its_process_ended_here(engine, row, alive, is_gone):
    with engine.begin() as connection:
        if row is not None:
            beat(connection, row)
        found = is_known_gone(connection, "other", "here", lambda process: alive and process == "7:70")
    assert found is is_gone


def test_a_node_beats_and_comes_back_when_its_row_was_taken_away(engine):
    with engine.begin() as connection:
        for count in (1, 1, 2):
            beat(connection, ServerProcess("a", "here", "1:10", 5.0, count))
        assert read_processes(connection) == [ServerProcess("a", "here", "1:10", 5.0, 2)]
        interrupt(connection, "a", 9.0)
        assert read_processes(connection) == []
        beat(connection, ServerProcess("a", "here", "1:10", 5.0, 3))
        assert read_processes(connection) == [ServerProcess("a", "here", "1:10", 5.0, 3)]


def test_nodes_without_a_row_are_known_by_their_unfinished_runs(engine):
    add(
        engine,
        runs,
        run_row("1", node="lost"),
        run_row("2", node="lost", state="Waiting"),
        run_row("3", node="living"),
        run_row("4", node="ended", state="Failed"),
        run_row("5", node="ended", state="Succeeded"),
        run_row("6", node="ended", state="Interrupted"),
    )
    with engine.begin() as connection:
        beat(connection, node("living"))
        assert read_processes(connection) == [node("living"), ServerProcess("lost", "", "", 0.0, NO_ROW)]


def test_the_row_of_durable_runs_is_no_process_and_beats_with_each_of_them(engine):
    add(engine, runs, run_row("1", node=NODE))
    with engine.begin() as connection:
        assert read_processes(connection) == []
        for count in (1, 2):
            beat_and_keep(connection, node("a", beat=count))
            beat_and_keep(connection, node("b", beat=count))
        assert [each.id for each in registered_processes(connection)] == ["a", "b"]
        assert [each.id for each in read_processes(connection)] == ["a", "b"]
    assert [row["beat"] for row in all_of(engine, nodes) if row["id"] == NODE] == [4]


async def test_durable_runs_are_nobodys_and_stay_as_they_are(engine):
    a = Place(engine, "a")
    add(engine, runs, run_row("1", node=NODE), run_row("2", node=NODE, state="Waiting"))
    for _ in range(20):
        await a.look(5)
    assert states(engine) == {"1": "Running", "2": "Waiting"}
    assert [each.id for each in a.nodes.known] == ["a"]


async def test_the_age_of_a_beat_counts_from_when_its_write_began(engine):
    slow: list[float] = []

    class Slow(Place):
        async def write(self, operation: Callable[[Connection], Any]) -> Any:
            found = await super().write(operation)
            self.time += slow.pop() if slow else 0.0
            return found

    a = Slow(engine, "a")
    assert a.nodes.beat_age() == float("inf")
    slow.append(4.0)
    await a.look(5)
    assert a.nodes.beat_age() == 4.0
    a.away = True
    with suppress(Exception):
        await a.look(5)
    assert a.nodes.beat_age() == 9.0


@pytest.mark.parametrize("state", State)
def test_the_runs_of_a_gone_node_move_as_the_table_of_moves_says(engine, state):
    add(engine, runs, run_row("1", state=state.value), run_row("2", state=state.value, node="another"))
    may = State.INTERRUPTED in MOVES[state]
    for expected in [["1"], []] if may else [[], []]:
        with engine.begin() as connection:
            assert interrupt(connection, "node-1", 2000.0) == expected
    first, second = all_of(engine, runs)
    assert (first["state"], first["ended_at"]) == (("Interrupted", 2000.0) if may else (state.value, None))
    assert (second["state"], second["ended_at"]) == (state.value, None)


def test_the_keys_of_interrupted_runs_are_free_and_others_are_not(engine):
    add(engine, runs, run_row("1"), run_row("2", state="Succeeded"), run_row("3", node="another"))
    with engine.begin() as connection:
        for number in ("1", "2", "3"):
            claim(connection, f"scope-{number}", "fingerprint", number, 1.0)
        settle(connection, "scope-2", "2", keep(200, (), b"", secured=False))
        interrupt(connection, "node-1", 2000.0)
    assert [row["scope"] for row in all_of(engine, idempotency_keys, "scope")] == ["scope-2", "scope-3"]


@pytest.mark.parametrize(
    ("row", "seen", "interrupted"),
    [(3, 3, True), (4, 3, False), (None, 3, True), (None, NO_ROW, True), (1, NO_ROW, False), (4, None, True)],
)
def test_a_node_that_has_beaten_meanwhile_is_left_alone(engine, row, seen, interrupted):
    add(engine, runs, run_row("1"))
    with engine.begin() as connection:
        if row is not None:
            beat(connection, node("node-1", beat=row))
        assert interrupt(connection, "node-1", 2000.0, seen=seen) == (["1"] if interrupted else [])
    assert len(all_of(engine, nodes)) == (0 if interrupted else 1)


def test_only_unfinished_runs_of_this_node_are_cancelled(engine):
    add(
        engine,
        runs,
        run_row("1", cancel_requested_at=5.0),
        run_row("2"),
        run_row("3", cancel_requested_at=5.0, state="Waiting"),
        run_row("4", cancel_requested_at=5.0, state="Succeeded"),
        run_row("5", cancel_requested_at=5.0, state="Interrupted"),
        run_row("6", cancel_requested_at=5.0, node="another"),
    )
    with engine.begin() as connection:
        assert requested_cancellations(connection, "node-1") == ["1", "3"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # PostgreSQL plans by the size of the table
def test_looking_for_unfinished_runs_does_not_read_the_whole_table(engine):
    statements: list[tuple[str, Any]] = []
    with engine.begin() as connection:
        _record(connection, statements)
        read_processes(connection)
        requested_cancellations(connection, "node-1")
        interrupt(connection, "node-1", 1.0)
    plans = []
    with engine.begin() as connection:
        for statement, parameters in statements:
            if "runs" in statement:
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
                plans.append(" ".join(row[3] for row in plan))
    assert len(plans) == 3
    assert all("runs_by_state" in plan and "SCAN runs" not in plan for plan in plans), plans


def _record(connection: Connection, statements: list[tuple[str, Any]]) -> None:
    @event.listens_for(connection, "before_cursor_execute")
    def _(_1: Any, _2: Any, statement: str, parameters: Any, _3: Any, _4: Any) -> None:
        statements.append((statement, parameters))


class Place:
    """One process, with a clock of its own and a journal that may be away."""

    def __init__(self, engine: Engine, name: str, **options: Any) -> None:
        self.engine = engine
        self.time = 1000.0
        self.away = False
        self.runs = 1
        self.cancelled: list[str] = []
        self.reads = 0
        settings: dict[str, Any] = {
            "cancel": self.cancelled.append,
            "running": lambda: self.runs,
            "clock": lambda: self.time,
            "now": lambda: 5000.0,
            "alive": lambda process: True,
        }
        self.nodes = ServerProcesses(name, self.read, self.write, **settings | options)

    async def read(self, operation: Callable[[Connection], Any]) -> Any:
        self.reads += 1
        return await self.write(operation)

    async def write(self, operation: Callable[[Connection], Any]) -> Any:
        if self.away:
            raise problem("journal-unavailable", reason="postgresql://user:private@host is unavailable")
        with self.engine.begin() as connection:
            return operation(connection)

    async def look(self, seconds: float) -> None:
        self.time += seconds
        await self.nodes.look()


def states(engine: Engine) -> dict[str, str]:
    return {row["id"]: row["state"] for row in all_of(engine, runs)}


async def test_running_processes_leave_each_other_alone(engine):
    a, b = Place(engine, "a"), Place(engine, "b")
    add(engine, runs, run_row("1", node="a"), run_row("2", node="b"))
    for _ in range(20):
        await a.look(5)
        await b.look(5)
    assert set(states(engine).values()) == {"Running"}
    assert {each.id for each in a.nodes.known} == {each.id for each in b.nodes.known} == {"a", "b"}


async def test_the_runs_of_a_silent_node_become_interrupted_after_30_seconds(engine):
    a, b = Place(engine, "a"), Place(engine, "b")
    add(engine, runs, run_row("1", node="a"), run_row("2", node="b"))
    await a.look(5)
    with capture_logs() as logs:
        for _ in range(6):
            await b.look(5)
        assert states(engine) == {"1": "Running", "2": "Running"}
        await b.look(5)
    assert states(engine) == {"1": "Interrupted", "2": "Running"}
    assert all_of(engine, runs)[0]["ended_at"] == 5000.0
    assert [(line["event"], line["node"], line["runs"]) for line in logs] == [("node-gone", "a", 1)]
    assert [each.id for each in b.nodes.known] == ["b"]
    await a.look(5)  # it was only held up
    await b.look(5)
    assert [each.id for each in b.nodes.known] == ["a", "b"]


async def test_runs_whose_node_has_no_row_become_interrupted_too(engine):
    a = Place(engine, "a")
    add(engine, runs, run_row("1", node="never registered"), run_row("2", node="a"))
    for _ in range(7):
        await a.look(5)
    assert states(engine) == {"1": "Interrupted", "2": "Running"}
    assert [each.id for each in a.nodes.known] == ["a"]


async def test_an_outage_of_the_journal_is_no_silence_of_the_others(engine):
    a, b = Place(engine, "a"), Place(engine, "b")
    add(engine, runs, run_row("1", node="a"))
    await a.look(5)
    await b.look(5)
    await b.look(600)
    assert states(engine) == {"1": "Running"}
    for _ in range(6):
        await b.look(5)
    assert states(engine) == {"1": "Interrupted"}


@pytest.mark.process
async def test_a_process_killed_on_this_machine_is_gone_at_once(engine, child):
    with engine.begin() as connection:
        beat(connection, ServerProcess("a", this_machine(), child.name, 0.0, 1))
    add(engine, runs, run_row("1", node="a"))
    b = Place(engine, "b", alive=lives)
    await b.look(5)
    assert states(engine) == {"1": "Running"}
    child.kill()
    await b.look(5)
    assert states(engine) == {"1": "Interrupted"}


async def test_a_node_that_leaves_leaves_no_running_run_behind(engine):
    a = Place(engine, "a")
    await a.look(5)
    add(engine, runs, run_row("1", node="a"), run_row("2", node="a", state="Succeeded"))
    with capture_logs() as logs:
        await a.nodes.leave()
        await a.nodes.leave()
    assert states(engine) == {"1": "Interrupted", "2": "Succeeded"}
    assert [row["id"] for row in all_of(engine, nodes)] == [NODE]
    assert [(line["event"], line["runs"]) for line in logs] == [("runs-left-behind", 1)]


async def test_each_run_is_cancelled_once_and_nothing_is_read_while_nothing_runs(engine):
    a = Place(engine, "node-1")
    a.runs = 0
    add(engine, runs, run_row("1", cancel_requested_at=5.0), run_row("2"))
    await a.nodes.pass_on()
    assert (a.cancelled, a.reads) == ([], 0)
    a.runs = 2
    await a.nodes.pass_on()
    await a.nodes.pass_on()
    assert (a.cancelled, a.reads) == (["1"], 2)


@pytest.mark.process
async def test_nodes_and_their_journals_fit_together(database_url):
    journals = [Journal(database_url), Journal(database_url)]
    for journal in journals:
        await journal.open()
    own, other = (
        ServerProcesses(each.node, each.read, each.write, cancel=print, running=lambda: 1, alive=lambda _: False)
        for each in journals
    )
    await own.look()
    assert [each.id for each in own.known] == [journals[0].node]
    await other.look()
    assert [each.id for each in other.known] == [journals[1].node]
    await other.pass_on()
    await own.leave()
    await other.leave()
    assert await journals[0].read(read_processes) == []
    for journal in journals:
        await journal.aclose()


@pytest.mark.process
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_writer_that_stands_still_in_a_transaction_loses_its_session(database_url):
    """Its locks would keep others from taking the runs of this machine over."""
    journal = Journal(database_url)
    await journal.open()
    shown = "SHOW idle_in_transaction_session_timeout"
    assert await journal.write(partial(scalar, statement=shown)) == f"{IDLE_SECONDS}s"
    await journal.aclose()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def test_the_first_looks_come_sooner_so_that_processes_that_start_together_know_each_other(engine):
    looks: list[float] = []
    enough = asyncio.Event()

    async def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == FIRST_LOOKS + 2:
            enough.set()
            await asyncio.sleep(60)

    async def look() -> None:
        pass

    a = Place(engine, "node-1", sleep=sleep)
    task = asyncio.create_task(a.nodes._repeat(look, BEAT_EVERY, FIRST_LOOKS))
    await enough.wait()
    task.cancel()
    assert looks == [FIRST_EVERY] * FIRST_LOOKS + [BEAT_EVERY] * 2


async def test_the_task_beats_every_5_seconds_and_asks_each_second_and_survives_an_outage(engine):
    slept: list[float] = []
    turn = asyncio.Semaphore(0)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await turn.acquire()

    a = Place(engine, "node-1", sleep=sleep)
    a.away = True
    add(engine, runs, run_row("1", cancel_requested_at=5.0))
    with capture_logs() as logs:
        task = asyncio.create_task(a.nodes.run())
        await until(lambda: len(slept) == 3)
        for _ in range(3):
            turn.release()
        await until(lambda: len(slept) == 6)
        assert sorted(slept) == [CANCEL_EVERY] * 2 + [FIRST_EVERY] * 2 + [BEAT_EVERY] * 2
        a.away = False
        for _ in range(3):
            turn.release()
        await until(lambda: bool(a.nodes.known) and a.cancelled == ["1"])
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert [line["event"] for line in logs] == ["nodes-not-seen"] * 3
    assert "private" not in str(logs)
    assert SILENCE == 30.0
