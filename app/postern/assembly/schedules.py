"""Schedules: workflows that the server starts by the clock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from postern.api.own_run_metrics import schedule_metrics
from postern.assembly.durable import DurablePart
from postern.assembly.foundation import Foundation
from postern.assembly.part import Part
from postern.assembly.runs import RunsPart
from postern.schedules.scheduler import Scheduler
from postern.triggers.server_runs import starter

log = structlog.get_logger("postern.schedules")


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulesPart(Part):
    """Starts runs by the clock. A test sets the clock (`outside.now`), and calls `scheduler.step`."""

    scheduler: Scheduler


def schedules_part(
    base: Foundation,
    runs: RunsPart,
    durable: DurablePart,
    *,
    fires: bool = True,
) -> SchedulesPart:
    """Without `fires` no run starts by the clock here: another server process does it."""
    journal, catalog = base.journal, base.catalog
    scheduler = Scheduler(
        catalog.triggers,
        journal.write,
        journal.write_soon,
        starter(durable.start),
        journal.node,
        stopping=lambda: runs.runner.room.closed,
        now=base.outside.now,
    )
    base.outside.started(scheduler)
    catalog.listeners.append(lambda _old, _new: scheduler.wake())

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        found = sorted(name for name, trigger in catalog.triggers().items() if trigger.workflow.schedule)
        if found and not fires:
            log.info("schedules-elsewhere", workflows=found, fix="run a server process with the role worker or all")
        yield

    return SchedulesPart(
        life=life,
        scheduler=scheduler,
        tasks=(scheduler.run,) if fires and base.outside.ticks else (),
        metrics=(schedule_metrics(lambda: dict(scheduler.outcomes)),),
    )
