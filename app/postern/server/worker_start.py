"""How a worker begins. It imports this module before all others of ours, because it unpickles what to do."""

import pickle
import socket

from postern import collector
from postern.structlog_alone import import_structlog


def begin_worker(work: bytes, listener: socket.socket) -> None:
    """Call the pickled `work` with the socket, after what has to come before its modules are imported."""
    collector.begin()
    import_structlog()
    pickle.loads(work)(listener)  # noqa: S301 of this program's other process
