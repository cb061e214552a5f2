"""Closes a listening socket so that no connection is reset.

The kernel completes connections before the program accepts them, and closing the socket resets those that wait. So new
connections are blocked first by dropping their first packets. Clients send those again after a second. By then the port
is closed and the connection is refused. A proxy has sent nothing yet at that point, and uses another server process.
"""

import asyncio
import ctypes
import select
import socket
import struct
import sys
import time
from contextlib import suppress

HANDSHAKE = 0.05
"""Seconds until connections that are being opened are open: more than a round trip to a nearby proxy."""
LONGEST = 2.0
"""Seconds after which the socket is closed even if connections wait."""

_SO_ATTACH_FILTER = 26
"""Linux, include/uapi/asm-generic/socket.h."""

_DROP_NEW = (
    (0x30, 0, 0, 13),  # the byte of the TCP header that has the flags (RFC 9293, section 3.1)
    (0x54, 0, 0, 0x12),  # of these SYN and ACK
    (0x15, 0, 1, 0x02),  # SYN alone begins a connection:
    (0x06, 0, 0, 0),  # drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # anything else passes
)
"""A filter of packets (Linux, Documentation/networking/filter.rst): code, jump if true, jump if false, operand."""


def block_new(listener: socket.socket) -> bool:
    """Block new connections in every process that shares this socket. Returns False if the system cannot do that or
    does not allow it: then connections that begin before the socket is closed may be reset."""
    if sys.platform != "linux":
        return False
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _DROP_NEW))
    program = struct.pack("HP", len(_DROP_NEW), ctypes.addressof(code))
    with suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        return True
    return False


async def accepted(listener: socket.socket) -> None:
    """Wait until the connections that are being opened are open and accepted by the event loop."""
    deadline = time.monotonic() + LONGEST
    await asyncio.sleep(HANDSHAKE)
    while _waiting(listener) and time.monotonic() < deadline:  # noqa: ASYNC110 - one is accepted in each turn
        await asyncio.sleep(0)
    await asyncio.sleep(0)  # a connection is reported one turn after it was accepted


def _waiting(listener: socket.socket) -> bool:
    if listener.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))
