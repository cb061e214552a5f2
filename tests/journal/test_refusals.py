"""Recorded refusals: the content of their rows, a flood, and an unavailable database."""

import asyncio
import gc
import json
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import Connection, Engine, create_engine, select
from structlog.testing import capture_logs

from postern.access import Check, Guarded
from postern.journal import refusals as module
from postern.journal import schema
from postern.journal.refusal import Refusal
from postern.journal.refusal_windows import MANY, MOST_NEW, PROVED, Window
from postern.journal.refusals import BATCH, EXAMINERS, MOST_PROVED, MOST_UNEXAMINED, Refusals, Row, row, trim, upsert
from tests.databases import put_sqlite

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

POLICY = Guarded("tenant users", frozenset(), frozenset(), ())
KNOWN = (Check("form", True), Check("expiry", False, "later than now", "long ago"))
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJvaWQiOiJsaXNhIn0.c2lnbmF0dXJl"
ALL = (*KNOWN, Check("audience", False, frozenset({"b", "a"}), f"a claim of {JWT}"))
CLAIMED = {"object_id": "lisa", "client_id": None, "tenant_id": "t", "name": f"L {JWT}", "verified": False}


class World:
    """A recorder on a real database that can go away, with clocks that are moved by hand."""

    def __init__(self, engine: Engine, **options: Any) -> None:
        self.engine = engine
        self.at = 1_000_000.0
        self.away: Exception | None = None
        self.writes = 0
        self.examined: list[str] = []
        self.open = asyncio.Event()
        self.open.set()
        self.log = structlog.get_logger("test")
        self.refusals = Refusals(
            self.write,
            self.examine,
            self.log,
            now=lambda: self.at,
            clock=lambda: self.at - 999_000,
            sleep=lambda _: asyncio.sleep(0),
            **options,
        )

    async def write(self, operation: Callable[[Connection], int]) -> int:
        self.writes += 1
        if self.away is not None:
            raise self.away
        with self.engine.begin() as connection:
            operation(connection)
            return operation(connection)  # as after a lost connection: twice must be harmless

    async def examine(self, refusal: Refusal) -> tuple[tuple[Check, ...], dict[str, Any]] | None:
        await self.open.wait()
        self.examined.append(refusal.request_id)
        if refusal.request_id == "strange":
            raise ValueError(JWT)
        return (ALL, CLAIMED) if refusal.headers else None

    def rows(self) -> list[Row]:
        with self.engine.connect() as connection:
            found = connection.execute(select(schema.refusals).order_by(schema.refusals.c.id)).mappings()
            return [dict(each) for each in found]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(put_sqlite(tmp_path / "postern.db"))
    yield engine
    engine.dispose()


@pytest.fixture
def world(engine: Engine) -> World:
    return World(engine)


def refusal(request_id: str = "r1", **changes: Any) -> Refusal:
    values: dict[str, Any] = {"reason": "expiry", "code": "unauthenticated", "status": 401, "workflow": "pay"}
    return Refusal(request_id, **{**values, "client_address": "192.0.2.1", "checks": KNOWN, **changes})


def with_token(request_id: str = "r1", **changes: Any) -> Refusal:
    headers = [(b"authorization", b"Bearer " + JWT.encode())]
    return refusal(request_id, policy=POLICY, headers=headers, **changes)


async def running(world: World, until: Callable[[], object]) -> None:
    """Let the recorder run until something holds."""
    task = asyncio.create_task(world.refusals.run())
    try:
        async with asyncio.timeout(10):
            while not until():
                await asyncio.sleep(0.001)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_row_says_what_the_refusals_of_a_window_had_in_common(world: World):
    assert world.refusals.take(refusal("r1"))
    world.at += 2.5
    assert not world.refusals.take(refusal("r2"))
    await world.refusals.flush()
    assert world.rows() == [
        {
            "id": "r1",
            "reason": "expiry",
            "code": "unauthenticated",
            "status": 401,
            "workflow": "pay",
            "client_address": "192.0.2.1",
            "first_at": 1_000_000.0,
            "last_at": 1_000_002.5,
            "count": 2,
            "request_ids": "r1 r2",
            "claimed": None,
            "via": None,
            "via_client": None,
            "checks": json.dumps(
                [
                    {"name": "form", "passed": True, "expected": "", "found": ""},
                    {"name": "expiry", "passed": False, "expected": "later than now", "found": "long ago"},
                ]
            ),
        }
    ]


async def test_a_row_grows_while_its_window_is_open_and_nothing_is_written_when_nothing_changed(world: World):
    world.refusals.take(refusal("r1"))
    await world.refusals.flush()
    writes = world.writes
    await world.refusals.flush()
    assert world.writes == writes
    world.refusals.take(refusal("r2"))
    await world.refusals.flush()
    assert [each["count"] for each in world.rows()] == [2]


async def test_the_first_of_a_window_is_examined_in_the_background_and_no_other(world: World):
    world.refusals.take(with_token("r1"))
    world.refusals.take(with_token("r2"))
    assert world.examined == []
    await running(world, lambda: world.rows() and world.rows()[0]["claimed"])
    assert world.examined == ["r1"]
    written = world.rows()[0]
    assert [check["name"] for check in json.loads(written["checks"])] == ["form", "expiry", "audience"]
    assert json.loads(written["checks"])[2] == {
        "name": "audience",
        "passed": False,
        "expected": "['a', 'b']",
        "found": "a claim of [token]",
    }
    assert json.loads(written["claimed"]) == {**CLAIMED, "name": "L [token]"}


async def test_what_a_problem_says_comes_after_the_checks_of_the_token(world: World):
    late = Check("identity-unavailable", False, None, "no keys")
    world.refusals.take(with_token(reason="identity-unavailable", code="identity-unavailable", checks=(late,)))
    await running(world, lambda: world.rows() and world.rows()[0]["claimed"])
    assert [check["name"] for check in json.loads(world.rows()[0]["checks"])][-2:] == ["audience", late.name]


async def test_a_few_tokens_are_looked_at_a_time_and_beyond_that_the_known_checks_stay(world: World):
    world.open.clear()
    task = asyncio.create_task(world.refusals.run())
    await asyncio.sleep(0)
    for number in range(70):
        world.refusals.take(with_token(f"r{number:02}", client_address=f"192.0.2.{number}"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    world.open.set()
    async with asyncio.timeout(10):
        while sum(each["claimed"] is not None for each in world.rows()) < MOST_UNEXAMINED + EXAMINERS:
            await asyncio.sleep(0.001)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert len(world.examined) == MOST_UNEXAMINED + EXAMINERS
    assert [len(json.loads(each["checks"])) for each in world.rows()].count(len(KNOWN)) == 70 - len(world.examined)


async def test_an_examination_that_fails_leaves_the_known_checks_and_says_nothing_of_the_token(world: World):
    world.refusals.take(with_token("strange"))
    with capture_logs() as lines:
        await running(world, lambda: world.examined and world.rows())
    assert [line["event"] for line in lines] == ["refusal-not-examined"]
    assert "eyJ" not in str(lines)
    assert len(json.loads(world.rows()[0]["checks"])) == len(KNOWN)


async def test_nothing_holds_the_token_when_it_has_been_examined(world: World):
    class Headers(list):  # type: ignore[type-arg]
        """A list that can be watched."""

    headers = Headers([(b"authorization", b"Bearer x")])
    watched = weakref.ref(headers)
    world.refusals.take(refusal(policy=POLICY, headers=headers))
    del headers
    task = asyncio.create_task(world.refusals.run())
    async with asyncio.timeout(10):
        while not world.examined:
            await asyncio.sleep(0.001)
    gc.collect()
    assert watched() is None
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_window_that_closes_tells_the_log_how_many_more_there_were(world: World):
    with capture_logs() as lines:
        for number in range(1000):
            world.refusals.take(refusal(f"r{number}"))
        await world.refusals.flush()
        assert lines == []
        world.at += 10
        await world.refusals.flush()
        await world.refusals.flush()
    assert [(line["event"], line["count"], line["first_request_id"]) for line in lines] == [
        ("requests-refused", 999, "r0")
    ]


async def test_rows_are_written_when_the_database_is_back(world: World):
    world.away = OSError("no disk")
    with capture_logs() as lines:
        for number in range(300):
            world.refusals.take(refusal(f"r{number:03}", client_address=f"192.0.2.{number % 30}"))
            world.at += 0.5
            await world.refusals.flush()
    assert [line["event"] for line in lines].count("refusals-not-written") == 1
    assert world.rows() == []
    world.away = None
    await world.refusals.flush()
    assert sum(each["count"] for each in world.rows()) == 300
    world.at += 10
    await world.refusals.flush()
    assert len(world.refusals._windows) == 0


async def test_the_rest_is_written_at_the_end(world: World):
    world.refusals.take(with_token("r1"))
    world.refusals.take(with_token("r2"))
    with capture_logs() as lines:
        await world.refusals.aclose()
    assert [(each["id"], each["count"]) for each in world.rows()] == [("r1", 2)]
    assert [line["event"] for line in lines] == ["requests-refused"]
    assert world.refusals._unexamined.empty()


async def test_what_cannot_be_written_at_the_end_is_said(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.01)
    hangs = Refusals(lambda operation: asyncio.Future(), world.examine, world.log)
    hangs.take(refusal())
    with capture_logs() as lines:
        await hangs.aclose()
    assert [(line["event"], line.get("rows")) for line in lines] == [("refusals-lost", 1)]


async def test_the_oldest_rows_go_when_there_are_too_many(engine: Engine):
    world = World(engine, most_rows=50)
    for number in range(300):
        world.refusals.take(refusal(f"r{number:03}", client_address=f"192.0.2.{number % 200}"))
        world.at += 1
        if number % 10 == 0:
            await world.refusals.flush()
    await world.refusals.flush()
    assert [each["id"] for each in world.rows()] == [f"r{number:03}" for number in range(250, 300)]


@pytest.mark.slow
async def test_a_flood_leaves_few_rows_few_lines_and_costs_little_each(
    world: World, campaign: Callable[[int, int], int], capsys: pytest.CaptureFixture[str]
):
    size = campaign(100_000, 1_000_000)
    headers = [(b"authorization", b"Bearer " + JWT.encode())]
    flood = [
        refusal(f"r{n:06}", client_address=f"2001:db8::{n % 5000:x}", policy=POLICY, headers=headers)
        for n in range(size)
    ]
    with capture_logs() as lines:
        began = time.process_time()
        firsts = sum(world.refusals.take(each) for each in flood)
        took = time.process_time() - began
        await running(world, lambda: sum(each["count"] for each in world.rows()) == size)
        world.at += 10
        await world.refusals.flush()
    with capsys.disabled():
        print(f" [{size} refusals in {took:.2f} s]", end="")
    assert firsts <= MOST_NEW + 1
    assert len(world.rows()) == firsts
    assert len(lines) <= firsts
    assert [each["client_address"] for each in world.rows()].count(MANY) == 1
    assert len(world.examined) <= MOST_UNEXAMINED
    assert "eyJ" not in str(world.rows()) + str(lines)
    assert max(len(each["request_ids"]) for each in world.rows()) < 1000


async def test_rows_of_refusals_of_many_addresses_name_no_caller(world: World):
    for number in range(200):
        world.refusals.take(with_token(f"r{number:03}", client_address=f"192.0.2.{number}"))
    await running(world, lambda: sum(each["count"] for each in world.rows()) == 200 and len(world.examined) >= 32)
    shared = next(each for each in world.rows() if each["client_address"] == MANY)
    assert shared["claimed"] is None


async def test_a_flood_without_tokens_does_not_hide_who_sent_a_verified_one(world: World):
    """Not even if it uses up all windows, with one reason for each workflow."""
    for number in range(1_000):
        world.refusals.take(with_token(f"r{number:04}", client_address=f"192.0.2.{number}", workflow=f"w{number}"))
    for number in range(2 * PROVED):
        sent = {"reason": "revocation", "client_address": f"198.51.100.{number}", "proved": True}
        world.refusals.take(with_token(f"s{number:03}", **sent))
    await running(world, lambda: sum(each["count"] for each in world.rows()) == 1_000 + 2 * PROVED)
    rows = [each for each in world.rows() if each["reason"] == "revocation"]
    assert [each["client_address"] for each in rows].count(MANY) == 1
    assert len(rows) == PROVED  # the flood began one more than its part
    assert sum(each["claimed"] is not None for each in rows) >= MOST_PROVED


def test_an_old_write_that_is_repeated_late_takes_nothing_back(engine: Engine):
    window = Window("r1", "expiry", "192.0.2.1", "pay", "unauthenticated", 401, 1, 1, 0, 0, ["r1"], KNOWN)
    before = [row(window)]
    window.add("r2", 2)
    with engine.begin() as connection:
        upsert(connection, before)
        upsert(connection, [row(window)])
        upsert(connection, before)
        assert connection.execute(select(schema.refusals.c["count"], schema.refusals.c.request_ids)).all() == [
            (2, "r1 r2")
        ]


def test_rows_are_trimmed_in_small_batches(engine: Engine):
    rows = []
    for number in range(1000):
        window = Window(f"r{number:04}", "expiry", "", "pay", "c", 401, number, number, 0, 0, [], KNOWN)
        rows.append(row(window))
    with engine.begin() as connection:
        upsert(connection, rows)
        assert trim(connection, 1000) == 0
        assert trim(connection, 700) == BATCH
        assert trim(connection, 700) == 100
        assert trim(connection, 700) == 0
        assert connection.scalar(select(schema.refusals.c.id).order_by(schema.refusals.c.id).limit(1)) == "r0300"


def test_a_refusal_and_its_window_show_no_header():
    assert "Bearer" not in repr(with_token())


async def test_who_watches_gets_each_count_once_and_with_the_identity_in_the_token(engine: Engine):
    reported: list[tuple[str, int, Any]] = []
    world = World(engine, report=lambda windows: reported.extend((w.id, n, w.claimed) for w, n in windows))
    world.open.clear()
    world.refusals.take(with_token("r1"))
    world.refusals.take(with_token("r2"))
    await world.refusals.flush()
    assert reported == []
    world.open.set()
    await running(world, lambda: reported)
    assert reported == [("r1", 2, CLAIMED)]
    world.refusals.take(refusal("r3", reason="audience"))
    await world.refusals.aclose()
    assert reported[1:] == [("r3", 1, None)]
