"""Who is behind a run: its caller, the callers of the runs that called it, and those who started any of them again."""

import json
from typing import NamedTuple

from sqlalchemy import Connection, select

from postern.journal.approvals import people_of
from postern.journal.durable_tables import durable_runs
from postern.journal.schema import runs

MOST_RUNS = 100
"""Runs that are followed: a chain of calls has at most 16, and each may have been resubmitted."""


class Behind(NamedTuple):
    """The object ids of the callers behind a run. `known` says that a person is known for each of its beginnings."""

    object_ids: frozenset[str]
    known: bool


def behind(connection: Connection, run_id: str) -> Behind:
    """Who is behind a run. A run that is not recorded here, or not any more, leaves it unknown who began it. So does a
    beginning by a caller who is no person."""
    found: set[str] = set()
    known, person, seen, next_ones = True, False, {run_id}, [run_id]
    while next_ones and len(seen) <= MOST_RUNS:
        rows = connection.execute(
            select(
                *(runs.c.caller_kind, runs.c.object_id, runs.c.parent_run_id, runs.c.resubmitted_from),
                *(runs.c.resubmitted_by, durable_runs.c.resumed_by),
            )
            .outerjoin(durable_runs, durable_runs.c.run_id == runs.c.id)
            .where(runs.c.id.in_(next_ones))
        ).all()
        known = known and len(rows) == len(next_ones)
        next_ones = []
        for row in rows:
            found |= {row.object_id or "", _object_id(row.resubmitted_by), *people_of(row.resumed_by)}
            above = [each for each in (row.parent_run_id, row.resubmitted_from) if each]
            called = row.caller_kind == "application" and above  # an anonymous caller only claims who called it
            person = person or row.caller_kind == "user"
            known = known and bool(called or row.caller_kind == "user")
            next_ones += [each for each in dict.fromkeys(above) if each not in seen]
            seen.update(above)
    return Behind(frozenset(found - {""}), known and person and not next_ones)


def _object_id(actor: str | None) -> str:
    return (json.loads(actor).get("object_id") or "") if actor else ""
