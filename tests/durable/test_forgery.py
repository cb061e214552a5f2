"""What somebody who can write the database makes of a run when there is a key: nothing."""

import json
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text

from postern import anonymous, workflow
from postern.access import Caller
from postern.durable.checkpoints_database import checkpoints_engine
from postern.durable.seals import KeySeals
from tests.connections.sealing.ring import Ring
from tests.durable.host import PEOPLE, TENANT, Host
from tests.durable.test_seals import KEY
from tests.journal.operations import execute

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("durable_host", [{"held": 0.05}], indirect=True)]

SEEN: list[Any] = []


@workflow(access=anonymous(), durable=True)
async def harmless(ctx) -> Any:
    await ctx.sleep(0.3)
    return None


@workflow(access=anonymous(), durable=True)
async def harmful(ctx) -> None:
    SEEN.append(ctx.caller)


@workflow(access=anonymous(), durable=True)
async def waits(ctx) -> Any:
    await ctx.sleep(1)
    found = await ctx.wait_for("go")
    return found.body


async def forged(host: Host, run_id: str, statement: str) -> Any:
    """The row of the run, once it is parked after this was written into the database."""
    await host.crash()
    await host.journal.write(partial(execute, statement=statement))
    await host.take_over()
    return await host.phase(run_id, "parked")


async def sleeping(host: Host, code: Any) -> str:
    """A sealed run that waits and is in no memory."""
    SEEN.clear()
    await host.restart_with(KeySeals(Ring(v1=KEY)))
    host.serve(harmless, harmful, waits)
    run_id = await host.accept(code)
    await host.until(lambda: _evicted(host, run_id))
    return run_id


async def _evicted(host: Host, run_id: str) -> bool:
    row = await host.durable(run_id)
    return row.phase == "waiting" and row.owner is None


async def test_a_request_that_is_not_sealed_runs_for_nobody(durable_host: Host) -> None:
    run_id = await sleeping(durable_host, harmless)
    lisa = json.dumps({"caller": {"kind": "user", "object_id": PEOPLE["lisa"], "tenant_id": TENANT}})
    unsealed = f"UPDATE durable_runs SET key_version = NULL, request = '{lisa.replace(':', chr(92) + ':')}'"
    row = await forged(durable_host, run_id, unsealed)
    assert row.reason == "key-unavailable"


async def test_a_sealed_request_runs_no_other_workflow_for_its_caller(durable_host: Host) -> None:
    run_id = await sleeping(durable_host, harmless)
    row = await forged(durable_host, run_id, "UPDATE durable_runs SET workflow = 'harmful'")
    assert (row.reason, SEEN) == ("key-unavailable", [])


async def test_a_signal_that_is_not_sealed_parks_its_run(durable_host: Host) -> None:
    run_id = await sleeping(durable_host, waits)
    await durable_host.send(run_id, '{"paid": false}')
    row = await forged(durable_host, run_id, "UPDATE signals SET key_version = NULL, body = 'true'")
    assert row.reason == "key-unavailable"


async def test_what_is_no_request_is_tried_once_in_a_while_and_not_again_and_again(durable_host: Host) -> None:
    durable_host.serve(harmless)
    run_id = await durable_host.accept(harmless)
    await durable_host.until(lambda: _evicted(durable_host, run_id))
    row = await forged(durable_host, run_id, "UPDATE durable_runs SET request = '{}'")
    assert row.reason == "key-unavailable"


async def test_what_is_sealed_is_what_its_sender_sent(durable_host: Host) -> None:
    run_id = await sleeping(durable_host, waits)
    await durable_host.send(run_id, '{"paid": false}')
    assert (await durable_host.outcome(run_id)).outputs == '{"paid":false}'


async def test_the_caller_of_a_sealed_request_is_the_one_that_was_verified(durable_host: Host) -> None:
    await sleeping(durable_host, harmless)
    caller = Caller("user", object_id=PEOPLE["ada"], tenant_id=TENANT)
    await durable_host.outcome(await durable_host.accept(harmful, caller=caller))
    assert [caller] == SEEN


@workflow(access=anonymous(), durable=True, secure_inputs=True)
async def calls_what_it_was_sent(ctx, body: str) -> None:
    try:
        await ctx.call(body)
    except Exception:
        SEEN.append(body)
    await ctx.sleep(3600)


async def test_the_name_of_a_call_of_a_secured_workflow_is_in_no_checkpoint(durable_host: Host) -> None:
    await sleeping(durable_host, harmless)
    durable_host.serve(calls_what_it_was_sent)
    run_id = await durable_host.accept(calls_what_it_was_sent, b'"marker-of-a-call"')
    await durable_host.until(lambda: _evicted(durable_host, run_id))
    engine = checkpoints_engine(durable_host.url)
    table = "operation_outputs" if engine.dialect.name == "sqlite" else "dbos.operation_outputs"
    with engine.connect() as connection:
        kept = connection.execute(text(f"SELECT * FROM {table}")).all()
    engine.dispose()
    assert SEEN == ["marker-of-a-call"]
    assert (run_id in str(kept), "marker-of-a-call" in str(kept)) == (True, False)
