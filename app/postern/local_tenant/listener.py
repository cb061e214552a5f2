"""A socket on loopback, and on nothing else: there is no way to say another address."""

import socket

from postern.local_tenant.state import HOST


def listen(port: int) -> socket.socket:
    """A socket that listens on this port of loopback, or on any free one where that is taken (0: any)."""
    try:
        return _bound(port)
    except OSError:
        return _bound(0)


def _bound(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # So that a restart gets its port back. Two sockets may be bound to it like this as long as neither listens:
        # hence listen() here, which is what finds out that the port is taken.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(128)
    except BaseException:
        listener.close()
        raise
    return listener
