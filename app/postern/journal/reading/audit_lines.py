"""The audit log as lines, each a JSON object, in the order in which it is verified: chains, checkpoints, events."""

import math
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Table, select

from postern.journal.security_tables import audit_chains, audit_checkpoints, audit_events

AT_ONCE = 500
"""Rows that are read at once, so that memory does not grow with the log."""


def audit_lines(connection: Connection, *, columns: bool) -> Iterator[dict[str, Any]]:
    """Every line of the log. With `columns`, an event also has what its row has beside the body, as `row`: only the
    database has that. The connection must not see what is written meanwhile."""
    for row in _rows(connection, audit_chains, "node"):
        yield {"type": "chain", **row}
    for row in _rows(connection, audit_checkpoints, "node", "number", "id"):
        yield {"type": "checkpoint", **row}
    for row in _rows(connection, audit_events, "node", "number"):
        line = {"type": "event", **{name: row[name] for name in ("node", "number", "hash", "body")}}
        if columns:
            line["row"] = {name: row[name] for name in ("at", "kind", "subject", "workflow")}
        yield line


def count(connection: Connection) -> int:
    """About how many lines there are."""
    spans = connection.execute(select(audit_chains.c.first, audit_chains.c.last))
    return sum(last - first + 1 for first, last in spans if isinstance(first, int) and isinstance(last, int))


def _rows(connection: Connection, table: Table, *order: str) -> Iterator[dict[str, Any]]:
    ordered = select(table).order_by(*(table.c[name] for name in order))
    with connection.execution_options(yield_per=AT_ONCE).execute(ordered) as result:
        for row in result.mappings():
            yield {name: _as_json(value) for name, value in row.items()}


def _as_json(value: Any) -> Any:
    """A value as JSON has it. Others were written into the database by hand: they are texts, which do not verify."""
    if isinstance(value, bytes) or (isinstance(value, float) and not math.isfinite(value)):
        return repr(value)
    return value
