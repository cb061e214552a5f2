"""The server process among those that execute durable runs: how often it beats, and takeovers from processes that are
gone."""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from postern.api.durable_metrics import durable_metrics
from postern.api.figures import Collect
from postern.assembly.foundation import Foundation
from postern.journal.server_processes import BEAT_EVERY, ServerProcesses

if TYPE_CHECKING:
    from postern.durable.engine import DurableEngine


def durable_is_installed() -> bool:
    """Whether the extra `durable` is."""
    return find_spec("dbos") is not None


def beat_every() -> float:
    """The seconds between two beats of this server process: with durable runs it beats faster."""
    if not durable_is_installed():
        return BEAT_EVERY
    from postern.durable.upkeep import BEAT_EVERY as OFTEN

    return OFTEN


def take_over(base: Foundation, processes: ServerProcesses, engine: "DurableEngine") -> Collect:
    """Take over the durable runs of processes that are gone, with each look at the others. Returns the metrics."""
    from postern.durable.upkeep import Upkeep

    journal = base.journal
    upkeep = Upkeep(processes.own, journal.read, journal.write, engine.accepted, engine.check_holds)
    processes.looks.append(upkeep.look)
    return durable_metrics(lambda: upkeep.phases, lambda: upkeep.takeovers, lambda: upkeep.waiting_for_key)
