"""Runs that a failure or a finding started, and runs that they called: none of them leads to another such run."""

from collections.abc import Iterable

from sqlalchemy import Connection, select

from postern.journal.schema import runs

KINDS = frozenset({"failure", "finding"})
"""The kinds of the callers of such runs."""

MOST_ANCESTORS = 32


def is_consequence(connection: Connection, run_ids: Iterable[str]) -> bool:
    """Whether one of these runs was started by a failure or a finding, or was called by such a run, directly or
    not."""
    waiting, depth = set(run_ids), 0
    while waiting and depth < MOST_ANCESTORS:
        rows = connection.execute(select(runs.c.caller_kind, runs.c.parent_run_id).where(runs.c.id.in_(waiting))).all()
        if any(row.caller_kind in KINDS for row in rows):
            return True
        waiting, depth = {row.parent_run_id for row in rows if row.parent_run_id}, depth + 1
    return False
