"""The database of the settings, for commands that work on it themselves, with a server or without."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from postern.cli.terminal import err, plain, program, stop
from postern.errors import DatabaseFault
from postern.journal.database.contents import shown, sqlite_path
from postern.journal.database.engine import open_engine
from postern.journal.live_processes import WATCHED, live_processes, newcomers, registered
from postern.journal.server_processes import ServerProcess
from postern.settings import load_settings


def database_url() -> str:
    """The URL of the settings. Raises SettingsFault."""
    return load_settings().database_url


@contextmanager
def told(url: str) -> Iterator[None]:
    """Say what goes wrong with the database in the block, and end the command: with exit code 2 where the setting or
    what was typed has to change, 1 where the database cannot be had."""
    try:
        yield
    except DatabaseFault as fault:
        stop(str(fault), 2)
    except DBAPIError as error:
        stop(f"POSTERN_DATABASE_URL, {shown(url)}: {_reason(error.orig, url)}. {_advice(url, error.orig)}")
    except sqlite3.Error as error:
        stop(f"POSTERN_DATABASE_URL, {shown(url)}: {error}. {_advice(url, error)}")
    except OSError as error:
        stop(f"{error.filename or shown(url)}: {error.strerror or type(error).__name__}.")


@contextmanager
def opened(url: str, *, writing: bool = False) -> Iterator[Engine]:
    """The database, while the block runs. A file of SQLite's that is not there is not made."""
    path = sqlite_path(url)
    if path is not None and not path.exists():
        raise DatabaseFault(
            f"POSTERN_DATABASE_URL, {shown(url)}: there is no such file. A server makes it when it starts, "
            f"`{program()} database upgrade` does without one"
        )
    engine = open_engine(url, writing=writing)
    try:
        yield engine
    finally:
        engine.dispose()


def living_on(engine: Engine) -> list[ServerProcess]:
    """The nodes that live, with a word about what is waited for."""
    with err.status("Looking for servers …") as status:

        def watching(count: int) -> None:
            status.update(f"Looking for a sign of life of {count} on other machines, up to {WATCHED:.0f} s …")

        return live_processes(engine, watching)


def on_record(engine: Engine) -> list[ServerProcess]:
    """The nodes that have a row, dead or alive."""
    with engine.begin() as connection:
        return registered(connection)


def refuse_newcomers(before: list[ServerProcess], now: list[ServerProcess]) -> None:
    """End the command where a server has started since the first look, or shows only now that it lives."""
    if nodes := newcomers(before, now):
        stop(f"servers have started on this database meanwhile: {named(nodes)}. Stop them first.")


def named(nodes: list[ServerProcess]) -> str:
    """Nodes by machine and process, for a sentence."""
    return ", ".join(f"{plain(node.machine.partition(' ')[0])} (process {plain(node.process)})" for node in nodes)


def _reason(error: object, url: str) -> str:
    text = plain(str(error).strip().partition("\n")[0]) or type(error).__name__
    password = make_url(url).password
    return text.replace(password, "…") if password else text


def _advice(url: str, error: object) -> str:
    text = str(error)
    if "locked" in text or "busy" in text:
        return "Another process holds it: try again, or stop the servers."
    if "full" in text:
        return "Make room on its disk."
    if sqlite_path(url) is not None:
        if "malformed" in text or "not a database" in text:
            return f"Put a backup in its place: `{program()} database restore FILE --force`."
        return "Check the file, its folder, and whether this user may read and write both."
    if "does not exist" in text and "database" in text:
        return "Make the database first (createdb), or correct the name in POSTERN_DATABASE_URL."
    return "Check host, name and role in POSTERN_DATABASE_URL, and whether this machine may go there."
