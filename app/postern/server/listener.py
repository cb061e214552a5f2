"""How a listening socket is closed so that no connection is reset.

The kernel completes connections before the program accepts them, and closing the socket resets those that wait. So new
ones are kept out first: their first packets are dropped, which clients send again after a second, and by then the port
is closed and they are refused. A proxy that is refused has sent nothing yet, and goes to another node.
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
"""Seconds in which connections that have begun to open are open: more than a round trip to a proxy nearby."""
LONGEST = 2.0
"""Seconds after which the socket is closed, whatever waits there."""

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


def keep_out(listener: socket.socket) -> bool:
    """Let no further connection begin, in no process that shares this socket. Where the system cannot do that or does
    not allow it, the answer is False, and connections that begin until the socket is closed may be reset."""
    if sys.platform != "linux":
        return False
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _DROP_NEW))
    program = struct.pack("HP", len(_DROP_NEW), ctypes.addressof(code))
    with suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        return True
    return False


async def accepted(listener: socket.socket) -> None:
    """Wait until what has begun to open is open, and accepted by the event loop."""
    deadline = time.monotonic() + LONGEST
    await asyncio.sleep(HANDSHAKE)
    while _waiting(listener) and time.monotonic() < deadline:  # noqa: ASYNC110 - one is accepted in each turn
        await asyncio.sleep(0)
    await asyncio.sleep(0)  # a connection is made known a turn after it was accepted


def _waiting(listener: socket.socket) -> bool:
    if listener.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))
