"""Old events are deleted, and what is left still verifies."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, insert, select
from structlog.testing import capture_logs

from postern.errors import problem
from postern.journal import audit_retention
from postern.journal.audit_event import Kind
from postern.journal.audit_retention import plan, prune
from postern.journal.reading.audit_lines import audit_lines
from postern.journal.schema import nodes
from postern.journal.security_tables import audit_chains, audit_checkpoints, audit_events
from postern.security.audit.verifier import Report, Verifier, checkpoints_in, public_key
from tests.journal.engines import empty_journal
from tests.security.audit.logs import Node, a_key, journal

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

DAY = 86_400.0
KEPT = 30 * DAY


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = empty_journal(database_url)
    yield engine
    engine.dispose()


def numbers(engine: Engine) -> list[tuple[str, int]]:
    with engine.begin() as connection:
        found = connection.execute(
            select(audit_events.c.node, audit_events.c.number).order_by(*audit_events.primary_key)
        )
        return [tuple(row) for row in found]


def registered(engine: Engine, *names: str) -> None:
    """These server processes run, and no others."""
    with engine.begin() as connection:
        connection.execute(delete(nodes))
        for name in names:
            row = {"id": name, "machine": "m", "process": "p", "started_at": 1.0, "beat": 1}
            connection.execute(insert(nodes).values(row))


def verified(engine: Engine, file: Path | None = None) -> Report:
    verifier = Verifier([public_key(a_key().public_pem.encode())])
    for line in checkpoints_in(file.read_text("ascii").splitlines()) if file else ():
        verifier.kept_elsewhere(line)
    with engine.begin() as connection:
        for line in audit_lines(connection, columns=True):
            verifier.take(line)
    return verifier.finish()


async def test_the_oldest_events_of_each_chain_go_and_an_event_says_so_first(engine: Engine) -> None:
    one, two = Node(engine, "one", 100.0, a_key()), Node(engine, "two", 2_000.0, a_key())
    await one.happens(3)
    one.clock.at = 2_000.0
    await one.happens(2)
    await two.happens(1)
    assert await two.retention.sweep(1_000.0) == 3
    assert numbers(engine) == [("one", 4), ("one", 5), ("two", 1), ("two", 2)]
    with engine.begin() as connection:
        kinds = list(connection.execute(select(audit_events.c.kind).order_by(*audit_events.primary_key)).scalars())
    assert kinds[-1] == "retention"
    assert verified(engine).problems == []


async def test_a_chain_that_ended_goes_with_its_last_event_and_one_that_runs_keeps_it(engine: Engine) -> None:
    for name in ("ended", "runs", "own"):
        await Node(engine, name, 100.0, a_key()).happens(2)
    registered(engine, "runs")
    own = Node(engine, "own", 5_000.0, a_key())
    own.writer.head = (await own.heads())["own"]
    assert await own.retention.sweep(1_000.0) == 4
    assert numbers(engine) == [("own", 2), ("own", 3), ("runs", 2)]
    with engine.begin() as connection:
        assert list(connection.execute(select(audit_chains.c.node).order_by("node")).scalars()) == ["own", "runs"]


async def test_checkpoints_go_too_but_the_last_of_a_chain_that_stays(engine: Engine) -> None:
    node = Node(engine, "one", 100.0, a_key())
    for _ in range(3):
        await node.happens(1)
        await node.checkpoint()
    registered(engine, "one")
    node.clock.at = 5_000.0
    await node.retention.sweep(1_000.0)
    with engine.begin() as connection:
        left = list(connection.execute(select(audit_checkpoints.c.number).order_by("number")).scalars())
    assert left == [3, 4]
    assert verified(engine).problems == []


async def test_a_beginning_that_was_removed_is_not_made_lawful_by_the_next_round(engine: Engine) -> None:
    gone, one, two = (Node(engine, name, at, a_key()) for name, at in (("gone", 1.0), ("one", 100_000.0), ("two", 2e5)))
    await gone.happens(2)
    await one.happens(6)
    await two.happens(1)
    with engine.begin() as connection:
        events, chains = audit_events.c, audit_chains.c
        digest = connection.execute(select(events.hash).where(events.node == "one", events.number == 3)).scalar()
        connection.execute(delete(audit_events).where(events.node == "one", events.number <= 3))
        connection.execute(audit_chains.update().where(chains.node == "one").values(first=4, before=digest))
    for before in (10.0, 20.0):
        await two.happens(1)
        await two.retention.sweep(before)
    assert [problem for problem in verified(engine).problems if "event" in problem] == [
        "event 3 of one was removed, or all before it: no retention event says so"
    ]


async def test_what_is_young_stays_and_nothing_is_announced(engine: Engine) -> None:
    node = Node(engine, "one", 100.0, a_key())
    await node.happens(2)
    assert await node.retention.sweep(50.0) == 0
    assert numbers(engine) == [("one", 1), ("one", 2)]


async def test_nothing_is_deleted_that_could_not_be_announced(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(engine, "one", 100.0, a_key())
    await node.happens(2)

    async def unavailable(_: object, /) -> object:
        raise problem("journal-unavailable")

    monkeypatch.setattr(node.writer, "_write", unavailable)
    assert await node.retention.sweep(1_000.0) == 0
    assert numbers(engine) == [("one", 1), ("one", 2)]


async def test_an_event_of_retention_that_removes_no_events_does_not_excuse_what_is_missing(engine: Engine) -> None:
    """Records are deleted each hour, and each time there is such an event."""
    gone, node = Node(engine, "gone", 100_000.0, a_key()), Node(engine, "one", 1.0, a_key())
    await node.happens(2)
    await gone.happens(2)
    node.clock.at = 100_010.0
    await node.checkpoint()
    await node.retention.sweep(10.0)
    for _ in range(50):
        node.audit.note(Kind.RETENTION, fields={"deleted": {"runs": 1}, "pruned": {}})
    await node.writer.flush()
    await node.checkpoint()
    assert verified(engine).problems == []
    with engine.begin() as connection:
        for table in (audit_events, audit_chains):
            connection.execute(delete(table).where(table.c.node == "gone"))
    assert [problem.partition(":")[0] for problem in verified(engine).problems] == ["event 2 of gone was removed"]


async def launder(engine: Engine, file: Path) -> Node:
    """Someone who can write the tables writes old times next to young events and checkpoints, and the next round of
    retention comes."""
    ended, node = Node(engine, "ended", 100_000.0, a_key(), file), Node(engine, "one", 100_100.0, a_key(), file)
    for _ in range(3):
        await ended.happens(2)
        await ended.checkpoint()
    await node.happens(1)
    await node.checkpoint()
    with engine.begin() as connection:
        for table in (audit_events, audit_checkpoints):
            connection.execute(table.update().where(table.c.node == "ended").values(at=0.0))
    await node.retention.sweep(1_000.0)
    return node


async def test_retention_does_not_believe_times_that_the_chain_does_not_protect(engine: Engine, tmp_path: Path) -> None:
    await launder(engine, tmp_path / "kept")
    assert numbers(engine) == [*(("ended", number) for number in range(1, 7)), ("one", 1)]
    with engine.begin() as connection:
        assert len(connection.execute(select(audit_checkpoints.c.id)).all()) == 4


async def test_young_events_that_retention_removed_are_missed(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own event says so, and is signed."""
    monkeypatch.setattr(audit_retention, "_is_old", lambda *_: True)
    await launder(engine, tmp_path / "kept")
    assert {node for node, _ in numbers(engine)} == {"one"}
    problems = [each.partition(": ")[0] for each in verified(engine, tmp_path / "kept").problems]
    assert "event 3 of ended was removed" in problems


async def test_nothing_is_deleted_that_no_checkpoint_announces(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(engine, "one", 100.0, a_key())
    await node.happens(2)

    async def fails() -> bool:
        return False

    monkeypatch.setattr(node.checkpoints, "make", fails)
    assert await node.retention.sweep(1_000.0) == 0
    assert [number for _, number in numbers(engine)] == [1, 2, 3]
    monkeypatch.undo()
    assert await node.retention.sweep(1_000.0) == 2
    assert verified(engine).problems == []


async def test_a_checkpoint_that_waited_to_be_written_is_followed_by_one_that_names_what_came_since(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(engine, "one", 100.0, a_key())
    await node.happens(2)

    async def unavailable(_: object, /) -> object:
        raise problem("journal-unavailable")

    monkeypatch.setattr(node.checkpoints, "_write", unavailable)
    assert not await node.checkpoints.make()
    monkeypatch.undo()
    assert await node.retention.sweep(1_000.0) == 1
    assert verified(engine).problems == []


async def test_deleting_may_be_repeated_and_goes_on_where_it_ended(engine: Engine) -> None:
    node, other = Node(engine, "one", 100.0, a_key()), Node(engine, "two", 5_000.0, a_key())
    await node.happens(5)
    with engine.begin() as connection:
        until = plan(connection, 1_000.0, "two").events["one"]
    await other.happens(1)
    for left in (3, 1, 0, 0):
        with engine.begin() as connection:
            prune(connection, "one", until, 2)
        assert len([each for each in numbers(engine) if each[0] == "one"]) == left


async def test_a_chain_whose_row_is_gone_is_left_as_it_is(engine: Engine) -> None:
    node = Node(engine, "one", 100.0, a_key())
    await node.happens(2)
    with engine.begin() as connection:
        connection.execute(delete(audit_chains))
    assert await Node(engine, "two", 5_000.0, a_key()).retention.sweep(1_000.0) == 0
    assert numbers(engine) == [("one", 1), ("one", 2)]


async def test_an_interrupted_round_still_verifies(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of what was announced is deleted."""
    node, other = Node(engine, "one", 100.0, a_key()), Node(engine, "two", 5_000.0, a_key())
    await node.happens(6)
    await other.happens(1)
    deleted = 0

    async def two_at_a_time(_: object) -> tuple[int, int]:
        nonlocal deleted
        with engine.begin() as connection:
            found = plan(connection, 1_000.0, "two")
            deleted = prune(connection, "one", found.events["one"], 2)
        raise InterruptedError

    monkeypatch.setattr(other.retention, "_delete", two_at_a_time)
    with pytest.raises(InterruptedError):
        await other.retention.sweep(1_000.0)
    assert deleted == 2
    assert verified(engine).problems == []


async def test_a_log_verifies_on_each_day_of_a_year_in_which_servers_come_and_go(
    tmp_path: Path, campaign: Callable[[int, int], int]
) -> None:
    """All checkpoints that were ever made are kept elsewhere."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    running: list[Node] = []
    step = campaign(3, 1) * DAY
    file = tmp_path / "checkpoints"
    with journal(tmp_path / "postern.db") as engine, capture_logs():
        for day in range(campaign(40, 400)):
            at = day * step
            for node in running:
                node.clock.at = max(node.clock.at, at)
            if len(running) < 2 or chance.random() < 0.1:
                running.append(Node(engine, f"node-{day}", at, a_key(), file))
                await running[-1].happens(1)
            if len(running) > 1 and chance.random() < 0.1:
                ended = running.pop(chance.randrange(len(running)))
                if chance.random() < 0.5:  # else it was killed
                    await ended.checkpoint()
            registered(engine, *(node.writer.node for node in running))
            for node in running:
                if chance.random() < 0.1:
                    await node.happens(chance.randrange(1, 4))
                if chance.random() < 0.7:
                    await node.checkpoint()
            await chance.choice(running).retention.sweep(at - KEPT)
            found = verified(engine, file if file.exists() else None)
            real = [each for each in found.problems if not each.startswith("no checkpoint is signed")]
            assert real == [], f"seed {seed}, day {day}"
        assert 0 < len(numbers(engine)) < 300
