"""Whether a durable run is a server process's until the end of a transaction."""

from sqlalchemy import Connection, select

from postern.journal.durable_runs import Hold, Phase
from postern.journal.durable_tables import durable_runs


def holds(connection: Connection, hold: Hold) -> bool:
    """Whether the run is this process's, in this attempt, and stays so until the transaction ends: who wants to take it
    over waits. So a process that stood still before changes nothing of a run that goes on elsewhere."""
    table = durable_runs.c
    mine = (table.run_id == hold.run_id, table.owner == hold.node, table.attempt == hold.attempt)
    held = select(table.run_id).where(*mine, table.phase != Phase.ENDED.value).with_for_update()
    return connection.execute(held).first() is not None
