"""A durable run waits for a person's decision, and goes on with it, or when the time is over."""

import json
from functools import partial
from typing import Any

import pytest

from postern import anonymous, specific_users, tenant_users, workflow
from postern.access import Caller
from postern.durable.approvals import NOBODY_YET
from postern.journal import approvals as journal
from postern.journal.approvals import Approval, Decided, Verdict
from postern.journal.durable_ends import resume
from postern.journal.durable_tables import approvals
from tests.durable.host import PEOPLE, TENANT, Host

pytestmark = pytest.mark.anyio


LISA = '{"kind": "user", "object_id": "lisa", "client_id": null, "name": "Lisa"}'
ADA = Caller("user", object_id=PEOPLE["ada"], tenant_id=TENANT, name="Ada")


@workflow(access=anonymous(), durable=True)
async def asks(ctx) -> list[Any]:
    found = await ctx.approval("manager", who=specific_users("lisa"), timeout="1h", data={"amount": 7})
    return [bool(found), found.state, found.comment, dict(found.decided_by), found.decided_at]


@workflow(access=anonymous(), durable=True)
async def asks_twice(ctx) -> list[bool]:
    return [bool(await ctx.approval("manager", who=tenant_users())) for _ in range(2)]


@workflow(access=anonymous(), durable=True)
async def asks_shortly(ctx) -> list[Any]:
    found = await ctx.approval("manager", who=tenant_users(), timeout=0.05)
    return [bool(found), found.state, dict(found.decided_by)]


@workflow(access=anonymous(), durable=True)
async def asks_badly(ctx, body: str) -> list[str]:
    questions: dict[str, dict[str, Any]] = {
        "anonymous": {"who": anonymous()},
        "no mode": {"who": "lisa"},
        "unknown": {"who": specific_users("nobody")},
        "large": {"who": tenant_users(), "data": "x" * 20_000},
        "no JSON": {"who": tenant_users(), "data": object()},
    }
    try:
        await ctx.approval("manager", **questions[body])
    except Exception as error:
        return [type(error).__name__, str(error)]
    return []


async def asked(host: Host, run_id: str, earlier: int = 0) -> Approval:
    """The approval that the run waits for, when it does."""

    async def waiting() -> Any:
        row = await host.durable(run_id)
        found = await host.journal.read(partial(journal.find, run_id=run_id, name="manager"))
        later = found is not None and found.number > earlier
        return found if row.phase == "waiting" and row.waits_for == "manager" and later else None

    found: Approval = await host.until(waiting)
    return found


async def decide(host: Host, approval: Approval, approved: bool = True) -> Verdict:
    decided = Decided(approved, "fine", approval.since + 1, LISA, "lisa")
    verdict: Verdict = await host.journal.write(partial(journal.decide, approval=approval, decided=decided))
    host.signals.come(approval.run_id)
    return verdict


@pytest.mark.parametrize("approved", [True, False])
async def test_a_run_goes_on_with_the_decision(shared_host: Host, approved: bool) -> None:
    shared_host.serve(asks)
    run_id = await shared_host.accept(asks)
    approval = await asked(shared_host, run_id)
    assert (approval.data, approval.workflow, approval.barred) == ('{"amount":7}', "asks", NOBODY_YET)
    assert approval.until == approval.since + 3600
    assert await decide(shared_host, approval, approved) is Verdict.STANDS
    row = await shared_host.outcome(run_id)
    state = "approved" if approved else "rejected"
    assert json.loads(row.outputs) == [approved, state, "fine", json.loads(LISA), approval.since + 1]
    kept = await shared_host.journal.read(partial(journal.data_of, places=[journal.place_of(approval)]))
    assert kept == {(run_id, approval.number): "null"}  # gone with the outcome


async def test_a_run_that_no_process_has_in_memory_goes_on_with_the_decision(
    shared_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_host.waits, "_held", 0.05)  # a run that waits leaves the memory after a moment
    shared_host.serve(asks)
    run_id = await shared_host.accept(asks)
    approval = await asked(shared_host, run_id)

    async def evicted() -> bool:
        return (await shared_host.durable(run_id)).owner is None

    await shared_host.until(evicted)
    await decide(shared_host, approval)
    assert json.loads((await shared_host.outcome(run_id)).outputs)[0] is True


async def test_a_decision_while_no_process_ran_counts(shared_host: Host) -> None:
    shared_host.serve(asks)
    run_id = await shared_host.accept(asks)
    approval = await asked(shared_host, run_id)
    await shared_host.crash()
    await decide(shared_host, approval)
    await shared_host.take_over()
    assert json.loads((await shared_host.outcome(run_id)).outputs)[0] is True


async def test_an_approval_that_is_asked_twice_is_decided_twice(shared_host: Host) -> None:
    shared_host.serve(asks_twice)
    run_id = await shared_host.accept(asks_twice)
    first = await asked(shared_host, run_id)
    await decide(shared_host, first)
    second = await asked(shared_host, run_id, first.number)
    assert await decide(shared_host, first) is Verdict.LATE
    await decide(shared_host, second, approved=False)
    assert (await shared_host.outcome(run_id)).outputs == "[true,false]"


async def test_a_signal_answers_no_approval(shared_host: Host) -> None:
    shared_host.serve(asks)
    run_id = await shared_host.accept(asks)
    approval = await asked(shared_host, run_id)
    await shared_host.send(run_id, '{"approved": true}', "manager")
    await shared_host.wakes.look()
    row = await shared_host.durable(run_id)
    assert (row.phase, row.reason, row.wakes_at) == ("waiting", "approval", approval.until)
    await decide(shared_host, approval)
    await shared_host.outcome(run_id)


async def test_after_its_time_the_decision_is_timed_out_and_stays_so(shared_host: Host) -> None:
    shared_host.serve(asks_shortly)
    run_id = await shared_host.accept(asks_shortly)
    assert (await shared_host.outcome(run_id)).outputs == '[false,"timed-out",{}]'
    found = await shared_host.journal.read(partial(journal.find, run_id=run_id, name="manager"))
    assert found is not None
    assert found.state == "timed-out"
    assert await decide(shared_host, found) is Verdict.ENDED


async def test_who_started_a_run_is_barred_and_so_known_to_have_begun_it(shared_host: Host) -> None:
    shared_host.serve(asks)
    by_ada, by_anyone = [await shared_host.accept(asks, caller=who) for who in (ADA, Caller("anonymous"))]
    found = [await asked(shared_host, run_id) for run_id in (by_ada, by_anyone)]
    assert [(each.barred, each.elsewhere) for each in found] == [
        (frozenset({ADA.object_id}), False),
        (NOBODY_YET, True),
    ]
    for each in found:
        await decide(shared_host, each)
        await shared_host.outcome(each.run_id)


async def test_who_resumed_a_run_that_began_with_nobody_known_is_barred(shared_host: Host) -> None:
    shared_host.serve(asks)
    run_id = await shared_host.accept(asks)
    await asked(shared_host, run_id)
    await shared_host.cancel(run_id)
    by = json.dumps([TENANT, "lisa"])
    await shared_host.journal.write(partial(resume, run_id=run_id, by=by, from_start=False))
    shared_host.engine.accepted()
    approval = await asked(shared_host, run_id)
    assert await decide(shared_host, approval) is Verdict.BARRED
    await shared_host.cancel(run_id)


@pytest.mark.parametrize(
    ("question", "kind", "text"),
    [
        ("anonymous", "ValueError", "a decision is a person's"),
        ("no mode", "TypeError", "not str"),
        ("unknown", "StepError", "nobody"),
        ("large", "ValueError", "at most 16384"),
        ("no JSON", "TypeError", "cannot be written as JSON"),
    ],
)
async def test_what_cannot_be_asked_is_an_error_at_the_call(
    shared_host: Host, question: str, kind: str, text: str
) -> None:
    shared_host.serve(asks_badly)
    found = json.loads((await shared_host.result(asks_badly, json.dumps(question).encode())).outputs)
    assert found[0] == kind
    assert text in found[1]


async def test_an_approval_ends_with_its_run(shared_host: Host) -> None:
    shared_host.serve(asks)
    run_id = await shared_host.accept(asks)
    approval = await asked(shared_host, run_id)
    await shared_host.cancel(run_id)
    query = approvals.select().where(approvals.c.run_id == run_id)
    row = await shared_host.journal.read(lambda connection: connection.execute(query).one())
    assert row.state == "ended"
    assert await decide(shared_host, approval) is Verdict.ENDED
