"""How executions of durable runs begin and end: timeouts, cancellations, `def` workflows, and code that misbehaves."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from postern import Problem, anonymous, workflow
from postern.durable import executions as executions_module
from postern.errors import problem
from postern.journal.durable_outcomes import record_outcome
from tests.durable.host import Host

pytestmark = pytest.mark.anyio


class Seen:
    """What the code of a test did, and its gates, new in each test's event loop."""

    done: list[Any]
    begun: asyncio.Event
    open: asyncio.Event


@pytest.fixture(autouse=True)
async def nothing_seen() -> None:
    Seen.done = []
    Seen.begun, Seen.open = asyncio.Event(), asyncio.Event()


async def gate() -> str:
    Seen.done.append("gate")
    Seen.begun.set()
    await Seen.open.wait()
    return "through"


@workflow(access=anonymous(), durable=True)
def plain(ctx) -> str:
    Seen.done.append("plain")
    return "done"


@workflow(access=anonymous(), durable=True)
def failing(ctx) -> str:
    Seen.done.append("failing")
    raise Problem(409, "taken")


@workflow(access=anonymous(), durable=True, timeout=0.2)
async def hanging(ctx) -> str:
    await ctx.step(gate)
    return "never"


@workflow(access=anonymous(), durable=True, timeout=1)
async def sleeping(ctx) -> str:
    await ctx.sleep(1.5)
    return "rested"


@workflow(access=anonymous(), durable=True, timeout=0.1)
async def swallowing(ctx) -> str:
    try:
        await ctx.step(gate)
    except BaseException:
        Seen.done.append("swallowed")
    await Seen.open.wait()
    try:
        await ctx.step(gate)
    except BaseException as error:
        Seen.done.append(type(error).__name__)
    return "swallowed"


@workflow(access=anonymous(), durable=True)
async def stubborn(ctx) -> str:
    try:
        await ctx.step(gate)
    except BaseException:
        return "swallowed"
    return "through"


@workflow(access=anonymous(), durable=True)
async def exits(ctx) -> str:
    raise SystemExit(1)


@pytest.mark.parametrize(("code", "state"), [(plain, "Succeeded"), (failing, "Failed")], ids=["returns", "raises"])
async def test_a_def_workflow_that_has_ended_is_not_called_again_after_a_crash(
    durable_host: Host, monkeypatch: pytest.MonkeyPatch, code: Any, state: str
) -> None:
    durable_host.serve(code)
    ended = asyncio.Event()
    usual = executions_module.Executions._end

    async def dies(self: Any, execution: Any, outcome: Any) -> bool:
        ended.set()
        execution.left = True
        return False

    monkeypatch.setattr(executions_module.Executions, "_end", dies)
    run_id = await durable_host.accept(code)
    await asyncio.wait_for(ended.wait(), 20)
    monkeypatch.setattr(executions_module.Executions, "_end", usual)
    await durable_host.reconcile(run_id)
    row = await durable_host.outcome(run_id)
    assert row.state == state
    assert len(Seen.done) == 1


async def test_a_run_times_out_when_its_code_has_run_for_too_long(durable_host: Host) -> None:
    durable_host.serve(hanging)
    row = await durable_host.result(hanging)
    assert (row.state, row.error_type) == ("TimedOut", "timed-out")


@pytest.mark.parametrize("durable_host", [{}, {"held": 0.2}], ids=["in-memory", "nowhere"], indirect=True)
async def test_the_time_in_which_a_run_waits_does_not_count_for_its_timeout(durable_host: Host) -> None:
    durable_host.serve(sleeping)
    row = await durable_host.result(sleeping)
    assert (row.state, row.outputs) == ("Succeeded", '"rested"')


async def test_a_run_whose_code_swallows_its_cancellation_has_timed_out_and_begins_nothing(durable_host: Host) -> None:
    durable_host.serve(swallowing)
    run_id = await durable_host.accept(swallowing)
    assert (await durable_host.outcome(run_id)).state == "TimedOut"
    Seen.open.set()

    async def ended() -> bool:
        return not durable_host.engine.executions

    await durable_host.until(ended)
    assert Seen.done == ["gate", "swallowed", "Left"]
    assert (await durable_host.row(run_id)).state == "TimedOut"


async def test_a_step_under_way_is_kept_when_the_server_process_ends(durable_host: Host) -> None:
    durable_host.serve(stubborn)
    run_id = await durable_host.accept(stubborn)
    await asyncio.wait_for(Seen.begun.wait(), 20)
    restarting = asyncio.create_task(durable_host.restart())
    await asyncio.sleep(0)
    Seen.open.set()
    await restarting
    row = await durable_host.outcome(run_id)
    assert (row.state, row.outputs) == ("Succeeded", '"through"')
    assert Seen.done == ["gate"]


async def test_code_that_swallows_the_end_of_its_execution_has_no_outcome_there(durable_host: Host) -> None:
    durable_host.serve(stubborn)
    run_id = await durable_host.accept(stubborn)
    await asyncio.wait_for(Seen.begun.wait(), 20)
    durable_host.engine.executions[run_id].leave()
    Seen.open.set()
    await durable_host.reconcile(run_id)
    assert (await durable_host.outcome(run_id)).outputs == '"through"'
    assert Seen.done == ["gate", "gate"]


async def test_a_workflow_that_exits_has_failed_and_the_server_goes_on(durable_host: Host) -> None:
    durable_host.serve(exits, plain)
    row = await durable_host.result(exits)
    assert (row.state, row.error_type) == ("Failed", "SystemExit")
    assert (await durable_host.result(plain)).state == "Succeeded"


async def test_code_that_is_served_while_a_run_is_parked_for_want_of_it_lets_it_go_on(
    durable_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    durable_host.serve(sleeping)
    run_id = await durable_host.accept(sleeping)
    await durable_host.phase(run_id, "waiting")
    await durable_host.crash()
    durable_host.serve()
    park = executions_module.Executions._park

    async def parking(*arguments: Any) -> None:
        durable_host.serve(sleeping)  # just then
        await park(*arguments)

    monkeypatch.setattr(executions_module.Executions, "_park", parking)
    await durable_host.take_over()
    await durable_host.phase(run_id, "parked")
    await durable_host.engine.reconcile()
    assert (await durable_host.outcome(run_id)).state == "Succeeded"


@workflow(access=anonymous(), durable=True, timeout=0.1)
async def endless(ctx) -> None:
    while not Seen.open.is_set():
        try:
            await asyncio.wait_for(Seen.open.wait(), 5)
        except BaseException:
            Seen.done.append("swallowed")


@pytest.mark.parametrize("durable_host", [{"workers": 1}], indirect=True)
async def test_code_that_never_ends_takes_no_turn_from_other_runs(
    durable_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    durable_host.serve(endless, plain)
    failures = [problem("journal-unavailable")]
    write = durable_host.journal.write

    async def unavailable(operation: Any, *more: Any) -> Any:
        if failures and getattr(operation, "func", None) is record_outcome:
            raise failures.pop()
        return await write(operation, *more)

    executions = durable_host.engine._executions
    monkeypatch.setattr(executions, "_works", replace(executions._works, write=unavailable))
    assert (await durable_host.result(endless)).state == "TimedOut"
    assert (await durable_host.result(plain)).state == "Succeeded"
    assert (failures, durable_host.engine._turns.free) == ([], 1)
    Seen.open.set()


@workflow(access=anonymous(), durable=True)
async def strange(ctx) -> Any:
    Seen.done.append(ctx)
    return await Seen.done[0].step(gate)


async def test_the_ctx_of_a_run_that_has_ended_fails_the_run_that_uses_it(durable_host: Host) -> None:
    durable_host.serve(plain, strange)
    Seen.open.set()
    assert (await durable_host.result(strange)).state == "Succeeded"
    row = await durable_host.result(strange)
    assert (row.state, row.error_type) == ("Failed", "RuntimeError")
