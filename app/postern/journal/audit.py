"""The tables of the audit log. The operations run in the writer's process, which also makes the hashes.

A server process knows the head of its own chain and hands it over with the next events. So an operation can run twice
with the same result, and a change to the end of the chain is not continued: the chain no longer fits together there.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from postern.journal.audit_chain import Head, Packed, bodies, canonical, hash_after
from postern.journal.inserts import insert_into
from postern.journal.security_tables import audit_chains, audit_checkpoints, audit_events
from postern.journal.writing.statements import Row, insert_rows

EVENT_COLUMNS = tuple(column.name for column in audit_events.columns)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A statement of where all chains end, as it is stored. `body` is canonical JSON. `signature` is Ed25519 over it,
    in base64url, and `key_id` finds the public key: both are "" without a key."""

    id: str
    node: str
    number: int
    at: float
    body: str
    signature: str = ""
    key_id: str = ""


def append(connection: Connection, node: str, after: Head, events: Packed) -> Head:
    """Append events to the chain of this server process, and return its new head. It may be repeated."""
    rows: list[Row] = []
    head, at = after, 0.0
    for body in bodies(node, after, events):
        text = canonical(body)
        head, at = Head(body["number"], hash_after(head.hash, text)), body["at"]
        names = (node, body["number"], at, body["kind"], body["subject"] or None, body["workflow"] or None)
        rows.append((*names, text, head.hash))
    if rows:
        insert_rows(connection, audit_events, EVENT_COLUMNS, "ON CONFLICT (node, number) DO NOTHING", rows)
        _note_head(connection, node, after, head, at)
    return head


def _note_head(connection: Connection, node: str, after: Head, head: Head, at: float) -> None:
    table = audit_chains
    new = insert_into(connection.dialect.name, table).values(
        node=node,
        first=after.number + 1,
        before=after.hash,
        last=head.number,
        head=head.hash,
        last_at=at,
        checkpoints=0,
    )
    later = new.excluded
    connection.execute(
        new.on_conflict_do_update(
            index_elements=[table.c.node],
            set_={"last": later.last, "head": later.head, "last_at": later.last_at},
            where=table.c.last < later.last,
        )
    )


def record_checkpoint(connection: Connection, checkpoint: Checkpoint) -> None:
    """Store a checkpoint. It may be repeated."""
    row = {column.name: getattr(checkpoint, column.name) or None for column in audit_checkpoints.columns}
    insert = insert_into(connection.dialect.name, audit_checkpoints).values(row)
    connection.execute(insert.on_conflict_do_nothing(index_elements=[audit_checkpoints.c.id]))
    chain = audit_chains.update().where(
        audit_chains.c.node == checkpoint.node, audit_chains.c.checkpoints < checkpoint.number
    )
    connection.execute(chain.values(checkpoints=checkpoint.number))


def heads(connection: Connection) -> dict[str, Head]:
    """The head of each chain, by the id of its server process."""
    table = audit_chains.c
    return {
        node: Head(last, head) for node, last, head in connection.execute(select(table.node, table.last, table.head))
    }
