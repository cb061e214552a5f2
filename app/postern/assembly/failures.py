"""Failures: workflows that are notified of failed runs of others."""

from dataclasses import dataclass

from postern.api.own_run_metrics import failure_metrics
from postern.assembly.durable import DurablePart
from postern.assembly.foundation import Foundation
from postern.assembly.part import Part
from postern.assembly.runs import RunsPart
from postern.failures.notifier import Notifier
from postern.triggers.server_runs import starter


@dataclass(frozen=True, slots=True, kw_only=True)
class FailuresPart(Part):
    """Starts runs after failures. A test calls `notifier.step`."""

    notifier: Notifier


def failures_part(base: Foundation, runs: RunsPart, durable: DurablePart) -> FailuresPart:
    """Each server process looks at failures, whatever its role: they are there where runs are."""
    journal, catalog = base.journal, base.catalog
    notifier = Notifier(
        catalog.triggers,
        journal.read,
        journal.write,
        starter(durable.start),
        stopping=lambda: runs.runner.room.closed,
    )
    base.outside.started(notifier)
    runs.failed.append(notifier.failed)
    catalog.listeners.append(lambda _old, _new: notifier.wake())
    return FailuresPart(
        notifier=notifier,
        tasks=(notifier.run,),
        metrics=(failure_metrics(lambda: dict(notifier.outcomes)),),
    )
