"""Durable runs, if the extra `durable` is installed."""

import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import Any

from postern.api.approval_actions import Unseal, as_it_is
from postern.api.durable_metrics import durable_metrics
from postern.api.signal_actions import SendSignal
from postern.assembly.foundation import Foundation
from postern.assembly.part import Part
from postern.assembly.runs import RunsPart
from postern.catalog import Trigger
from postern.catalog.context_changes import apply
from postern.connections.sealing.vault_keys import DURABLE_KEY, VaultKeys
from postern.journal.run import Run
from postern.journal.server_processes import BEAT_EVERY
from postern.runs.runner import Read, holder
from postern.settings.own_application import on_behalf_of
from postern.triggers.large_bodies import LARGE
from postern.triggers.read import arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class DurablePart(Part):
    """`start` starts runs by the engine that each needs. `send_signal` is None without the extra. `come` is called with
    the id of a run for which something has come, and `unseal` opens what is kept of runs: run, column, kept text, key
    version. `drain` is called when the server process begins to stop."""

    start: Callable[..., Coroutine[Any, Any, Run]]
    send_signal: SendSignal | None = None
    come: Callable[[str], None] = lambda _: None
    unseal: Unseal = as_it_is
    drain: Callable[[], object] = lambda: None


def beat_every() -> float:
    """The seconds between two beats of this server process: with durable runs it beats faster."""
    if find_spec("dbos") is None:
        return BEAT_EVERY
    from postern.durable.upkeep import BEAT_EVERY as DURABLE

    return DURABLE


def durable_part(base: Foundation, runs: RunsPart, pages: str = "") -> DurablePart:
    """Without the extra, all runs are inline."""
    if find_spec("dbos") is None:
        return DurablePart(start=runs.runner.start)
    from postern.durable.acceptance import Acceptance
    from postern.durable.approvals import Approvals
    from postern.durable.choice import Choice, may_be_durable
    from postern.durable.durable_steps import DurableSteps
    from postern.durable.engine import DurableEngine, Works
    from postern.durable.execution import Execution
    from postern.durable.seals import KeySeals, NoSeal
    from postern.durable.signals import Signals
    from postern.durable.turns import Turns
    from postern.durable.upkeep import FRESH, Upkeep
    from postern.durable.waits import Waits
    from postern.durable.wakes import Wakes

    settings, journal, triggers = base.settings, base.journal, base.catalog.triggers
    key_name, vault = settings.durable_key_name, base.connections.connections.vault
    seals = KeySeals(VaultKeys(vault, key_name, DURABLE_KEY)) if key_name else NoSeal()
    turns = Turns(settings.durable_workers)

    async def in_thread(run: Run, read: Read) -> Mapping[str, Any]:
        return await runs.threads.run(run.workflow.name, read, holder(run))

    async def again(trigger: Trigger, run: Run) -> Mapping[str, Any]:
        request, workflow = run.request, trigger.workflow
        apply(trigger.context)
        kind = request.content_type.encode("latin-1") if request.body else None
        read = partial(arguments, workflow, request.body, kind, request.path_parameters)
        if workflow.reads_in_thread or len(request.body) > LARGE:
            return await in_thread(run, read)
        return read()

    works = Works(journal.read, journal.write, triggers, again, seals, runs.threads, runs.ended, pages)
    processes = runs.processes
    engine = DurableEngine(
        settings.database_url, journal.node, works, turns, may_claim=lambda: processes.beat_age() < FRESH
    )

    async def may_begin(execution: Execution) -> bool:
        # First the owner, then the beat: a process that stood still between the two does not begin.
        while await engine.may_begin(execution):
            if processes.beat_age() < FRESH:
                return True
            await processes.next_beat()
        return False

    waits = Waits(journal.write, turns)
    wakes = Wakes(waits, journal.read, journal.node)
    steps = DurableSteps(
        runs.steps, runs.services.call, waits, engine.execution_of, may_begin, seals, settings.max_result_bytes
    )
    signals = Signals(steps, waits, engine.execution_of, journal.read, journal.write, seals, engine.accepted)
    approvals = Approvals(steps, waits, engine.execution_of, journal.read, journal.write, seals, base.catalog.bind)
    engine.services = replace(
        runs.services,
        step=steps.step,
        call=steps.call,
        sleep=steps.sleep,
        wait_for=signals.wait_for,
        approval=approvals.approval,
    )

    acceptance = Acceptance(
        journal,
        runs.runner.room,
        seals,
        digest_of=lambda name: triggers()[name].sha256,
        most=settings.durable_waiting,
        accepted=engine.accepted,
        read=runs.runner.read,
        now=time.time,
    )
    runs.elsewhere.append(engine)
    upkeep = Upkeep(processes.own, journal.read, journal.write, engine.accepted, engine.check_holds)
    processes.looks.append(upkeep.look)

    def drain() -> None:
        waits.drain()
        engine.drain()

    for_callers = on_behalf_of(settings.connections, settings.triggers)
    may_wait = partial(may_be_durable, sealed=bool(key_name), for_callers=for_callers)

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        yield
        await engine.stop()

    return DurablePart(
        start=Choice(runs.runner, acceptance, may_wait).start,
        send_signal=signals.send,
        come=signals.come,
        unseal=seals.open,
        drain=drain,
        life=life,
        tasks=(engine.run, wakes.run),
        metrics=(durable_metrics(lambda: upkeep.phases, lambda: upkeep.takeovers),),
    )
