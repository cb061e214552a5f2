"""How many grants of each entry there are, by what is to be said of them."""

from typing import NamedTuple

from sqlalchemy import Connection, and_, case, func, or_, select

from postern.journal.grants import State
from postern.journal.schema import grants


class Counted(NamedTuple):
    """Grants of one entry: those that work, those of them that end soon, and those that do not work."""

    connected: int = 0
    expiring: int = 0
    broken: int = 0


def count_grants(connection: Connection, now: float, soon: float, without_refresh: str) -> dict[str, Counted]:
    """The grants of all entries, by name, in one query. Those with the reason `without_refresh` end with their access
    token, and all others when their refresh token ends; `soon` is in seconds."""
    table = grants.c
    short = func.coalesce(table.reason, "") == without_refresh
    ends_at = case((short, table.access_expires_at), else_=table.refresh_expires_at)
    is_broken = or_(table.state != State.CONNECTED.value, func.coalesce(ends_at <= now, False))
    is_expiring = and_(ends_at.is_not(None), or_(short, ends_at <= now + soon))
    state = case((is_broken, 2), (is_expiring, 1), else_=0)
    query = select(table.connection, *(func.sum(case((state == each, 1), else_=0)) for each in range(3)))
    return {
        name: Counted(*map(int, numbers)) for name, *numbers in connection.execute(query.group_by(table.connection))
    }
