"""Reads findings: a page of them, newest first. There are few thousand at most, so every page is read at once."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from postern.journal.finding import Finding, FindingKind, FindingState
from postern.journal.findings import finding_of
from postern.journal.reading.cursor import opened, sealed
from postern.journal.reading.queries import Page
from postern.journal.schema import findings


@dataclass(frozen=True, slots=True)
class FindingFilter:
    """The filters for findings. `caller` is an object id or a client id. `since` and `until` match a finding if it was
    seen between them, in Unix seconds."""

    kind: FindingKind | None = None
    state: FindingState | None = None
    caller: str | None = None
    since: float | None = None
    until: float | None = None


def list_findings(
    connection: Connection, filters: FindingFilter, cursor: str | None = None, limit: int = 50
) -> Page[Finding]:
    """A page of findings. Raises Problem `bad-filter` if the cursor is of another list."""
    table, query = findings.c, select(findings)
    if filters.kind is not None:
        query = query.where(table.kind == filters.kind.value)
    if filters.state is not None:
        query = query.where(table.state == filters.state.value)
    if filters.caller is not None:
        query = query.where((table.object_id == filters.caller) | (table.client_id == filters.caller))
    if filters.since is not None:
        query = query.where(table.last_at >= filters.since)
    if filters.until is not None:
        query = query.where(table.first_at <= filters.until)
    if cursor is not None:
        query = query.where(table.id < opened(filters, cursor))
    rows = connection.execute(query.order_by(table.id.desc()).limit(limit + 1)).all()
    items = tuple(finding_of(row) for row in rows[:limit])
    return Page(items, sealed(filters, items[-1].id) if len(rows) > limit else None)
