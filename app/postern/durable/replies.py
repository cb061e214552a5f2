"""The whole reply of a durable run: a record has only the beginning of it, without secrets, and nothing of a secured
one. It is sealed if there is a key. Without one it is kept as it is, as its request was, if the record has not all of
it: a caller with a 202 can fetch the result."""

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from sqlalchemy import Connection, select

from postern.connections.faults import ConnectionFault
from postern.durable.execution import Execution
from postern.durable.seals import Seals
from postern.journal.durable_runs import Reason
from postern.journal.durable_tables import durable_runs
from postern.journal.run import Outcome, Run, State
from postern.journal.writing.rows import MAX_KEPT_BYTES
from postern.redaction import may_tell

COLUMN = "reply"
AGAIN = 1.0
"""Seconds until a reply that could not be sealed is sealed again."""
MOST_TRIES = 60
"""So often that is tried. An outage of the vault that takes longer parks the run, which has no place in memory then."""

log = structlog.get_logger("postern.durable")

Read = Callable[[Callable[[Connection], Any]], Awaitable[Any]]


async def reply_of(
    execution: Execution,
    seals: Seals,
    most: int,
    gives_up: Callable[[], bool],
    sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
) -> tuple[str, str | None] | None:
    """The reply of a run that is about to end, as it is kept, and the version of the key. While the key cannot be read
    it is tried again, unless the execution `gives_up`. After MOST_TRIES the run is parked, and ends later. Raises Left
    then."""
    for tried in range(MOST_TRIES):
        try:
            return await reply_to_keep(seals, execution.run, most)
        except ConnectionFault as error:
            if not tried:
                log.warning("outcome-not-sealed", run_id=execution.run_id, cause=type(error).__name__, again=True)
        if gives_up():
            raise execution.gone()
        await sleep(AGAIN)
    execution.park = Reason.KEY
    raise execution.gone()


async def reply_to_keep(seals: Seals, run: Run, most: int) -> tuple[str, str | None] | None:
    """The same. None without a key if the record has all of it, the run is secured, or it has more than `most` bytes.
    Raises ConnectionFault if the key cannot be read."""
    outcome = run.outcome
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in outcome.headers]
    text = json.dumps([outcome.state.value, outcome.status, headers, b64encode(outcome.content).decode()])
    kept, version = await seals.seal(run.id, COLUMN, text)
    return (kept, version) if version is not None or _is_kept_unsealed(run, most) else None


def _is_kept_unsealed(run: Run, most: int) -> bool:
    content = run.outcome.content
    recorded = len(content) <= MAX_KEPT_BYTES and not may_tell(content)
    return not recorded and len(content) <= most and not run.workflow.secures


async def kept_reply(read: Read, seals: Seals, run_id: str) -> Outcome | None:
    """The whole reply of a run that has ended. None if none is kept: then the record has what there is. Raises
    CannotOpen, and ConnectionFault if the vault is unavailable."""
    query = select(durable_runs.c.reply, durable_runs.c.reply_key_version).where(durable_runs.c.run_id == run_id)
    row = await read(lambda connection: connection.execute(query).one_or_none())
    if row is None or row.reply is None:
        return None
    text = await seals.open(run_id, COLUMN, row.reply, row.reply_key_version)
    state, status, headers, content = json.loads(text)
    fields = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers)
    return Outcome(State(state), status, b64decode(content), fields)
