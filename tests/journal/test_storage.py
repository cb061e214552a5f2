"""What callers store is bounded in all: by caller, by workflow, and of the whole database."""

import asyncio
from contextlib import suppress
from itertools import count
from typing import Any

import pytest
from sqlalchemy import Engine, text
from structlog.testing import capture_logs

from postern import Caller, Problem, Request, workflow
from postern.access import ANYONE
from postern.errors import problem
from postern.ids import new_id
from postern.journal import storage
from postern.journal.body_form import Form
from postern.journal.idempotency_keys import KEY_BYTES, Claimed, Ended, Kept, ReplyNotKept, Running, claim, settle
from postern.journal.journal import Journal
from postern.journal.run import Outcome, Run, State
from postern.journal.schema import calls, idempotency_keys, runs, steps
from postern.journal.storage import Cut, Growth, Storage, cuts, give_back, sums
from postern.journal.writing.rows import RUN_BYTES, facts, run_row
from postern.journal.writing.statements import write_runs
from postern.runs.claims import claim_key, record_end
from postern.runs.idempotency import Key
from tests.journal.engines import add, all_of
from tests.journal.engines import run_row as row_of

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

MOST = 64 * KEY_BYTES
REPLY = 4 * KEY_BYTES


def key(number: int, holder: str = "t ada", workflow: str = "hello", **others: Any) -> dict[str, Any]:
    """A key with a reply of REPLY bytes, from that second."""
    row = {"scope": f"{workflow} {holder} {number:05}", "fingerprint": "f", "run_id": f"run-{number}", "status": 200}
    row |= {"created_at": float(number), "reply_headers": "[]", "content": "x", "content_form": "text"}
    return row | {"workflow": workflow, "holder": holder, "kept_bytes": KEY_BYTES + REPLY} | others


def look(engine: Engine, most_for_keys: int = MOST, most_for_runs: int = MOST) -> list[Cut]:
    """One look without a journal: returns what was cut."""
    url = engine.url.render_as_string(hide_password=False)
    with engine.begin() as connection:
        found = cuts(connection, sums(connection, url), most_for_keys, most_for_runs)
    for cut in found:
        while True:
            with engine.begin() as connection:
                if not any(give_back(connection, cut, 3)):
                    break
    return found


def held(engine: Engine) -> dict[tuple[str, str], int]:
    with engine.begin() as connection:
        return dict(sums(connection, engine.url.render_as_string(hide_password=False)).keys)


def kept_scopes(engine: Engine) -> tuple[list[str], list[str]]:
    """Scopes of keys with replies, and of those without."""
    rows = all_of(engine, idempotency_keys, "scope")
    with_reply = [row["scope"] for row in rows if row["content"] is not None]
    return with_reply, [row["scope"] for row in rows if row["content"] is None]


async def test_the_oldest_replies_of_a_caller_who_has_too_many_are_deleted_and_no_others(engine):
    add(engine, idempotency_keys, *(key(number) for number in range(10)))
    add(engine, idempotency_keys, key(0, "t bob"), key(0, "anonymous 192.0.2.1", "other"))
    look(engine)
    replies, without = kept_scopes(engine)
    assert without == [key(number)["scope"] for number in range(len(without))]
    assert {key(0, "t bob")["scope"], key(0, "anonymous 192.0.2.1", "other")["scope"], key(9)["scope"]} <= {*replies}
    assert held(engine)["hello", "t ada"] <= MOST // 4
    assert look(engine) == []


async def test_a_key_whose_reply_is_deleted_still_belongs_to_its_run(engine):
    add(engine, idempotency_keys, *(key(number, run_id=new_id()) for number in range(10)))
    look(engine)
    with engine.begin() as connection:
        found = [claim(connection, key(number)["scope"], "f", new_id(), 10.0) for number in (0, 9)]
    assert [type(each) for each in found] == [ReplyNotKept, Ended]


async def test_only_keys_that_are_too_many_without_replies_are_forgotten_and_never_those_of_running_runs(engine):
    bare: dict[str, Any] = {"reply_headers": None, "content": None, "kept_bytes": KEY_BYTES}
    running = [key(number, status=None, **bare) for number in range(3)]
    add(engine, idempotency_keys, *running, *(key(number, **bare) for number in range(3, 40)))
    look(engine)
    left = [row["created_at"] for row in all_of(engine, idempotency_keys, "scope")]
    assert left[:3] == [0.0, 1.0, 2.0]
    assert left[3:] == [float(number) for number in range(40 - len(left) + 3, 40)]
    assert held(engine)["hello", "t ada"] <= MOST // 4


async def test_many_callers_of_a_workflow_share_its_half_and_all_workflows_the_whole(engine):
    for workflow_name in ("a", "b", "c", "d"):
        add(
            engine,
            idempotency_keys,
            *(key(number, f"anonymous 192.0.2.{who}", workflow_name) for who in range(9) for number in range(2)),
        )
    add(engine, idempotency_keys, key(0, "t ada", "quiet"))
    look(engine)
    found = held(engine)
    assert sum(found.values()) <= MOST
    assert all(sum(size for (name, _), size in found.items() if name == each) <= MOST // 2 for each in "abcd")
    assert found["quiet", "t ada"] == KEY_BYTES + REPLY


async def test_keys_of_an_earlier_release_are_left_to_their_day(engine):
    old: dict[str, Any] = {"workflow": None, "holder": None, "kept_bytes": None}
    add(engine, idempotency_keys, *(key(number, **old) for number in range(100)))
    assert look(engine) == []
    assert len(kept_scopes(engine)[0]) == 100


async def test_a_key_counts_with_its_reply_from_its_claim_on(engine):
    kept = Kept(200, Form.TEXT, '[["a","ä"]]', "€" * 100)
    with engine.begin() as connection:
        assert claim(connection, "s", "f", "run-1", 1.0, "hello", "t ada") == Claimed()
        before = connection.execute(text("SELECT holder, kept_bytes FROM idempotency_keys")).one()
        settle(connection, "s", "run-1", kept)
        after = connection.execute(text("SELECT kept_bytes FROM idempotency_keys")).scalar()
        claim(connection, "s", "f", "run-2", 1.0 + 25 * 3600, "hello", "t bob")
        taken = connection.execute(text("SELECT holder, kept_bytes FROM idempotency_keys")).one()
    assert tuple(before) == ("t ada", KEY_BYTES)
    assert after == KEY_BYTES + len('[["a","ä"]]'.encode()) + 300
    assert tuple(taken) == ("t bob", KEY_BYTES)


@workflow
async def hello(ctx) -> None: ...


def ended(caller: Caller, size: int = 0, body: bytes | None = None, started_at: float = 1.0) -> Run:
    request = Request("POST", "/triggers/hello", client_address="192.0.2.1", body=b"x" * size if body is None else body)
    run = Run(new_id(), hello, caller, request, started_at)
    run.outcome, run.ended_at = Outcome(State.SUCCEEDED, 200, b"y" * size), 2.0
    return run


async def test_a_run_of_an_anonymous_caller_counts_with_all_its_texts_and_no_other_run_does(engine):
    user = Caller("user", object_id="o", tenant_id="t")
    body = "é\\u00e9".encode()
    started, told = ended(ANYONE, 10), ended(ANYONE, body=body)
    failed, known = ended(ANYONE), ended(user, 10)
    failed.outcome.error_type, failed.outcome.error_message, failed.outcome.error_traceback = "E", "é", "trace"
    started.ended_at = 0.0
    with engine.begin() as connection:
        write_runs(connection, [run_row(facts(run), "node") for run in (started, told, failed, known)])
        started.ended_at = 2.0
        write_runs(connection, [run_row(facts(started), "node")])
    found = {row["id"]: row for row in all_of(engine, runs)}
    assert found[started.id]["kept_bytes"] == RUN_BYTES + 20 + len("[]") * 2
    assert found[known.id]["kept_bytes"] is None
    for run in (told, failed):
        texts = (
            *("inputs", "outputs", "reply_headers", "request_headers", "search_text", "search_error"),
            *("error_message", "error_traceback"),
        )
        row = found[run.id]
        assert row["kept_bytes"] == RUN_BYTES + sum(len((row[name] or "").encode()) for name in texts)


async def test_the_oldest_runs_of_anonymous_callers_go_with_their_steps_and_no_others(engine):
    ids = sorted(new_id() for _ in range(40))
    add(engine, runs, *(row_of(each, state="Succeeded", kept_bytes=RUN_BYTES) for each in ids[1:]))
    add(engine, runs, row_of(ids[0], state="Running", kept_bytes=RUN_BYTES))
    other, known = new_id(), [new_id() for _ in range(100)]
    add(engine, runs, row_of(other, workflow="other", state="Succeeded", kept_bytes=RUN_BYTES))
    add(engine, runs, *(row_of(each, state="Succeeded", caller_kind="user") for each in known))
    for table in (steps, calls):
        common = {"number": 1, "name": "n"}
        timed = {"started_at": 1.0, "ended_at": 2.0} if table is calls else {"succeeded": 1, "attempts": "[]"}
        add(engine, table, *({"run_id": each} | common | timed for each in ids))
    look(engine)
    left = {row["id"] for row in all_of(engine, runs)}
    assert {*known, other, ids[0]} <= left
    kept = [each for each in ids[1:] if each in left]
    assert kept == ids[-len(kept) :]
    assert (len(kept) + 1) * RUN_BYTES <= MOST // 4
    for table in (steps, calls):
        assert {row["run_id"] for row in all_of(engine, table, "run_id")} == {ids[0], *kept}
    assert look(engine) == []


async def test_two_processes_that_look_at_the_same_time_delete_no_more_than_one(engine):
    add(engine, idempotency_keys, *(key(number) for number in range(20)))
    url = engine.url.render_as_string(hide_password=False)
    with engine.begin() as connection:
        found = [cuts(connection, sums(connection, url), MOST, MOST) for _ in range(2)]
    assert found[0] == found[1]
    with engine.begin() as connection:
        (cut,) = found[0]
        once = give_back(connection, cut)
        assert give_back(connection, cut) == (0, 0, 0)
    assert once[0] > 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_sums_are_read_from_indexes_alone(engine):
    """Otherwise each look would read all bodies."""
    plans = []
    for statement in (
        "SELECT sum(kept_bytes) FROM idempotency_keys WHERE holder IS NOT NULL GROUP BY holder, workflow",
        "SELECT workflow, sum(kept_bytes) FROM runs WHERE kept_bytes IS NOT NULL GROUP BY workflow",
    ):
        with engine.begin() as connection:
            plans.append(str(connection.execute(text(f"EXPLAIN QUERY PLAN {statement}")).all()))
    assert all("COVERING INDEX" in plan and "TEMP B-TREE" not in plan for plan in plans), plans


class Database:
    """A journal's `read` and `write` on an engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.away = False
        self.looks = 0

    async def read(self, query: Any) -> Any:
        self.looks += 1
        if self.away:
            raise problem("journal-unavailable", reason="postgresql://user:private@host")
        with self.engine.begin() as connection:
            return query(connection)

    write = read


def storage_of(engine: Engine, most: int, clock: Any = lambda: 0.0) -> tuple[Storage, Database]:
    database = Database(engine)
    url = engine.url.render_as_string(hide_password=False)
    return Storage(url, Growth(most), database.read, database.write, clock), database


async def test_what_is_deleted_early_and_a_large_database_are_in_the_log_once_a_minute_with_what_to_do(
    engine, monkeypatch
):
    monkeypatch.setattr(storage, "database_size", lambda *_: 1024**3)
    clock = iter([0.0, 30.0, 60.0, 61.0])
    bounded, _ = storage_of(engine, MOST * storage.KEYS_PART, lambda: next(clock))
    with capture_logs() as logs:
        for number in range(4):
            add(engine, idempotency_keys, *(key(10 * number + n) for n in range(4)))
            await bounded.look()
    large, early, again = (line for line in logs if line.pop("log_level") == "warning")
    assert (large["event"], large["bytes"], large["most"]) == ("database-large", 1024**3, MOST * storage.KEYS_PART)
    assert (early["event"], again["event"]) == ("records-deleted-early", "records-deleted-early")
    assert early["replies"] > 0
    assert again["replies"] > early["replies"]
    assert "POSTERN_DATABASE_MAX_BYTES" in early["fix"]
    assert "ada" not in str(logs)


async def test_a_look_comes_after_each_step_of_growth_and_goes_on_after_an_outage(engine, monkeypatch):
    monkeypatch.setattr(storage, "RETRY", 0.0)
    bounded, database = storage_of(engine, 1024**3)
    database.away = True
    with capture_logs() as logs:
        task = asyncio.create_task(bounded.run())
        async with asyncio.timeout(10):
            while not database.looks:
                await asyncio.sleep(0)
            database.away = False
            for keyed in (True, False):
                bounded._growth.due.set()
                while bounded._growth.due.is_set() or not bounded.found.database:
                    await asyncio.sleep(0)
                bounded._growth.add(1024, keyed=keyed, anonymous=not keyed)
                assert not bounded._growth.due.is_set()
                bounded._growth.add(1024**3 // 2 // storage.STEPS, keyed=keyed, anonymous=not keyed)
                assert bounded._growth.due.is_set()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert [line["event"] for line in logs if "bounded" in line["event"]] == ["storage-not-bounded"]
    assert "private" not in str(logs)


async def test_a_running_run_is_no_key_to_delete(engine):
    add(engine, idempotency_keys, *(key(number, status=None) for number in range(40)))
    look(engine)
    with engine.begin() as connection:
        assert isinstance(claim(connection, key(0)["scope"], "f", "other", 10.0), Running)


@pytest.mark.process
async def test_a_flood_of_new_keys_stores_no_more_than_its_share_and_takes_nothing_from_others(database_url):
    """Of 16 MiB two are for keys and eight for runs. A caller has a quarter of the one, a workflow of the other. An
    empty database of PostgreSQL has almost 8 MiB already."""
    growth = Growth(16 * 1024 * 1024)
    journal = Journal(database_url, growth=growth)
    await journal.open()
    bounded = Storage(database_url, growth, journal.read, journal.write)
    task = asyncio.create_task(bounded.run())
    ada = Caller("user", object_id="ada", tenant_id="t")

    clock = count(1.0, 0.001)

    async def request(caller: Caller, key: str) -> Run | None:
        run = ended(caller, 32 * 1024, started_at=next(clock))
        earlier = await claim_key(journal, run, Key(key, "f"))
        if earlier is None:
            await record_end(journal, run, Key(key, "f"))
        return earlier

    try:
        assert await request(ada, "ada's") is None
        for number in range(100):
            assert await request(ANYONE, f"new {number}") is None
        await bounded.look()
        await bounded.look()
        anonymous = ("hello", "anonymous 192.0.2.1")
        assert 0 < bounded.found.keys[anonymous] <= 512 * 1024
        assert 0 < bounded.found.runs["hello", ""] <= 2 * 1024 * 1024
        again = await request(ada, "ada's")
        assert again is not None
        assert again.outcome.content == b"y" * 32 * 1024
        with pytest.raises(Problem) as caught:
            await request(ANYONE, "new 0")
        assert (caught.value.status, caught.value.code) == (409, "reply-not-kept")
        newest = await request(ANYONE, "new 99")
        assert newest is not None
        assert newest.outcome.content == b"y" * 32 * 1024
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await journal.aclose()
