"""SQLite's file: what is at its place, making it, and whether it is still the same one.

SQLite itself would make a missing file readable by all users, follow a link to a file that does not exist, wait for
ever for a pipe, and go on writing to a file that was deleted.
"""

import contextlib
import os
import shlex
import stat
from pathlib import Path

from postern.errors import DatabaseFault
from postern.journal.database.faults import Refused
from postern.own_folder import beside, make_folder, names_of_database

MAGIC = b"SQLite format 3\x00"
"""How a SQLite file begins, unless it is empty. Source: sqlite.org/fileformat.html."""
BESIDE = ("-wal", "-shm", "-journal")
"""The files that SQLite creates beside a database. A log of one database must never lie beside another one."""

Identity = tuple[int, int]
"""The device and the inode of a file."""
Log = tuple[Identity | None, Identity | None]
"""SQLite's log and the index of it."""


def make_file(path: Path) -> None:
    """Create the file and its folder for their owner only, if there is none. The files that SQLite creates beside it
    get the same mode. Raises DatabaseFault if there is something else, or if it cannot be created."""
    if _is_there(path):
        return
    try:
        make_folder(path.parent, names_of_database(path))
        with contextlib.suppress(FileExistsError):  # another process was faster
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except OSError as error:
        raise DatabaseFault(f"POSTERN_DATABASE_URL: {path} cannot be created ({error.strerror})") from None
    _is_there(path)


def check_file(path: Path) -> None:
    """Raise DatabaseFault if this file is no database, or if this user cannot write it."""
    try:
        with path.open("rb") as file:
            start = file.read(len(MAGIC))
    except OSError as error:
        raise DatabaseFault(f"POSTERN_DATABASE_URL: {path} cannot be read ({error.strerror})") from None
    if start not in (b"", MAGIC):
        raise DatabaseFault(
            f"POSTERN_DATABASE_URL: {path} is not a SQLite database: name another file, or restore a backup "
            "(postern database restore FILE --force)"
        )
    for place, rights in ((path, os.R_OK | os.W_OK), (path.parent, os.W_OK | os.X_OK)):
        if not os.access(place, rights):
            raise DatabaseFault(f"POSTERN_DATABASE_URL: this user may not write {place}, which SQLite needs")


def identity_of(path: Path | str) -> Identity | None:
    """Which file this is; None if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - three in each batch, in half the time of Path.stat
    except OSError:
        return None
    return found.st_dev, found.st_ino


def refuse_another(path: Path, opened: Identity | None) -> None:
    """Raise Refused if the file is not the one that was opened: what is written to that one would be gone."""
    found = identity_of(path)
    if found != opened:
        why = "was deleted or moved away" if found is None else "is another file than the one that was opened"
        raise Refused(f"{path} {why}: put the former file back, or restart the server to use what is there then")


def places_of_log(path: Path) -> tuple[str, str]:
    """Where SQLite has the log, in which commits are before they are in the file, and its index. They lie beside the
    file itself, not beside a link to it."""
    found = os.path.realpath(path)
    return f"{found}-wal", f"{found}-shm"


def log_of(places: tuple[str, str]) -> Log:
    """Which files these are."""
    log, index = places
    return identity_of(log), identity_of(index)


def refuse_another_log(places: tuple[str, str], opened: Log) -> None:
    """Raise Refused if the log is not the one of the open connection, which alone could delete it: what is in that log
    would be gone with the last process that has it open."""
    if log_of(places) != opened:
        raise Refused(
            f"{places[0]} or {places[1]} was deleted, moved away or replaced: stop all servers that use this database, "
            "then start them"
        )


def exposures(path: Path) -> list[tuple[Path, str, str]]:
    """What others can do with an existing database: the place, its mode, and the command that ends it."""
    found = []
    names = [f"{each}{end}" for each in (path, beside(path, "durable")) for end in ("", *BESIDE)]
    files = [Path(each) for each in names if Path(each).exists()]
    for places, bits, command in ((files, 0o077, "chmod 600"), ([path.parent], 0o022, "chmod go-w")):
        for place in places:
            mode = stat.S_IMODE(place.stat().st_mode)
            if mode & bits:
                found.append((place, f"{mode:04o}", f"{command} {shlex.quote(str(place))}"))
    return found


def _is_there(path: Path) -> bool:
    """Whether there is a file. Raises DatabaseFault for everything else that has this name."""
    for place in (path, path.parent):
        if place.is_symlink() and not place.exists():
            raise DatabaseFault(
                f"POSTERN_DATABASE_URL: {place} is a link to {place.readlink()}, which does not exist: create that, or "
                "remove the link"
            )
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "its name is not valid"
        raise DatabaseFault(f"POSTERN_DATABASE_URL: {path} cannot be used ({why})") from None
    if stat.S_ISREG(mode):
        return True
    kind = "a folder" if stat.S_ISDIR(mode) else "a pipe" if stat.S_ISFIFO(mode) else "a device or a socket"
    raise DatabaseFault(f"POSTERN_DATABASE_URL: {path} is {kind}: name a file")
