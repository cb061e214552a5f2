"""The runs that were resubmitted from a run, and those that a run comes from."""

from sqlalchemy import Connection, select

from postern.journal.reading.queries import LISTED, find_run_alone
from postern.journal.reading.records import RunRecord, run_record
from postern.journal.schema import runs

MOST_EXAMINED = 1000
"""Later runs of the workflow that are examined: the first ones after the run, and as many of the newest."""
MOST_FOUND = 10
MOST_RESUBMITS = 16
"""How far the runs that a run comes from are followed."""


def resubmits_of(connection: Connection, record: RunRecord) -> list[RunRecord]:
    """Runs that were resubmitted from this one, oldest first. No index leads to them: a run of a busy workflow that was
    resubmitted long after is found only while it is new."""
    later = (runs.c.workflow == record.workflow, runs.c.id > record.id)
    ids: set[str] = set()
    for order in ((runs.c.workflow, runs.c.id), (runs.c.workflow.desc(), runs.c.id.desc())):
        near = select(runs.c.id, runs.c.resubmitted_from).where(*later).order_by(*order).limit(MOST_EXAMINED)
        some = near.subquery()
        found = select(some.c.id).where(some.c.resubmitted_from == record.id).limit(MOST_FOUND)
        ids.update(run_id for (run_id,) in connection.execute(found))
    rows = connection.execute(select(*LISTED).where(runs.c.id.in_(ids)).order_by(runs.c.id).limit(MOST_FOUND))
    return [run_record(row) for row in rows] if ids else []


def lineage_of(connection: Connection, record: RunRecord) -> list[RunRecord]:
    """The run, the one that it was resubmitted from, and so on, up to the first one, the last that is still recorded,
    or MOST_RESUBMITS."""
    found = [record]
    while found[-1].resubmitted_from and len(found) < MOST_RESUBMITS:
        earlier = find_run_alone(connection, found[-1].resubmitted_from)
        if earlier is None:
            break
        found.append(earlier)
    return found
