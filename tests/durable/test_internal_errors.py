"""A mistake of Postern's own parks a durable run, with the type of the error in the log, and is not tried for ever."""

import asyncio
import json
from functools import partial
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from postern import Retry, anonymous, workflow
from postern.connections.faults import ConnectionFault
from postern.connections.sealing.sealed_text import CannotOpen
from postern.durable import durable_steps, signals
from postern.durable.passing import passes
from postern.errors import Problem, problem
from postern.journal.durable_ends import resume
from postern.journal.signals import Sent, send
from tests.durable.host import BY, TENANT, Host

pytestmark = pytest.mark.anyio

DONE: list[str] = []
SECRET = "value-of-a-body"


async def one() -> str:
    DONE.append("one")
    return SECRET


async def unsteady() -> str:
    DONE.append("unsteady")
    if DONE == ["unsteady"]:
        raise ConnectionError
    return "steady"


@workflow(access=anonymous(), durable=True)
async def steps_once(ctx) -> Any:
    try:
        return await ctx.step(one)
    except BaseException:
        return "caught"


@workflow(access=anonymous(), durable=True)
async def retries(ctx) -> Any:
    return await ctx.step(unsteady, retry=Retry(count=1, interval=0.01, minimum=0, maximum=0.01))


@workflow(access=anonymous(), durable=True)
async def waits(ctx) -> Any:
    return (await ctx.wait_for("go")).body


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    DONE.clear()


def broken(*_: Any, **__: Any) -> Any:
    raise IndexError(SECRET)


async def resumed(host: Host, run_id: str) -> Any:
    """The row of a run that an operator resumes."""
    by = json.dumps([TENANT, "lisa"])
    assert await host.journal.write(partial(resume, run_id=run_id, by=by, from_start=False)) is None
    host.engine.accepted()
    return await host.outcome(run_id)


async def parked_once(host: Host, run_id: str, entries: list[Any]) -> None:
    """The run is parked after one attempt, with the type of the error in the log and not its text."""
    row = await host.phase(run_id, "parked")
    assert (row.reason, row.owner, row.attempt) == ("internal-error", None, 1)
    await host.engine.reconcile()
    assert (await host.durable(run_id)).attempt == 1
    logged = [entry for entry in entries if entry["event"] == "durable-run-broken"]
    assert [(entry["run_id"], entry["cause"]) for entry in logged] == [(run_id, "IndexError")]
    assert SECRET not in str(entries)


async def test_after_the_effect_of_a_step_it_is_parked_and_the_step_is_not_called_again(
    shared_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared_host.serve(steps_once)
    monkeypatch.setattr(durable_steps, "step_written", broken)
    with capture_logs() as entries:
        run_id = await shared_host.accept(steps_once)
        await parked_once(shared_host, run_id, entries)
    assert DONE == ["one"]
    monkeypatch.undo()
    assert (await resumed(shared_host, run_id)).outputs == json.dumps(SECRET)


async def test_in_a_wait_it_is_parked(shared_host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    shared_host.serve(waits)
    run_id = await shared_host.accept(waits)
    await shared_host.phase(run_id, "waiting")
    monkeypatch.setattr(signals, "column_of", broken)
    monkeypatch.setattr(shared_host.signals, "_seals", shared_host.seals)
    with capture_logs() as entries:
        await send_unsealed(shared_host, run_id)
        await parked_once(shared_host, run_id, entries)
    monkeypatch.undo()
    assert (await resumed(shared_host, run_id)).outputs == json.dumps(SECRET)


async def send_unsealed(host: Host, run_id: str) -> None:
    """A signal that is in the database already."""
    sent = Sent(run_id, "s1", "go", 1000.0, BY, 9, json.dumps(SECRET))
    await host.journal.write(partial(send, sent=sent))
    host.signals.come(run_id)


async def test_before_the_code_it_is_parked(shared_host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    shared_host.serve(steps_once)
    with capture_logs() as entries:
        monkeypatch.setattr(shared_host, "_read", broken)
        await shared_host.restart()
        run_id = await shared_host.accept(steps_once)
        await parked_once(shared_host, run_id, entries)
    monkeypatch.undo()
    await shared_host.restart()
    assert DONE == []
    assert (await resumed(shared_host, run_id)).state == "Succeeded"


async def test_an_unavailable_database_before_another_attempt_is_no_error_of_the_step(
    shared_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared_host.serve(retries)
    may_begin, asked = shared_host.engine.may_begin, list[int]()

    async def away_at_second(execution: Any) -> bool:
        asked.append(1)
        if len(asked) == 2:
            raise problem("journal-unavailable")
        return await may_begin(execution)

    steps: Any = shared_host.engine._executions.services.step.__self__  # type: ignore[union-attr]
    monkeypatch.setattr(steps, "_may_begin", away_at_second)
    row = await shared_host.result(retries)
    assert (row.state, row.outputs) == ("Succeeded", '"steady"')


@pytest.mark.parametrize(
    ("error", "is_passing"),
    [
        (problem("journal-unavailable"), True),
        (ConnectionFault("POSTERN_DURABLE_KEY_NAME", "cannot be read", "Try again later"), True),
        (OperationalError("SELECT 1", {}, Exception()), True),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (Problem(409, "taken"), False),
        (CannotOpen("it was changed"), False),
        (IndexError(), False),
        (RuntimeError(), False),
        (asyncio.InvalidStateError(), False),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_only_what_is_unavailable_passes(error: Exception, is_passing: bool) -> None:
    assert passes(error) is is_passing
