"""Chains of calls: how deep a request is in its chain, which run sent it, and which call of a run it is. Pure.

A run that calls a trigger sends the depth of the new run in its chain of calls. To triggers of its own server it also
sends its own run id. The limit on the depth ends workflows that call each other in a circle.
"""

import re
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import blake2b
from secrets import token_bytes
from typing import NamedTuple

from postern.access import Caller
from postern.errors import problem
from postern.ids import is_id

DEPTH = "Postern-Depth"
PARENT = "Postern-Parent-Run"
"""Headers of a call."""

DEPTH_FIELD = DEPTH.lower().encode()
PARENT_FIELD = PARENT.lower().encode()
"""The same, as ASGI writes them."""

MOST_DEPTH = 16
"""The deepest chain of calls. A request with a greater depth is rejected."""


_OF_THIS_PROCESS = token_bytes(32)

_NUMBER = re.compile(rb"[0-9]{1,9}")


class Chain(NamedTuple):
    """The place of a request in a chain of calls: its depth, and the run that sent it ("" if that is not known)."""

    depth: int
    parent_run_id: str = ""


def chain_of(headers: Iterable[tuple[bytes, bytes]], caller: Caller, own_client: str | None) -> Chain:
    """The chain that these raw headers name. Raises Problem 508 if it is too long, and 400 if its depth cannot be read.

    The calling run's id is trusted only from Postern's own application (`own_client` is its client id). On anonymous
    triggers any caller can send it, so it does not prove which run called."""
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
    """A part of a run whose calls are counted: the run itself, or one attempt of a step. `step` is the step's number in
    the record, None outside of steps. `path` identifies the part: it is the same in each attempt, also in nested
    steps."""

    run_id: str
    step: int | None = None
    path: tuple[int, ...] = ()
    calls: int = 0
    steps: int = 0


PART: ContextVar[Part | None] = ContextVar("part", default=None)
"""The current attempt of a step. None outside of steps."""


def part_of(run_id: str, outside: Part) -> Part:
    """The current part of this run; `outside` if the current code is not in a step."""
    part = PART.get()
    return part if part is not None and part.run_id == run_id else outside


def key_of_call(part: Part, trigger: str, secret: bytes = _OF_THIS_PROCESS) -> str:
    """The Idempotency-Key of the last call that was counted in the part, in hexadecimal. It is a digest under a key of
    this process, in which an inline run begins and ends, or under a `secret` of the run: the ids of runs are on record,
    and what is stored under a key must not be guessed from them."""
    named = f"{part.run_id}/{'.'.join(map(str, part.path))}/{part.calls}/{trigger}"
    return blake2b(named.encode("utf-8", "surrogatepass"), key=secret, digest_size=32).hexdigest()
