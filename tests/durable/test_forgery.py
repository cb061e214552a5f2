"""What somebody who can write the database makes of a run when there is a key: nothing."""

import json
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from postern import anonymous, specific_users, workflow
from postern.access import Caller
from postern.durable.checkpoints_database import checkpoints_engine
from postern.durable.decisions import sealed_decision
from postern.durable.seals import KeySeals
from postern.journal import approvals
from postern.journal.approvals import Approval, Decided, Verdict
from postern.journal.durable_ends import resume
from tests.connections.sealing.ring import Ring
from tests.durable.host import BY, PEOPLE, TENANT, Host
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


DUE = "UPDATE durable_runs SET wakes_at = 0"


async def forged(host: Host, run_id: str, *statements: str) -> Any:
    """The row of the run, once it is parked after this was written into the database."""
    await host.crash()
    for statement in statements:
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


@workflow(access=anonymous(), durable=True)
async def asks(ctx) -> Any:
    found = await ctx.approval("manager", who=specific_users("lisa"), timeout="1h")
    return [found.state, found.comment]


async def to_decide(host: Host) -> Approval:
    """The approval that a sealed run waits for, in no memory."""
    await host.restart_with(KeySeals(Ring(v1=KEY)))
    host.serve(asks)
    run_id = await host.accept(asks)
    await host.until(lambda: _evicted(host, run_id))
    found: Approval | None = await host.journal.read(partial(approvals.find, run_id=run_id, name="manager"))
    assert found is not None
    return found


async def decide(host: Host, approval: Approval) -> Verdict:
    """A decision as the API writes it."""
    decided = Decided(True, "fine", approval.since + 1, BY, "lisa")
    sealed = await sealed_decision(host.seals, approval, decided)
    verdict: Verdict = await host.journal.write(partial(approvals.decide, approval=approval, decided=sealed))
    host.signals.come(approval.run_id)
    return verdict


FORGED_BY_LISA = (
    "UPDATE approvals SET state = 'approved', decided_at = since + 1, comment = 'fine', "
    'decided_by = \'{"kind"\\: "user", "object_id"\\: "lisa"}\''
)


async def test_a_decision_that_postern_did_not_write_is_none(durable_host: Host) -> None:
    """Its run is parked, the approval waits again, and those who may decide can still do so."""
    approval = await to_decide(durable_host)
    run_id = approval.run_id
    with capture_logs() as entries:
        row = await forged(durable_host, run_id, FORGED_BY_LISA, DUE)
    assert row.reason == "decision-not-verified"
    assert [entry["approval"] for entry in entries if entry["event"] == "decision-not-verified"] == ["manager"]
    found = await durable_host.journal.read(partial(approvals.find, run_id=run_id, name="manager"))
    assert found == approval
    await durable_host.journal.write(partial(resume, run_id=run_id, by=json.dumps([TENANT, "gil"]), from_start=False))
    durable_host.engine.accepted()
    await durable_host.until(lambda: _evicted(durable_host, run_id))
    assert await decide(durable_host, approval) is Verdict.STANDS
    assert (await durable_host.outcome(run_id)).outputs == '["approved","fine"]'


async def test_a_question_that_was_changed_before_its_decision_is_answered_by_nobody(durable_host: Host) -> None:
    """Somebody makes themselves the approver, and then decides by the API."""
    approval = await to_decide(durable_host)
    mine = replace(approval, who='{"mode": "tenant_users"}', barred=frozenset())
    await durable_host.crash()
    asks_me = "UPDATE approvals SET barred = '[]', who = '" + mine.who.replace(":", "\\:") + "'"
    await durable_host.journal.write(partial(execute, statement=asks_me))
    assert await decide(durable_host, mine) is Verdict.STANDS
    await durable_host.take_over()
    assert (await durable_host.phase(approval.run_id, "parked")).reason == "decision-not-verified"


@pytest.mark.parametrize("changed", ["sent_by = '{}'", "name = 'go', id = 'other'", "sent_at = sent_at - 1"])
async def test_a_signal_of_another_sender_name_or_time_does_not_open(durable_host: Host, changed: str) -> None:
    run_id = await sleeping(durable_host, waits)
    await durable_host.send(run_id, '{"paid": false}', "stop" if "name" in changed else "go")
    row = await forged(durable_host, run_id, f"UPDATE signals SET {changed}")
    assert row.reason == "key-unavailable"


@workflow(access=anonymous(), durable=True)
async def waits_twice(ctx) -> Any:
    found = [await ctx.wait_for("go"), await ctx.wait_for("go")]
    return [each.body for each in found]


async def test_a_signal_that_was_taken_is_taken_by_no_other_wait(durable_host: Host) -> None:
    """The journal says that it was not taken, and Postern has sealed it."""
    await durable_host.restart_with(KeySeals(Ring(v1=KEY)))
    durable_host.serve(waits_twice)
    run_id = await durable_host.accept(waits_twice)
    await durable_host.until(lambda: _evicted(durable_host, run_id))
    await durable_host.send(run_id, '{"paid": true}')

    async def waits_again() -> bool:
        query = text("SELECT taken_by FROM signals")
        taken = await durable_host.journal.read(lambda connection: connection.execute(query).scalar())
        return taken is not None and await _evicted(durable_host, run_id)

    await durable_host.until(waits_again)
    row = await forged(durable_host, run_id, "UPDATE signals SET taken_by = NULL", DUE)
    assert row.reason == "key-unavailable"


async def test_a_run_that_is_woken_early_waits_for_its_own_time(durable_host: Host) -> None:
    """Its end is in its checkpoint, which is sealed."""
    await durable_host.restart_with(KeySeals(Ring(v1=KEY)))
    durable_host.serve(sleeps_long)
    run_id = await durable_host.accept(sleeps_long)
    await durable_host.until(lambda: _evicted(durable_host, run_id))
    before = await durable_host.durable(run_id)
    for woken in ("wakes_at = 0", "phase = 'ready', wakes_at = NULL"):
        await durable_host.journal.write(partial(execute, statement=f"UPDATE durable_runs SET {woken}"))
        durable_host.engine.accepted()

        async def again() -> bool:
            row = await durable_host.durable(run_id)
            return bool(row.owner is None and row.phase == "waiting" and row.wakes_at)

        await durable_host.until(again)
    row = await durable_host.durable(run_id)
    assert (row.wakes_at, row.attempt > before.attempt) == (before.wakes_at, True)


@workflow(access=anonymous(), durable=True)
async def sleeps_long(ctx) -> None:
    await ctx.sleep(3600)


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
