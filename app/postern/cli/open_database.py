"""The database of the settings, for commands that use it directly, with or without a running server."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy import Engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from postern.cli.terminal import err, plain, program, stop
from postern.errors import DatabaseFault
from postern.journal.database.contents import shown, sqlite_path
from postern.journal.database.engine import file_of, open_engine
from postern.journal.database.sqlite_file import exposures
from postern.journal.live_processes import WATCHED, live_processes, newcomers, registered
from postern.journal.server_processes import ServerProcess
from postern.settings import load_settings


def database_url() -> str:
    """The URL of the settings. Raises SettingsFault."""
    return load_settings().database_url


@contextmanager
def reported_faults(url: str, unavailable: int = 1) -> Iterator[None]:
    """Report a fault of the database in the block, and end the command: with exit code 2 if the setting or the
    arguments have to change, with `unavailable` if the database is."""
    try:
        yield
    except DatabaseFault as fault:
        stop(str(fault), 2)
    except DBAPIError as error:
        stop(f"POSTERN_DATABASE_URL, {shown(url)}: {_reason(error.orig, url)}. {_advice(url, error.orig)}", unavailable)
    except sqlite3.Error as error:
        stop(f"POSTERN_DATABASE_URL, {shown(url)}: {error}. {_advice(url, error)}", unavailable)
    except OSError as error:
        stop(f"{error.filename or shown(url)}: {error.strerror or type(error).__name__}.", unavailable)


def warn_of_exposed_files(url: str) -> None:
    """Warn if other users of this machine can read SQLite's files, or put others in their place. Postern changes no
    modes that it did not set: an operator may have shared a file on purpose."""
    path = file_of(url)
    for place, mode, command in exposures(path) if path is not None else ():
        structlog.get_logger("postern").warning("database-exposed", path=str(place), mode=mode, fix=command)


@contextmanager
def opened(url: str, *, writing: bool = False) -> Iterator[Engine]:
    """The database, open while the block runs. A missing SQLite file is not created."""
    path = sqlite_path(url)
    if path is not None and not path.exists():
        raise DatabaseFault(
            f"POSTERN_DATABASE_URL, {shown(url)}: there is no such file. A server creates it when it starts. Without a "
            f"server, `{program()} database upgrade` creates it"
        )
    engine = open_engine(url, writing=writing)
    try:
        yield engine
    finally:
        engine.dispose()


def running_servers(engine: Engine) -> list[ServerProcess]:
    """The server processes that run, with a status line while waiting."""
    with err.status("Looking for servers …") as status:

        def watching(count: int) -> None:
            status.update(f"Waiting for a heartbeat of {count} on other machines, up to {WATCHED:.0f} s …")

        return live_processes(engine, watching)


def registered_servers(engine: Engine) -> list[ServerProcess]:
    """The server processes that have a row, running or not."""
    with engine.begin() as connection:
        return registered(connection)


def refuse_new_servers(before: list[ServerProcess], now: list[ServerProcess]) -> None:
    """End the command if a server has started since `before`, or has sent its first heartbeat since."""
    if servers := newcomers(before, now):
        stop(f"servers have started on this database meanwhile: {named(servers)}. Stop them first.")


def named(servers: list[ServerProcess]) -> str:
    """Server processes by machine and process, for a sentence."""
    return ", ".join(f"{plain(each.machine.partition(' ')[0])} (process {plain(each.process)})" for each in servers)


def _reason(error: object, url: str) -> str:
    text = plain(str(error).strip().partition("\n")[0]) or type(error).__name__
    password = make_url(url).password
    return text.replace(password, "…") if password else text


def _advice(url: str, error: object) -> str:
    text = str(error)
    if "locked" in text or "busy" in text:
        return "Another process has locked it: try again, or stop the servers."
    if "full" in text:
        return "Free space on its disk."
    if sqlite_path(url) is not None:
        if "malformed" in text or "not a database" in text:
            return f"Replace it by a backup: `{program()} database restore FILE --force`."
        return "Check the file, its folder, and whether this user may read and write both."
    if "does not exist" in text and "database" in text:
        return "Create the database first (createdb), or correct the name in POSTERN_DATABASE_URL."
    return "Check host, name and role in POSTERN_DATABASE_URL, and whether this machine can connect to the host."
