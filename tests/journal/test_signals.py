"""What the journal keeps of signals, on each kind of database."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, select, text, update
from sqlalchemy.exc import OperationalError

from postern.journal.durable_runs import Hold
from postern.journal.durable_tables import durable_runs, signals
from postern.journal.signals import (
    DUE,
    FEW,
    FEW_BYTES,
    MOST,
    MOST_BYTES,
    RESERVED,
    RESERVED_BYTES,
    Arrival,
    Sent,
    Taken,
    due_here,
    has_come,
    has_reserve,
    send,
    take,
)
from tests.journal.engines import add
from tests.journal.test_reads_of_durable_runs import durable_row

pytestmark = pytest.mark.slow

HOLD = Hold("1", "here", 2)


def a_signal(number: int = 1, **more: Any) -> Sent:
    values: dict[str, Any] = {"run_id": "1", "id": f"s{number}", "name": "go", "sent_by": "{}"}
    return Sent(**(values | {"size": 2, "body": str(number), "sent_at": 100.0 + number} | more))


def sent(engine: Engine, signal: Sent) -> Arrival:
    with engine.begin() as connection:
        return send(connection, signal)[0]


def taken(engine: Engine, number: int, name: str = "go", hold: Hold = HOLD) -> str | None:
    with engine.begin() as connection:
        found: Taken | None = take(connection, hold, name, number)
        return found.body if found is not None else None


def run(engine: Engine, phase: str = "running", **more: Any) -> None:
    add(engine, durable_runs, durable_row("1", phase, owner="here", **more))


def test_signals_are_taken_once_each_in_the_order_in_which_they_came(engine: Engine):
    """Whatever the clocks of the server processes say. A wait that looks again gets the one that it took."""
    run(engine)
    assert sent(engine, a_signal(1, sent_at=99.0)) is Arrival.ARRIVED
    for early in (98.0, 99.0):
        with engine.begin() as connection:
            arrival, at = send(connection, a_signal(2, sent_at=early))
        assert (arrival, 99.0 < at < 99.1) == (Arrival.EARLY, True)
    assert sent(engine, a_signal(2, sent_at=at)) is Arrival.ARRIVED
    assert [taken(engine, number) for number in (5, 5, 8, 5, 11)] == ["1", "1", "2", "1", None]
    assert sent(engine, a_signal(3)) is Arrival.ARRIVED
    with engine.connect() as connection:
        assert [has_come(connection, "1", "go", number) for number in (5, 11)] == [True, True]
        assert not has_come(connection, "1", "other", 11)
    assert [taken(engine, 11, "other"), taken(engine, 11)] == [None, "3"]


def test_only_the_process_that_runs_the_run_takes_a_signal(engine: Engine):
    run(engine)
    sent(engine, a_signal())
    for hold in (Hold("1", "there", 2), Hold("1", "here", 1)):
        assert taken(engine, 5, hold=hold) is None
    assert taken(engine, 5) == "1"


@pytest.mark.parametrize(
    ("phase", "again", "arrival"),
    [
        ("running", a_signal(2), Arrival.ARRIVED),
        ("running", a_signal(1), Arrival.KNOWN),
        ("running", a_signal(1, print="x"), Arrival.ANOTHER),
        ("ended", a_signal(1), Arrival.KNOWN),
        ("ended", a_signal(2), Arrival.ENDED),
        ("parked", a_signal(2), Arrival.ARRIVED),
        ("running", a_signal(2, run_id="2"), Arrival.NOT_DURABLE),
    ],
)
def test_what_becomes_of_a_second_signal(engine: Engine, phase: str, again: Sent, arrival: Arrival):
    run(engine)
    sent(engine, a_signal(1))
    with engine.begin() as connection:
        connection.execute(update(durable_runs).values(phase=phase))
    assert sent(engine, again) is arrival
    with engine.connect() as connection:
        assert len(connection.execute(select(signals)).all()) == (2 if arrival is Arrival.ARRIVED else 1)


def test_a_run_takes_so_many_signals_and_no_more(engine: Engine):
    run(engine)
    assert {sent(engine, a_signal(number)) for number in range(MOST)} == {Arrival.ARRIVED}
    taken(engine, 5)
    assert sent(engine, a_signal(MOST)) is Arrival.FULL
    other = partial(a_signal, sent_by='{"object_id": "lisa"}')  # one sender alone does not keep others out
    arrivals = [sent(engine, other(MOST + number)) for number in range(FEW + 1)]
    assert arrivals == [Arrival.ARRIVED] * FEW + [Arrival.FULL]


def test_a_run_takes_so_many_bytes_and_no_more(engine: Engine):
    run(engine)
    assert sent(engine, a_signal(1, size=MOST_BYTES + 1)) is Arrival.FULL
    assert sent(engine, a_signal(1, size=MOST_BYTES)) is Arrival.ARRIVED
    assert sent(engine, a_signal(2, size=1)) is Arrival.FULL
    assert sent(engine, a_signal(3, size=FEW_BYTES + 1, sent_by="[]")) is Arrival.FULL
    assert sent(engine, a_signal(4, size=FEW_BYTES, sent_by="[]")) is Arrival.ARRIVED
    assert sent(engine, a_signal(5, size=1, sent_by="[]")) is Arrival.FULL


@pytest.mark.parametrize(
    ("count", "size", "own", "own_size", "more", "has"),
    [
        (MOST, 0, 0, 0, 1, True),
        (MOST, 0, FEW - 1, 0, 1, True),
        (MOST, 0, FEW, 0, 1, False),
        (MOST, 0, 1, FEW_BYTES, 1, False),
        (MOST + RESERVED - 1, 0, 0, 0, 1, True),
        (MOST + RESERVED, 0, 0, 0, 1, False),
        (1, MOST_BYTES + RESERVED_BYTES, 0, 0, 1, False),
    ],
)
def test_what_is_reserved_for_those_who_sent_little(
    count: int, size: int, own: int, own_size: int, more: int, has: bool
):
    assert has_reserve(count, size, own, own_size, more) is has


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_run_is_not_taken_over_while_its_wait_takes_a_signal(engine: Engine):
    """A process that stood still in between takes nothing from the one that goes on."""
    run(engine)
    sent(engine, a_signal(1))
    sent(engine, a_signal(2))
    moved = update(durable_runs).values(owner="there", attempt=3)
    with engine.connect() as frozen:
        assert take(frozen, HOLD, "go", 5) is not None
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '50ms'"))
            with pytest.raises(OperationalError):
                connection.execute(moved)
            connection.rollback()
        frozen.rollback()  # its session is ended
    with engine.begin() as connection:
        connection.execute(moved)
    assert taken(engine, 5) is None
    assert [taken(engine, number, hold=Hold("1", "there", 3)) for number in (5, 7)] == ["1", "2"]


@pytest.mark.parametrize(
    ("waits", "is_due"),
    [
        ({"phase": "waiting", "reason": "signal", "waits_for": "go"}, True),
        ({"phase": "waiting", "reason": "signal", "waits_for": "other"}, False),
        ({"phase": "waiting", "reason": "approval", "waits_for": "go"}, False),
        ({"phase": "running", "reason": "signal", "waits_for": "go"}, False),
    ],
)
def test_a_signal_makes_the_run_due_that_waits_for_it(engine: Engine, waits: dict[str, Any], is_due: bool):
    run(engine, **waits, wakes_at=500.0)
    sent(engine, a_signal())
    with engine.connect() as connection:
        assert connection.execute(select(durable_runs.c.wakes_at)).scalar() == (DUE if is_due else 500.0)
        assert due_here(connection, "here", 100.0) == (["1"] if is_due else [])
        assert due_here(connection, "there", 100.0) == []


def test_a_key_that_is_sent_many_times_at_once_arrives_once(engine: Engine):
    run(engine)
    with ThreadPoolExecutor(8) as threads:
        arrivals = list(threads.map(lambda _: sent(engine, a_signal(1)), range(8)))
    assert sorted(arrivals) == sorted([Arrival.ARRIVED, *[Arrival.KNOWN] * 7])
