"""Checkpoints go when they are of no use any more, and what has not ended keeps all that it has."""

import asyncio
import json
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select, update

from postern import anonymous, workflow
from postern.durable import replies
from postern.durable.checkpoint_retention import BATCH, CheckpointRetention
from postern.durable.replies import kept_reply
from postern.durable.seals import KeySeals
from postern.journal.durable_tables import durable_runs
from postern.journal.retention import delete_runs
from postern.journal.run import State
from postern.journal.schema import runs
from postern.journal.storage import cuts, give_back, sums
from tests.connections.sealing.ring import Ring
from tests.durable.host import Host
from tests.durable.test_seals import KEY
from tests.journal.operations import execute

pytestmark = pytest.mark.anyio
LATER = 2.0**33


async def one() -> str:
    return "1"


@workflow(access=anonymous(), durable=True)
async def good(ctx) -> Any:
    return await ctx.step(one)


@workflow(access=anonymous(), durable=True)
async def bad(ctx) -> str:
    await ctx.step(one)
    raise ValueError("no")


@workflow(access=anonymous(), durable=True)
async def asleep(ctx) -> str:
    await ctx.sleep(3600)
    return "woken"


@workflow(access=anonymous(), durable=True, secure_outputs=True)
async def hidden(ctx) -> str:
    return "MARKER" * 20_000


def retention(host: Host, now: float = LATER) -> CheckpointRetention:
    return CheckpointRetention(host.engine.store, host.journal.read, host.journal.write, lambda: now)


async def test_checkpoints_of_succeeded_runs_go_soon_and_those_of_failed_and_sleeping_ones_stay(durable_host: Host):
    durable_host.serve(good, bad, asleep)
    ended = [await durable_host.accept(each) for each in (good, bad)]
    sleeping = await durable_host.accept(asleep)
    for run_id in ended:
        await durable_host.outcome(run_id)
    await durable_host.phase(sleeping, "waiting")
    store = durable_host.engine.store
    assert await retention(durable_host, 0.0).discard() == 0
    assert set(await store.known(0, 10)) == {*ended, sleeping}
    assert await retention(durable_host).discard() == 1
    assert await retention(durable_host).discard() == 0
    assert set(await store.known(0, 10)) == {ended[1], sleeping}


async def test_records_are_deleted_by_their_end_and_never_before_it_with_their_checkpoints(durable_host: Host):
    durable_host.serve(good, bad, asleep)
    failed = await durable_host.accept(bad)
    end = (await durable_host.outcome(failed)).ended_at
    sleeping = await durable_host.accept(asleep)
    await durable_host.phase(sleeping, "waiting")
    write, read = durable_host.journal.write, durable_host.journal.read
    interrupted = update(runs).where(runs.c.id == sleeping).values(state=State.INTERRUPTED.value, ended_at=1.0)
    await write(partial(execute, statement=str(interrupted.compile(compile_kwargs={"literal_binds": True}))))
    assert await write(partial(delete_runs, before=end)) == 0
    assert await retention(durable_host).delete_unknown() == 0
    assert await write(partial(delete_runs, before=LATER)) == 1
    ids = await read(lambda connection: connection.execute(select(durable_runs.c.run_id)).scalars().all())
    assert ids == [sleeping]
    assert await retention(durable_host).delete_unknown() == 1
    assert await durable_host.engine.store.known(0, 10) == [sleeping]


async def test_a_full_database_takes_no_run_that_has_not_ended(durable_host: Host):
    durable_host.serve(good, asleep)
    ended = await durable_host.accept(good)
    await durable_host.outcome(ended)
    sleeping = await durable_host.accept(asleep)
    await durable_host.phase(sleeping, "waiting")
    interrupted = f"UPDATE runs SET state = 'Interrupted', ended_at = 1.0 WHERE id = '{sleeping}'"
    await durable_host.journal.write(partial(execute, statement=interrupted))
    found = await durable_host.journal.read(partial(sums, url=durable_host.url))
    for cut in await durable_host.journal.read(partial(cuts, found=found, most_for_keys=2, most_for_runs=2)):
        await durable_host.journal.write(partial(give_back, cut=cut))
    left = await durable_host.journal.read(lambda connection: connection.execute(select(runs.c.id)).scalars().all())
    assert left == [sleeping]


async def test_a_record_that_the_release_before_deleted_leaves_nothing_behind(durable_host: Host):
    durable_host.serve(bad)
    run_id = await durable_host.accept(bad)
    await durable_host.outcome(run_id)
    await durable_host.journal.write(partial(execute, statement="DELETE FROM runs"))
    assert await retention(durable_host).delete_unknown() == 1
    count = select(durable_runs.c.run_id)
    assert await durable_host.journal.read(lambda connection: connection.execute(count).all()) == []


async def test_all_checkpoints_are_looked_through_whatever_is_deleted_meanwhile():
    known = [str(number) for number in range(3 * BATCH)]
    gone = {str(number) for number in range(0, 3 * BATCH, 2)}

    class Store:
        runs = True

        async def delete(self, run_ids: Any) -> None:
            known[:] = [each for each in known if each not in run_ids]

        async def known(self, offset: int, most: int) -> list[str]:
            return known[offset : offset + most]

    async def read(query: Any) -> Any:
        return [each for each in query.keywords["ids"] if each in gone]

    async def write(operation: Any) -> int:
        return 0

    made = CheckpointRetention(Store(), read, write, sleep=lambda _: asyncio.sleep(0))
    assert await made.delete_unknown() == len(gone)
    assert known == [str(number) for number in range(1, 3 * BATCH, 2)]


@workflow(access=anonymous(), durable=True)
async def returns(ctx, body: str) -> Any:
    return {"large": "x" * 70_000, "secret": {"password": "pass-word-1"}, "larger": "x" * 1024 * 1024}.get(body, body)


async def test_without_a_key_a_reply_that_the_record_has_not_is_kept_as_a_whole(durable_host: Host):
    durable_host.serve(returns)
    for body, kept in (("large", True), ("secret", True), ("larger", False), ("small", False)):
        row = await durable_host.result(returns, json.dumps(body).encode())
        found = await kept_reply(durable_host.journal.read, durable_host.seals, row.id)
        assert (found is not None) is kept
        if found is not None:
            assert json.loads(found.content) == await returns.function(None, body)
        assert "pass-word-1" not in str(row)
        its = await durable_host.durable(row.id)
        assert its.reply_key_version is None
        assert row.kept_bytes > len(its.reply or "")


async def test_with_a_key_the_whole_reply_is_kept_sealed_and_without_one_the_record_has_what_there_is(
    durable_host: Host,
):
    durable_host.serve(hidden, good)
    run_id = await durable_host.accept(good)
    await durable_host.outcome(run_id)
    assert await kept_reply(durable_host.journal.read, durable_host.seals, run_id) is None
    await durable_host.restart_with(KeySeals(Ring(v1=KEY)))
    run_id = await durable_host.accept(hidden)
    row = await durable_host.outcome(run_id)
    kept = await durable_host.durable(run_id)
    assert (row.outputs, "MARKER" in str(kept), kept.request, kept.reply_key_version) == (None, False, None, "v1")
    reply = await kept_reply(durable_host.journal.read, durable_host.seals, run_id)
    assert reply is not None
    assert (reply.status, reply.state, len(reply.content)) == (200, State.SUCCEEDED, 120_002)


async def test_a_run_whose_reply_cannot_be_sealed_is_parked_and_not_recorded_unsealed(
    durable_host: Host, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(replies, "MOST_TRIES", 1)
    monkeypatch.setattr(replies, "AGAIN", 0)
    ring = Ring(v1=KEY)
    await durable_host.restart_with(KeySeals(ring))

    async def forgets() -> str:
        ring.keys.clear()
        return "1"

    @workflow(access=anonymous(), durable=True)
    async def ends_without(ctx) -> str:
        await forgets()
        return "done"

    durable_host.serve(ends_without)
    row = await durable_host.phase(await durable_host.accept(ends_without), "parked")
    assert row.reason == "key-unavailable"
