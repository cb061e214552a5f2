"""Old records are deleted, and no others."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine
from structlog.testing import capture_logs

from postern.errors import problem
from postern.ids import id_at as id_before
from postern.ids import new_id
from postern.journal import clock
from postern.journal.retention import (
    BATCH,
    DAY,
    EVERY,
    FIRST,
    PAUSE,
    Retention,
    delete_keys,
    delete_refusals,
    delete_runs,
)
from postern.journal.run import State
from postern.journal.schema import (
    authorizations,
    calls,
    grants,
    idempotency_keys,
    invitations,
    refusals,
    revocations,
    runs,
    sessions,
    steps,
)
from postern.journal.sessions import Ends
from tests.journal.engines import add, all_of, run_row
from tests.journal.grant_rows import grant, put

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

NOW = 1_700_000_000.0
OLD = NOW - 31 * DAY


@pytest.fixture(autouse=True)
def one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own clock, also on PostgreSQL."""
    monkeypatch.setattr(clock, "wall_clock", lambda connection, own: own)


def id_at(moment: float, number: int = 0) -> str:
    digits = f"{int(moment * 1000):012x}"
    return f"{digits[:8]}-{digits[8:]}-7fff-bfff-{number:012x}"


def refusal(name: str, last_at: float) -> dict[str, Any]:
    texts = dict.fromkeys(("reason", "code", "workflow", "client_address", "request_ids"), "")
    return {"id": name, **texts, "status": 401, "first_at": OLD, "last_at": last_at, "count": 2, "checks": "[]"}


def key(scope: str, created_at: float) -> dict[str, Any]:
    return {"scope": scope, "fingerprint": "", "run_id": scope, "created_at": created_at}


def step(run_id: str, number: int = 1) -> dict[str, Any]:
    return {"run_id": run_id, "number": number, "name": "book", "succeeded": 1, "attempts": "[]"}


def call(run_id: str, number: int = 1) -> dict[str, Any]:
    return {"run_id": run_id, "number": number, "name": "greet", "started_at": 1.0, "ended_at": 2.0}


def session(id_hash: str, seen_at: float) -> dict[str, Any]:
    texts = dict.fromkeys(("tenant_id", "object_id", "name", "address"), "")
    return {"id_hash": id_hash, **texts, "roles": "[]", "created_at": seen_at, "seen_at": seen_at}


def authorization(state_hash: str, created_at: float) -> dict[str, Any]:
    texts = dict.fromkeys(("browser_hash", "kind", "about"), "")
    return {"state_hash": state_hash, **texts, "created_at": created_at}


def revocation(id_: str, lifted_at: float) -> dict[str, Any]:
    texts = dict.fromkeys(("tenant_id", "subject", "name", "reason", "made_by", "lifted_by"), "")
    moments = {"not_before": lifted_at, "made_at": lifted_at, "lifted_at": lifted_at}
    return {"id": id_, "kind": "caller"} | texts | moments


def invitation(hash_: str, created_at: float) -> dict[str, Any]:
    texts = dict.fromkeys(("connection", "owner", "created_by"), "")
    return {"hash": hash_, **texts, "created_at": created_at}


def in_one(engine: Engine, operation: Callable[..., int], *arguments: Any) -> int:
    with engine.begin() as connection:
        return operation(connection, *arguments)


def count(engine: Engine, table: Any, column: str = "id") -> int:
    return len(all_of(engine, table, column))


@given(st.floats(0, 4e9), st.floats(0, 4e9))
def test_an_id_stands_before_the_bound_just_when_its_millisecond_is_earlier(made_at, moment):
    assert (id_at(made_at) < id_before(moment)) == (int(made_at * 1000) < int(moment * 1000))


def test_the_bound_is_an_id_itself():
    assert len(id_before(NOW)) == len(new_id())
    assert id_before(NOW) < new_id() < id_before(1e10)
    assert id_before(-1.0) == "00000000-0000-7000-8000-000000000000"


@pytest.mark.parametrize("state", State)
def test_old_runs_go_with_their_steps_but_not_those_that_have_not_ended(engine, state):
    old, young = id_at(OLD), id_at(NOW)
    add(engine, runs, run_row(old, state=state.value), run_row(young, state=state.value))
    add(engine, steps, step(old), step(old, 2), step(young))
    add(engine, calls, call(old), call(old, 2), call(young))
    deleted = in_one(engine, delete_runs, NOW - 30 * DAY)
    unfinished = state in (State.RUNNING, State.WAITING)
    assert deleted == (0 if unfinished else 1)
    assert [row["id"] for row in all_of(engine, runs)] == ([old, young] if unfinished else [young])
    assert count(engine, steps, "run_id") == (3 if unfinished else 1)
    assert count(engine, calls, "run_id") == (3 if unfinished else 1)


def test_no_more_rows_go_at_once_than_a_batch_has(engine):
    add(engine, runs, *(run_row(id_at(OLD, number), state="Succeeded") for number in range(7)))
    add(engine, refusals, *(refusal(id_at(OLD, number), OLD) for number in range(7)))
    add(engine, idempotency_keys, *(key(str(number), OLD) for number in range(7)))
    for operation in (delete_runs, delete_refusals, delete_keys):
        assert [in_one(engine, operation, NOW, 3) for _ in range(4)] == [3, 3, 1, 0]


def test_a_refusal_is_as_old_as_its_last_one_and_a_key_as_its_claim(engine):
    add(engine, refusals, refusal(id_at(OLD), NOW - DAY), refusal(id_at(OLD, 1), OLD))
    add(engine, idempotency_keys, key("a", NOW - DAY), key("b", NOW - DAY - 1))
    assert in_one(engine, delete_refusals, NOW - 30 * DAY) == 1
    assert in_one(engine, delete_keys, NOW - DAY) == 1
    assert [row["id"] for row in all_of(engine, refusals)] == [id_at(OLD)]
    assert [row["scope"] for row in all_of(engine, idempotency_keys, "scope")] == ["a"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one writer at a time
@pytest.mark.process
def test_two_nodes_that_delete_at_the_same_time_do_not_wait_for_each_other(engine):
    add(engine, runs, *(run_row(id_at(OLD, number), state="Succeeded") for number in range(5)))
    with engine.begin() as one, engine.begin() as other:
        assert delete_runs(one, NOW, 3) == 3
        assert delete_runs(other, NOW, 3) == 2
    assert count(engine, runs) == 0


class Journal:
    """Writes, each in a transaction of its own, and remembers what was slept between them."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.done: list[float | str] = []
        self.away = False
        self.turn = asyncio.Semaphore(0)

    async def write(self, operation: Callable[[Connection], Any]) -> Any:
        if self.away:
            raise problem("journal-unavailable", reason="postgresql://user:private@host is unavailable")
        self.done.append("write")
        with self.engine.begin() as connection:
            return operation(connection)

    async def sleep(self, seconds: float) -> None:
        self.done.append(seconds)
        if seconds != PAUSE:
            await self.turn.acquire()

    async def until(self, *done: float | str) -> None:
        async with asyncio.timeout(10):
            while self.done != list(done):
                await asyncio.sleep(0)


async def test_everything_old_goes_in_batches_with_pauses_and_is_counted_in_the_log(engine):
    journal = Journal(engine)
    add(engine, runs, *(run_row(id_at(OLD, number), state="Succeeded") for number in range(2 * BATCH + 1)))
    add(engine, runs, run_row(id_at(OLD, 5000)), run_row(id_at(NOW), state="Failed"))
    add(engine, steps, *(step(id_at(OLD, number)) for number in range(BATCH + 1)))
    add(engine, idempotency_keys, key("a", NOW - DAY - 1), key("b", NOW))
    add(engine, refusals, refusal(id_at(OLD), OLD), refusal(id_at(NOW), NOW))
    add(engine, sessions, session("a", NOW - Ends().life), session("b", NOW))
    add(engine, authorizations, authorization("a", NOW - 601), authorization("b", NOW))
    add(engine, invitations, invitation("a", NOW - 4 * 3600 - 1), invitation("b", NOW))
    add(engine, revocations, revocation("a", NOW - 400 * DAY), revocation("b", NOW))
    put(engine, grant("of-an-entry-that-is-gone", connected_at=OLD - 1000 * DAY))
    retention = Retention(journal.write, 30, now=lambda: NOW, sleep=journal.sleep)
    with capture_logs() as logs:
        await retention.sweep()
        await retention.sweep()
    assert [line for line in logs if line.pop("log_level")] == [
        {"event": "records-deleted", "runs": 2 * BATCH + 1, "keys": 1, "refusals": 1, "sessions": 1}
        | {"authorizations": 1, "invitations": 1, "signed_urls": 0, "revocations": 1}
    ]
    clocks = 1 + 2  # the first look at the clock, and later a look with what it confirms
    assert journal.done == ["write", *["write", PAUSE] * 2, "write", *["write"] * 7, *["write"] * (8 + clocks - 1)]
    assert (count(engine, runs), count(engine, steps, "run_id")) == (2, 0)
    assert (count(engine, idempotency_keys, "scope"), count(engine, refusals)) == (1, 1)
    assert [row["id_hash"] for row in all_of(engine, sessions, "id_hash")] == ["b"]
    assert [row["state_hash"] for row in all_of(engine, authorizations, "state_hash")] == ["b"]
    assert [row["hash"] for row in all_of(engine, invitations, "hash")] == ["b"]
    assert [row["id"] for row in all_of(engine, revocations)] == ["b"]
    assert len(all_of(engine, grants, "owner")) == 1  # people disconnect it: only they know whether it is of use


async def test_it_begins_after_a_minute_goes_on_each_hour_and_survives_an_outage(engine):
    journal = Journal(engine)
    journal.away = True
    add(engine, runs, run_row(id_at(OLD), state="Succeeded"), run_row(id_at(NOW)))
    jitter = iter([0.9, 1.1])
    retention = Retention(journal.write, 30, now=lambda: NOW, sleep=journal.sleep, jitter=lambda *_: next(jitter))
    with capture_logs() as logs:
        task = asyncio.create_task(retention.run())
        await journal.until(FIRST)
        journal.turn.release()
        await journal.until(FIRST, 0.9 * EVERY)
        journal.away = False
        journal.turn.release()
        await journal.until(FIRST, 0.9 * EVERY, *["write"] * 9, 1.1 * EVERY)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert [line["event"] for line in logs] == ["records-not-deleted", "records-deleted"]
    assert "private" not in str(logs)
    assert count(engine, runs) == 1
