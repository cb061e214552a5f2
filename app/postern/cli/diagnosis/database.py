"""Checks of the database: it can be used, its tables fit, its files are this user's alone, and its disk has room."""

import shutil
from pathlib import Path

import anyio.to_thread
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from postern.cli.diagnosis.finding import Finding, failed, ok, warning
from postern.cli.open_database import opened
from postern.errors import DatabaseFault
from postern.journal.database.contents import database_size, shown, sqlite_path
from postern.journal.database.engine import revision_of
from postern.journal.database.revisions import HEAD, MIGRATIONS, is_newer
from postern.journal.database.sqlite_file import check_file, exposures
from postern.settings import Settings

LEAST_FREE = 100 * 1024 * 1024
"""Bytes on the disk below which recording runs will soon fail."""


async def check_database(settings: Settings) -> list[Finding]:
    """Look at the database in a thread: its driver waits."""
    return await anyio.to_thread.run_sync(_look, settings, abandon_on_cancel=True)


def _look(settings: Settings) -> list[Finding]:
    url = settings.database_url
    path = sqlite_path(url)
    if path is not None and not path.exists():
        return warning(f"{path} does not exist yet", "The first start of a server creates it: see that it may")
    try:
        if path is not None:
            check_file(path)
        with opened(url) as engine, engine.begin() as connection:
            found = revision_finding(revision_of(connection), shown(url))
            size = database_size(connection, url)
            if path is not None:
                mode = str(connection.execute(text("PRAGMA journal_mode")).scalar())
                found += journal_finding(mode)
    except DatabaseFault as fault:
        return failed(str(fault), "Correct POSTERN_DATABASE_URL, or what it names")
    except (DBAPIError, OSError) as error:
        kind = type(error.orig if isinstance(error, DBAPIError) else error).__name__
        return failed(
            f"{shown(url)} cannot be used ({kind})",
            "See host, name and role in POSTERN_DATABASE_URL, and `postern database`, which says more",
        )
    if path is not None:
        found += [
            Finding("warning", f"{place} has mode {mode}: others can read or replace it", command)
            for place, mode, command in exposures(path)
        ]
        found += _room(path, max(settings.database_max_bytes - size, 0))
    return found


def revision_finding(found: str, where: str) -> list[Finding]:
    """What the migration of the tables means. Pure."""
    if found == HEAD:
        return ok(f"{where} has migration {HEAD}")
    if is_newer(found):
        return ok(f"{where} has migration {found} of a newer Postern, which this release can use")
    if not found or found in MIGRATIONS:
        said = f"migration {found}" if found else "no tables"
        return warning(f"{where} has {said}, and this release has {HEAD}", "A server upgrades it when it starts")
    return failed(f"{where} has the unknown migration {found}", "Use the release that wrote it, or restore a backup")


def journal_finding(mode: str) -> list[Finding]:
    """What the journal mode of SQLite means. Pure."""
    if mode == "wal":
        return []
    return warning(f"its journal mode is {mode}, and not WAL", "A server sets it when it starts")


def room_finding(free: int, may_grow: int) -> list[Finding]:
    """What the free bytes of the disk mean, if the records may grow by so many bytes. Pure."""
    said = f"its disk has {free / 2**30:.1f} GiB free"
    if free < LEAST_FREE:
        return failed(f"{said}: recording runs will fail soon", "Free space on its disk")
    if free < may_grow:
        wanted = f"and records may grow by {may_grow / 2**30:.1f} GiB"
        return warning(f"{said}, {wanted}", "Free space on its disk, or lower POSTERN_DATABASE_MAX_BYTES")
    return ok(said)


def _room(path: Path, may_grow: int) -> list[Finding]:
    return room_finding(shutil.disk_usage(path.parent).free, may_grow)
