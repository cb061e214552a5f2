"""Chains of calls: how deep a request stands in one, which run sent it, and which call of a run is meant. Pure.

A run that calls a trigger says how many calls deep the new run stands, and to triggers of its own server which run
calls. The depth ends what would go in a circle for ever.
"""

import re
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from postern.access import Caller
from postern.errors import problem
from postern.ids import is_id

DEPTH = "Postern-Depth"
PARENT = "Postern-Parent-Run"
"""Headers of a call."""

DEPTH_FIELD = DEPTH.lower().encode()
PARENT_FIELD = PARENT.lower().encode()
"""The same as ASGI has them."""

MOST_DEPTH = 16
"""Calls deep; a request that says more is refused."""


_NUMBER = re.compile(rb"[0-9]{1,9}")


class Chain(NamedTuple):
    """What a request said of the call that it is: calls deep, and the run that made it ("" where that is not known)."""

    depth: int
    parent_run_id: str = ""


def chain_of(headers: Iterable[tuple[bytes, bytes]], caller: Caller, own_client: str | None) -> Chain:
    """The chain that these raw headers name. Raises Problem 508 where it is too long, and 400 where its depth cannot be
    read.

    The run that calls is believed to Postern's own application only (`own_client` is its client id); and, where a
    trigger is open to anyone, to whoever knows its id, which is why it says nothing of who called."""
    depths, parents = [], []
    for name, value in headers:
        if name == DEPTH_FIELD:
            depths.append(value)
        elif name == PARENT_FIELD:
            parents.append(value)
    if len(depths) != 1 or not _NUMBER.fullmatch(depths[0]):
        raise problem("bad-header", reason=DEPTH)
    depth = int(depths[0])
    if depth > MOST_DEPTH:
        raise problem("loop-detected", reason=f"{depth} calls deep")
    ours = caller.kind == "anonymous" or (
        caller.kind == "application" and bool(own_client) and caller.client_id == own_client
    )
    parent = parents[0].decode("latin-1") if ours and len(parents) == 1 else ""
    return Chain(depth, parent if is_id(parent) else "")


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
