"""The server process among those that execute durable runs: how often it beats, when it may begin a step, and takeovers
from processes that are gone."""

from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from postern.api.durable_metrics import durable_metrics
from postern.api.metrics import Collect
from postern.assembly.foundation import Foundation
from postern.journal.server_processes import BEAT_EVERY, ServerProcesses

if TYPE_CHECKING:
    from postern.durable.engine import DurableEngine
    from postern.durable.execution import Execution


def durable_is_installed() -> bool:
    """Whether the extra `durable` is."""
    return find_spec("dbos") is not None


def beat_every() -> float:
    """The seconds between two beats of this server process: with durable runs it beats faster."""
    if not durable_is_installed():
        return BEAT_EVERY
    from postern.durable.upkeep import BEAT_EVERY as OFTEN

    return OFTEN


def beats(processes: ServerProcesses) -> Callable[[], bool]:
    """A function that says whether this process beats, so that it may claim runs."""
    from postern.durable.upkeep import FRESH

    return lambda: processes.beat_age() < FRESH


def fence(engine: "DurableEngine", processes: ServerProcesses) -> "Callable[[Execution], Awaitable[bool]]":
    """A function that says whether an execution may begin the body of a step now. First it compares the owner, then it
    looks at the beat: a process that stood still between the two does not begin."""
    fresh = beats(processes)

    async def may_begin(execution: "Execution") -> bool:
        while await engine.may_begin(execution):
            if fresh():
                return True
            await processes.next_beat()
        return False

    return may_begin


def take_over(base: Foundation, processes: ServerProcesses, engine: "DurableEngine") -> Collect:
    """Take over the durable runs of processes that are gone, with each look at the others. Returns the metrics."""
    from postern.durable.upkeep import Upkeep

    journal = base.journal
    upkeep = Upkeep(processes.own, journal.read, journal.write, engine.accepted, engine.check_holds)
    processes.looks.append(upkeep.look)
    return durable_metrics(lambda: upkeep.phases, lambda: upkeep.takeovers)
