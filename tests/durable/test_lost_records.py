"""Runs whose records release 0.1 deletes before their end: it goes by when a run began."""

from functools import partial
from typing import Any

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from postern import anonymous, workflow
from postern.durable.lost_records import LostRecords
from postern.durable.seals import KeySeals
from postern.ids import id_at
from postern.journal.durable_records import record_again, without_record
from tests.connections.sealing.ring import Ring
from tests.durable.author_host import LISA
from tests.durable.host import Host
from tests.durable.test_seals import KEY
from tests.journal.operations import execute
from tests.process import process_of_0001

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("durable_host", [{"held": 0.05}], indirect=True)]

INTERRUPT = "UPDATE runs SET state = 'Interrupted', ended_at = 1.0"


@workflow(access=anonymous(), durable=True)
async def waits(ctx) -> Any:
    found = await ctx.wait_for("go")
    return found.body


@workflow(access=anonymous(), durable=True)
async def unserved(ctx) -> None:
    await ctx.wait_for("go")


async def deleted(host: Host, *run_ids: str) -> None:
    """Release 0.1 takes the runs for those of a process that is gone, and then for old."""
    for run_id in run_ids:
        await host.until(partial(_evicted, host, run_id))
    await host.journal.write(partial(execute, statement=INTERRUPT))
    gone = await host.journal.write(partial(process_of_0001.delete_runs, before=id_at(2e9)))
    assert sorted(gone) == sorted(run_ids)


async def _evicted(host: Host, run_id: str) -> bool:
    row = await host.durable(run_id)
    return row.phase == "waiting" and row.owner is None


def records(host: Host) -> LostRecords:
    return LostRecords(host.journal.read, host.journal.write, lambda: host.triggers, host.seals)


async def whole(host: Host, run_id: str) -> dict[str, Any]:
    query = text("SELECT * FROM runs WHERE id = :id").bindparams(id=run_id)
    found = await host.journal.read(lambda connection: connection.execute(query).mappings().one_or_none())
    return dict(found or {})


async def test_a_run_that_has_not_ended_is_recorded_again_as_it_was(durable_host: Host) -> None:
    await durable_host.restart_with(KeySeals(Ring(v1=KEY)))
    durable_host.serve(waits)
    run_id = await durable_host.accept(waits, b'{"a": 1}', LISA)
    await durable_host.until(partial(_evicted, durable_host, run_id))
    before = await whole(durable_host, run_id)
    assert before["state"] == "Waiting"
    await deleted(durable_host, run_id)
    assert await whole(durable_host, run_id) == {}
    with capture_logs() as logs:
        for _ in range(2):
            await records(durable_host).look()
    assert await whole(durable_host, run_id) == before
    assert [(line["event"], line["runs"]) for line in logs] == [("durable-records-restored", 1)]
    await durable_host.send(run_id, "7")
    assert (await durable_host.outcome(run_id)).outputs == "7"


async def test_what_cannot_be_read_is_recorded_when_it_can(durable_host: Host) -> None:
    """Its workflow is not served, or its key is not there."""
    await durable_host.restart_with(KeySeals(Ring(v1=KEY)))
    durable_host.serve(waits, unserved)
    accepted = [await durable_host.accept(each) for each in (waits, unserved)]
    await deleted(durable_host, *accepted)
    durable_host.serve(waits)
    durable_host.seals = KeySeals(Ring(v2=KEY))
    await records(durable_host).look()
    assert [await whole(durable_host, run_id) for run_id in accepted] == [{}, {}]
    durable_host.seals = KeySeals(Ring(v1=KEY))
    await records(durable_host).look()
    assert [bool(await whole(durable_host, run_id)) for run_id in accepted] == [True, False]
    durable_host.serve(waits, unserved)
    await records(durable_host).look()
    assert [(await whole(durable_host, run_id))["state"] for run_id in accepted] == ["Waiting"] * 2


async def test_one_that_has_ended_meanwhile_keeps_its_outcome(durable_host: Host) -> None:
    durable_host.serve(waits)
    run_id = await durable_host.accept(waits)
    await deleted(durable_host, run_id)
    (lone,) = await durable_host.journal.read(partial(without_record, workflows=["waits"]))
    found = await records(durable_host)._facts(lone, waits)
    assert found is not None
    await durable_host.send(run_id, "7")
    await durable_host.phase(run_id, "ended")
    assert await durable_host.journal.write(partial(record_again, found=[found])) == 0
    assert (await whole(durable_host, run_id))["state"] == "Succeeded"
