"""Durable runs, if the extra `durable` is installed."""

from functools import partial

from postern.access import StartedBy
from postern.assembly.durable_part import DurablePart
from postern.assembly.foundation import Foundation
from postern.assembly.runs import RunsPart
from postern.assembly.takeovers import durable_is_installed

__all__ = ["DurablePart", "durable_part"]


def durable_part(base: Foundation, runs: RunsPart, pages: str = "", *, executes: bool = True) -> DurablePart:
    """Without the extra, all runs are inline. `executes`: durable runs are executed here, not only accepted."""
    if not durable_is_installed():
        start = runs.runner.start
        return DurablePart(start=start, of_request=partial(start, started_by=StartedBy.REQUEST))
    from postern.assembly.durable_engine import engine_part

    return engine_part(base, runs, pages, executes=executes)
