"""Ports for servers that cannot say which one they took."""

import os
import random
import socket
from pathlib import Path

FIRST = 10_000
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_CHANCE = random.Random(os.urandom(8))  # a seed of the tests would give all workers the same ports


def free_port() -> int:
    """A port without a listener, that the kernel gives to no connection and to no other server: one that it had chosen
    may be taken again before its server starts."""
    first_of_kernel = int(_RANGE.read_text("ascii").split()[0]) if _RANGE.exists() else 32_768
    while True:
        port = _CHANCE.randrange(FIRST, max(first_of_kernel, FIRST + 1))
        try:
            with socket.create_server(("", port)):
                return port
        except OSError:
            continue
