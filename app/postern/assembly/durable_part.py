"""What the part of durable runs adds to the application."""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from postern.api.durable_defaults import as_it_is, no_reply, nothing_here, unsealed
from postern.assembly.ended_runs import EndedRuns
from postern.assembly.part import Part
from postern.journal.run import Outcome, Run
from postern.triggers.pipeline import Start

if TYPE_CHECKING:
    from postern.api.approval_actions import Seal, Unseal
    from postern.api.signal_actions import SendSignal


@dataclass(frozen=True, slots=True, kw_only=True)
class DurablePart(Part):
    """`start` starts runs by the engine that each needs, `of_request` those of requests to triggers. `send_signal` is
    None without the extra. `come` is called with the id of a run for which something has come. `unseal` opens what is
    kept of runs (run, column, kept text, key version), and `seal_decision` seals a decision. `cancel` cancels a run
    that is here, `whole` returns the whole reply of one that has ended, and `ready` looks for runs to claim. `ended` is
    called with the id of each run whose end is recorded. `drain` is called when the server process begins to stop."""

    start: Callable[..., Coroutine[Any, Any, Run]]
    of_request: Start
    send_signal: "SendSignal | None" = None
    come: Callable[[str], None] = lambda _: None
    unseal: "Unseal" = as_it_is
    seal_decision: "Seal" = unsealed
    cancel: Callable[..., Awaitable[None]] = nothing_here
    whole: Callable[[str], Awaitable[Outcome | None]] = no_reply
    ready: Callable[[], object] = lambda: None
    ended: EndedRuns = field(default_factory=EndedRuns)
    drain: Callable[[], object] = lambda: None
