"""Which errors of Postern's own work pass by themselves. Pure.

All others are mistakes of Postern itself. Work that ends with one would end so again, so its run is parked, and never
tried for ever.
"""

from sqlalchemy.exc import SQLAlchemyError

from postern.connections.faults import ConnectionFault
from postern.errors import Problem

UNAVAILABLE = 503


def passes(error: BaseException) -> bool:
    """Whether the same work may succeed later: a database, the vault, the disk or the network is unavailable."""
    if isinstance(error, Problem):
        return error.status == UNAVAILABLE
    return isinstance(error, ConnectionFault | SQLAlchemyError | OSError)
