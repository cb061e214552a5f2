"""The runs that were resubmitted from a run, and those that a run comes from; what says whether runs can be resubmitted
or resumed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlalchemy import ColumnElement, Connection, select

from postern.journal.body_form import Form
from postern.journal.durable_tables import durable_runs
from postern.journal.reading.queries import LISTED, find_run_alone
from postern.journal.reading.records import RunRecord, run_record
from postern.journal.resumable import NotResumed, why_not_resumed
from postern.journal.schema import runs

MOST_FOUND = 10
MOST_RESUBMITS = 16
"""How far the runs that a run comes from are followed."""


def resubmits_of(connection: Connection, record: RunRecord) -> list[RunRecord]:
    """Runs that were resubmitted from this one, oldest first."""
    rows = connection.execute(select(*LISTED).where(_from([record.id])).order_by(runs.c.id).limit(MOST_FOUND))
    return [run_record(row) for row in rows]


def resubmitted_as(connection: Connection, run_ids: Sequence[str]) -> dict[str, list[str]]:
    """The ids of the runs that were resubmitted from these, oldest first."""
    found: dict[str, list[str]] = {}
    rows = connection.execute(select(runs.c.resubmitted_from, runs.c.id).where(_from(run_ids)).order_by(runs.c.id))
    for earlier, run_id in rows:
        if len(ids := found.setdefault(earlier, [])) < MOST_FOUND:
            ids.append(run_id)
    return found


def with_requests(connection: Connection, records: Sequence[RunRecord]) -> list[RunRecord]:
    """The same records of a list, with their requests and the forms of their inputs."""
    columns = (runs.c.id, runs.c.request, runs.c.request_headers, runs.c.inputs_form)
    rows = connection.execute(select(*columns).where(runs.c.id.in_([record.id for record in records])))
    found = {row.id: row for row in rows}
    return [
        replace(
            record,
            request=row.request,
            request_headers=row.request_headers,
            inputs_form=None if row.inputs_form is None else Form(row.inputs_form),
        )
        for record in records
        if (row := found.get(record.id)) is not None
    ]


def not_resumable(connection: Connection, records: Sequence[RunRecord]) -> Mapping[str, NotResumed]:
    """Those of these runs that cannot be resumed, by their ids, and why."""
    table = durable_runs.c
    kept = select(table.run_id, table.request.is_not(None)).where(table.run_id.in_([each.id for each in records]))
    has_request = {row[0]: bool(row[1]) for row in connection.execute(kept)}
    why = {
        each.id: NotResumed.INLINE
        if each.durable is None
        else why_not_resumed(each.durable.phase, each.state, has_request=has_request.get(each.id, False))
        for each in records
    }
    return {run_id: reason for run_id, reason in why.items() if reason is not None}


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


def _from(run_ids: Sequence[str]) -> ColumnElement[bool]:
    """The condition of the partial index, which SQLite uses only if the query repeats it."""
    return runs.c.resubmitted_from.is_not(None) & runs.c.resubmitted_from.in_(run_ids)
