"""A socket on loopback. No other address can be configured."""

import socket

from postern.local_tenant.state import HOST


def listen(port: int) -> socket.socket:
    """A socket that listens on this port of loopback, or on any free one if it is in use (0: any)."""
    try:
        return _bound(port)
    except OSError:
        return _bound(0)


def _bound(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # SO_REUSEADDR lets a restart use its port again. It also lets two sockets bind to the port until one listens,
        # so listen() is called here: it fails if the port is in use.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(128)
    except BaseException:
        listener.close()
        raise
    return listener
