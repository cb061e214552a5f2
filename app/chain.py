"""Chains of calls: how deep a request stands in one, which run sent it, and which call of a run is meant. Pure.

A run that calls a trigger says how many calls deep the new run stands, and to triggers of its own server which run
calls. The depth ends what would go in a circle for ever.
"""

from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

DEPTH = "Postern-Depth"
PARENT = "Postern-Parent-Run"
"""Headers of a call."""

MOST_DEPTH = 16
"""Calls deep; a request that says more is refused."""


class Chain(NamedTuple):
    """What a request said of the call that it is: calls deep, and the run that made it ("" where that is not known)."""

    depth: int
    parent_run_id: str = ""


@dataclass(slots=True, eq=False)
class Part:
    """A part of a run whose calls are counted: the run itself, or one attempt of a step. `step` is the step's number on
    record, None outside of steps. `path` names the part, the same in each attempt, also where steps are nested."""

    run_id: str
    step: int | None = None
    path: tuple[int, ...] = ()
    calls: int = 0
    steps: int = 0


PART: ContextVar[Part | None] = ContextVar("part", default=None)
"""The attempt that the code at hand belongs to. None outside of steps."""


def part_of(run_id: str, outside: Part) -> Part:
    """The part of this run that the code at hand belongs to; `outside` where that is no step."""
    part = PART.get()
    return part if part is not None and part.run_id == run_id else outside


def key_of_call(part: Part, trigger: str) -> str:
    """The Idempotency-Key of the last call that was counted there, in hexadecimal. A digest, because the id of an
    anonymous caller's run opens its record."""
    named = f"{part.run_id}/{'.'.join(map(str, part.path))}/{part.calls}/{trigger}"
    return sha256(named.encode("utf-8", "surrogatepass")).hexdigest()
