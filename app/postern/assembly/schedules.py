"""Schedules: workflows that the server starts by the clock."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from postern.api.own_run_metrics import schedule_metrics
from postern.assembly.durable import DurablePart
from postern.assembly.foundation import Foundation
from postern.assembly.part import Part
from postern.assembly.runs import RunsPart
from postern.schedules.scheduler import Scheduler
from postern.triggers.server_runs import starter


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulesPart(Part):
    """Starts runs by the clock. A test sets the clock, and calls `scheduler.step`."""

    scheduler: Scheduler


def schedules_part(
    base: Foundation,
    runs: RunsPart,
    durable: DurablePart,
    *,
    fires: bool = True,
    now: Callable[[], float] = time.time,
) -> SchedulesPart:
    """Without `fires` no run starts by the clock here: another server process does it. `now` is in Unix seconds."""
    journal, catalog = base.journal, base.catalog
    scheduler = Scheduler(
        catalog.triggers,
        journal.write,
        journal.write_soon,
        starter(durable.start),
        journal.node,
        stopping=lambda: runs.runner.room.closed,
        now=now,
    )
    catalog.listeners.append(lambda _old, _new: scheduler.wake())
    return SchedulesPart(
        scheduler=scheduler,
        tasks=(scheduler.run,) if fires else (),
        metrics=(schedule_metrics(lambda: dict(scheduler.outcomes)),),
    )
