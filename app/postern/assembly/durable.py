"""Durable runs, if the extra `durable` is installed."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from postern.api.approval_actions import Unseal, as_it_is
from postern.api.durable_actions import nothing_here
from postern.api.results import no_reply
from postern.api.signal_actions import SendSignal
from postern.assembly.ended_runs import EndedRuns
from postern.assembly.foundation import Foundation
from postern.assembly.part import Part
from postern.assembly.runs import RunsPart
from postern.assembly.takeovers import durable_is_installed, take_over
from postern.catalog import Trigger
from postern.catalog.context_changes import apply
from postern.connections.sealing.vault_keys import DURABLE_KEY, VaultKeys
from postern.journal.run import Outcome, Run
from postern.runs.runner import Read, holder
from postern.settings.own_application import on_behalf_of
from postern.triggers.large_bodies import LARGE
from postern.triggers.read import arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class DurablePart(Part):
    """`start` starts runs by the engine that each needs. `send_signal` is None without the extra. `come` is called with
    the id of a run for which something has come, and `unseal` opens what is kept of runs: run, column, kept text, key
    version. `cancel` cancels a run that is here, `whole` returns the whole reply of one that has ended, and `ready`
    looks for runs to claim. `ended` is called with the id of each run whose end is recorded. `drain` is called when the
    server process begins to stop."""

    start: Callable[..., Coroutine[Any, Any, Run]]
    send_signal: SendSignal | None = None
    come: Callable[[str], None] = lambda _: None
    unseal: Unseal = as_it_is
    cancel: Callable[..., Awaitable[None]] = nothing_here
    whole: Callable[[str], Awaitable[Outcome | None]] = no_reply
    ready: Callable[[], object] = lambda: None
    ended: EndedRuns = field(default_factory=EndedRuns)
    drain: Callable[[], object] = lambda: None


def durable_part(base: Foundation, runs: RunsPart, pages: str = "", *, executes: bool = True) -> DurablePart:
    """Without the extra, all runs are inline. `executes`: durable runs are executed here, not only accepted."""
    if not durable_is_installed():
        return DurablePart(start=runs.runner.start)
    from postern.durable.acceptance import Acceptance
    from postern.durable.approvals import Approvals
    from postern.durable.cancellations import Cancellations
    from postern.durable.checkpoint_retention import CheckpointRetention
    from postern.durable.choice import Choice, may_be_durable
    from postern.durable.durable_calls import DurableCalls
    from postern.durable.durable_steps import DurableSteps
    from postern.durable.engine import DurableEngine
    from postern.durable.replies import kept_reply
    from postern.durable.seals import KeySeals, NoSeal
    from postern.durable.signals import Signals
    from postern.durable.turns import Turns
    from postern.durable.waits import Waits
    from postern.durable.wakes import Wakes
    from postern.durable.works import Works

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

    ended = EndedRuns(runs.ended)
    works = Works(
        journal.read, journal.write, triggers, again, seals, runs.threads, ended.by_code, pages, runs.processes.beat_age
    )
    engine = DurableEngine(settings.database_url, journal.node, works, turns)
    waits = Waits(journal.write, turns)
    wakes = Wakes(waits, journal.read, journal.node)
    most = settings.max_result_bytes
    steps = DurableSteps(runs.steps, waits, engine.execution_of, engine.may_begin, seals, most, journal.note_step)
    calls = DurableCalls(steps, runs.calls, most, journal.note_call)
    signals = Signals(steps, waits, engine.execution_of, journal.read, journal.write, seals, engine.accepted)
    approvals = Approvals(steps, waits, engine.execution_of, journal.read, journal.write, seals, base.catalog.bind)
    services = replace(
        runs.services,
        step=steps.step,
        call=calls.call,
        sleep=steps.sleep,
        wait_for=signals.wait_for,
        approval=approvals.approval,
    )
    engine.use(services, steps.checkpoint)
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
    metrics = (take_over(base, runs.processes, engine),)

    cancellations = Cancellations(engine, journal.node, journal.read, journal.write, ended)

    def drain() -> None:
        waits.drain()
        engine.drain()

    for_callers = on_behalf_of(settings.connections, settings.triggers)
    may_wait = partial(may_be_durable, sealed=bool(key_name), for_callers=for_callers)

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        yield
        await engine.stop()

    retention = CheckpointRetention(engine.store, journal.read, journal.write)
    tasks = (engine.run, wakes.run, cancellations.run, retention.run)
    return DurablePart(
        start=Choice(runs.runner, acceptance, may_wait).start,
        send_signal=signals.send,
        come=signals.come,
        unseal=seals.open,
        cancel=cancellations.cancel,
        ready=engine.accepted,
        whole=partial(kept_reply, journal.read, seals),
        ended=ended,
        drain=drain,
        life=life,
        tasks=tasks if executes else (),
        metrics=metrics,
    )
