"""The durable engine with what it needs. Only where the extra `durable` is installed: it imports DBOS."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from postern.assembly.durable_part import DurablePart
from postern.assembly.durable_seals import seals_of
from postern.assembly.ended_runs import EndedRuns
from postern.assembly.foundation import Foundation
from postern.assembly.runs import RunsPart
from postern.assembly.takeovers import take_over
from postern.catalog import Trigger
from postern.catalog.context_changes import apply
from postern.durable.acceptance import Acceptance
from postern.durable.approvals import Approvals
from postern.durable.cancellations import Cancellations
from postern.durable.checkpoint_retention import CheckpointRetention
from postern.durable.choice import Choice, may_be_durable
from postern.durable.decisions import sealed_decision
from postern.durable.durable_calls import DurableCalls
from postern.durable.durable_steps import DurableSteps
from postern.durable.engine import DurableEngine
from postern.durable.lost_records import LostRecords
from postern.durable.replies import kept_reply
from postern.durable.seals import Seals
from postern.durable.signals import Signals
from postern.durable.turns import Turns
from postern.durable.waits import Waits
from postern.durable.wakes import Wakes
from postern.durable.works import Works
from postern.journal.run import Run
from postern.runs.origin import holder
from postern.settings.own_application import on_behalf_of
from postern.triggers.large_bodies import LARGE
from postern.triggers.read import arguments


def engine_part(base: Foundation, runs: RunsPart, pages: str, *, executes: bool) -> DurablePart:
    """The part of durable runs. Without `executes` they are only accepted here."""
    settings, journal, seals = base.settings, base.journal, seals_of(base)
    turns, ended = Turns(settings.durable_workers), EndedRuns(runs.ended)
    works = Works(
        *(journal.read, journal.write, base.catalog.triggers, _reader(runs), seals, runs.threads, ended.by_code),
        runs.lines,
        pages,
        runs.processes.beat_age,
        journal.quiet,
        most_kept=settings.max_result_bytes,
    )
    early = base.outside.durable_early
    engine = DurableEngine(settings.database_url, journal.node, works, turns, early=early)
    waits = Waits(journal.write, turns)
    signals = _use(base, runs, engine, waits, seals)
    runs.elsewhere.append(engine)
    metrics = (take_over(base, runs.processes, engine),)
    cancellations = Cancellations(engine, journal.node, journal.read, journal.write, ended)
    wakes = Wakes(waits, journal.read, journal.node)
    retention = CheckpointRetention(engine.store, journal.read, journal.write)
    lost = LostRecords(journal.read, journal.write, base.catalog.triggers, seals)

    def drain() -> None:
        waits.drain()
        engine.drain()

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        yield
        await engine.stop()

    choice = _choice(base, runs, engine, seals)
    return DurablePart(
        start=choice.start,
        of_request=choice.of_request,
        send_signal=signals.send,
        come=signals.come,
        unseal=seals.open,
        seal_decision=partial(sealed_decision, seals),
        cancel=cancellations.cancel,
        whole=partial(kept_reply, journal.read, seals),
        ready=engine.accepted,
        ended=ended,
        drain=drain,
        life=life,
        tasks=(engine.run, wakes.run, cancellations.run, retention.run, lost.run) if executes else (),
        metrics=metrics,
    )


def _reader(runs: RunsPart) -> Callable[[Trigger, Run], Awaitable[Mapping[str, Any]]]:
    """A function that reads the arguments of a run from its request again."""

    async def again(trigger: Trigger, run: Run) -> Mapping[str, Any]:
        request, workflow = run.request, trigger.workflow
        apply(trigger.context)
        kind = request.content_type.encode("latin-1") if request.body else None
        sent = (request.query_string, request.headers.raw)
        read = partial(arguments, workflow, request.body, kind, request.path_parameters, *sent)
        if workflow.reads_in_thread or len(request.body) > LARGE:
            return await runs.threads.run(workflow.name, read, holder(run))
        return read()

    return again


def _use(base: Foundation, runs: RunsPart, engine: DurableEngine, waits: Waits, seals: Seals) -> Signals:
    """Give the engine what workflows get. Returns the signals."""
    journal, most = base.journal, base.settings.max_result_bytes
    steps = DurableSteps(
        *(runs.steps, waits, engine.execution_of, engine.may_begin, seals, most, journal.note_step),
        kept=base.outside.step_kept,
    )
    calls = DurableCalls(steps, runs.calls, most, journal.note_call)
    signals = Signals(steps, waits, engine.execution_of, journal.read, journal.write, seals, engine.accepted)
    approvals = Approvals(steps, waits, engine.execution_of, journal.read, journal.write, seals, base.catalog.bind)
    services = replace(runs.services, step=steps.step, call=calls.call, sleep=steps.sleep)
    engine.use(replace(services, wait_for=signals.wait_for, approval=approvals.approval), steps.checkpoint)
    return signals


def _choice(base: Foundation, runs: RunsPart, engine: DurableEngine, seals: Seals) -> Choice:
    """What starts each run by the engine that it needs."""
    settings, triggers = base.settings, base.catalog.triggers
    acceptance = Acceptance(
        base.journal,
        runs.runner.room,
        seals,
        digest_of=lambda name: triggers()[name].sha256,
        most=settings.durable_waiting,
        places=engine,
        read=runs.runner.read,
        now=time.time,
        fail=runs.runner.fail,
    )
    for_callers = on_behalf_of(settings.connections, settings.triggers)
    may_wait = partial(may_be_durable, sealed=bool(settings.durable_key_name), for_callers=for_callers)
    return Choice(runs.runner, acceptance, may_wait)
