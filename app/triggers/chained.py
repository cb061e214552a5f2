"""What a request says of the chain of calls that it stands in. Pure."""

import re
from collections.abc import Iterable

from app import chain
from app.access import Caller
from app.chain import MOST_DEPTH, Chain
from app.errors import problem
from app.ids import is_id

DEPTH = chain.DEPTH.lower().encode()
PARENT = chain.PARENT.lower().encode()

_NUMBER = re.compile(rb"[0-9]{1,9}")


def chain_of(headers: Iterable[tuple[bytes, bytes]], caller: Caller, own_client: str | None) -> Chain:
    """The chain that these raw headers name. Raises Problem 508 where it is too long, and 400 where its depth cannot be
    read.

    The run that calls is believed to Postern's own application only (`own_client` is its client id); and, where a
    trigger is open to anyone, to whoever knows its id, which is why it says nothing of who called."""
    depths, parents = [], []
    for name, value in headers:
        if name == DEPTH:
            depths.append(value)
        elif name == PARENT:
            parents.append(value)
    if len(depths) != 1 or not _NUMBER.fullmatch(depths[0]):
        raise problem("bad-header", reason=chain.DEPTH)
    depth = int(depths[0])
    if depth > MOST_DEPTH:
        raise problem("loop-detected", reason=f"{depth} calls deep")
    ours = caller.kind == "anonymous" or (
        caller.kind == "application" and bool(own_client) and caller.client_id == own_client
    )
    parent = parents[0].decode("latin-1") if ours and len(parents) == 1 else ""
    return Chain(depth, parent if is_id(parent) else "")
