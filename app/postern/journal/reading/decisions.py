"""Approvals that people have decided, for pages."""

from sqlalchemy import Connection, select

from postern.journal.approvals import Approval, approval_of
from postern.journal.durable_tables import approvals

MOST_READ = 500
"""Decisions that are read for a page, the newest ones."""

_SHOWN = tuple(column for column in approvals.c if column.name != "data")


def decided(connection: Connection, most: int = MOST_READ) -> list[Approval]:
    """The newest decisions of people, without what they saw."""
    query = select(*_SHOWN).where(approvals.c.decided_at.is_not(None)).order_by(approvals.c.decided_at.desc())
    return [approval_of(row) for row in connection.execute(query.limit(most))]


def numbered(connection: Connection, run_id: str, number: int) -> Approval | None:
    """The approval that this checkpoint of a run asked for."""
    mine = approvals.c.run_id == run_id, approvals.c.number == number
    found = connection.execute(select(approvals).where(*mine)).one_or_none()
    return approval_of(found) if found is not None else None
