"""Opens the journal's database and migrates its tables to what this program expects."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from postern.errors import DatabaseFault
from postern.journal.database.faults import Kind, kind_of, never_works
from postern.journal.database.foreign import distrust, refuse_running
from postern.journal.database.revisions import HEAD, MIGRATIONS, is_newer
from postern.journal.database.sqlite_file import check_file, make_file
from postern.passwordless.database_url import PASSWORDLESS, DatabaseUrl

BUSY_SECONDS = 30.0
"""How long SQLite waits for another process that writes."""
CHECKPOINT_PAGES = 4000
"""Pages of 4 KiB in SQLite's log until they are moved to the database, which holds up one commit."""
CONNECT_SECONDS = 5
IDLE_SECONDS = 3
"""PostgreSQL ends a session of a server that is idle in a transaction for so long: the locks of a machine that stands
still would otherwise keep others from taking its runs over."""
MIGRATION_LOCK = 0x706F7374  # any number, the same for all processes that migrate one database
MAX_PREPARED = 128
"""Statements that a connection to SQLite keeps prepared."""
MINIMAL_SQLITE = (3, 38, 0)  # from here it reads JSON by ->>


def open_engine(url: str | URL, *, writing: bool, make: bool = True, busy_seconds: float = BUSY_SECONDS) -> Engine:
    """An engine on the database. It makes no connection yet, but creates SQLite's file and folder, if `make`. A writing
    engine begins transactions so that they cannot fail because of another writer. SQLite waits for a lock for so many
    `busy_seconds`. A URL with `passwordless=entra` must come from the settings, which know how to sign in. Raises
    DatabaseFault."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise DatabaseFault("POSTERN_DATABASE_URL is not a database URL") from None
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed, writing=writing, make=make, busy_seconds=busy_seconds)
    if PASSWORDLESS in parsed.query:
        return _passwordless(url, parsed)
    return _postgres(parsed, {})


def limit_idle(connection: Connection) -> None:
    """Let PostgreSQL end this session if it stands still in a transaction. What it did not commit is done again."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SET idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'"))
        connection.commit()


def check_database(url: str) -> bool:
    """Whether the database has the tables that this program reads: not if they are still to be migrated, or if it is
    unreachable now. Raises DatabaseFault if a server could never use this database."""
    engine = open_engine(url, writing=False)
    if (path := file_of(url)) is not None:
        check_file(path)
    try:
        with engine.connect() as connection:
            found = revision_of(connection)
        check_revision(found)
        return found == HEAD or is_newer(found)
    except DBAPIError as error:
        if why := never_works(error):
            raise DatabaseFault(f"POSTERN_DATABASE_URL cannot be used: {why}") from None
        return False
    finally:
        engine.dispose()


def file_of(url: str | URL) -> Path | None:
    """The file of a SQLite database, absolute, with links as they are; None for PostgreSQL."""
    parsed = make_url(url)
    return Path(parsed.database or "").absolute() if parsed.get_backend_name() == "sqlite" else None


def migrate(engine: Engine, applied: Callable[[str], object] = lambda _: None) -> str:
    """Migrate the tables to HEAD, unless they are a newer program's and compatible. Returns the migration that they had
    before. Several processes may do it at once. `applied` is called for each migration. Raises DatabaseFault if the
    tables are a newer program's and not compatible."""
    with engine.begin() as connection:
        lock_tables(connection)
        found = revision_of(connection)
        if found != HEAD:
            check_revision(found)
            if not is_newer(found):
                _upgrade(connection, applied)
        return found


def lock_tables(connection: Connection) -> None:
    """Keep other processes from migrating until this transaction has ended. On SQLite it began as a writing one."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})


def revision_of(connection: Connection) -> str:
    """The migration of the database, "" for none."""
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or ""


def check_revision(found: str) -> None:
    """Raise DatabaseFault if this program can neither use tables of that migration nor migrate them."""
    if found not in ("", *MIGRATIONS) and not is_newer(found):
        raise DatabaseFault(
            f"the database was made by a newer Postern (its migration is {found}, this program knows up to {HEAD}): "
            "run that version, or take its migrations back with that version's `postern database downgrade`, "
            "or set POSTERN_DATABASE_URL to another database"
        )


def alembic_config(connection: Connection | None = None, applied: Callable[[str], object] = lambda _: None) -> Any:
    """The configuration for Alembic's commands, with migrations in the transaction of this connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[1] / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["applied"] = lambda step, **_: applied(step.destination_revision_ids[0])
    return config


def _upgrade(connection: Connection, applied: Callable[[str], object]) -> None:
    from alembic import command

    command.upgrade(alembic_config(connection, applied), "head")


def _sqlite(url: URL, *, writing: bool, make: bool, busy_seconds: float) -> Engine:
    import sqlite3

    if sqlite3.sqlite_version_info < MINIMAL_SQLITE:
        raise DatabaseFault(f"SQLite {sqlite3.sqlite_version} is too old: 3.38 or later is needed")
    if not url.database or url.database == ":memory:":
        raise DatabaseFault("POSTERN_DATABASE_URL has no file name: write sqlite:///path/to/file.db")
    path = Path(url.database).absolute()
    if make:
        make_file(path)
    # By a URI, because SQLite would otherwise create a missing file, for all users to read.
    connect = partial(
        sqlite3.connect,
        f"file:{quote(str(path))}?mode=rw",
        uri=True,
        timeout=busy_seconds,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=MAX_PREPARED,
    )
    engine = create_engine(url.set(drivername="sqlite+pysqlite", query={}), creator=connect)

    @event.listens_for(engine, "connect")
    def _settle(connection: Any, _: object) -> None:
        distrust(connection)
        refuse_running(connection)
        cursor = connection.cursor()
        _use_wal(cursor, busy_seconds)
        cursor.execute("PRAGMA synchronous=FULL")  # a commit is on disk when it returns
        cursor.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        cursor.execute("PRAGMA temp_store=MEMORY")
        cursor.execute("PRAGMA cache_size=-16384")
        if not writing:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that begins by reading and then writes fails at once if another has written meanwhile.
        # The driver's own connection, because going through SQLAlchemy costs as much as writing a row.
        connection.connection.driver_connection.execute("BEGIN IMMEDIATE" if writing else "BEGIN")  # type: ignore[union-attr]

    return engine


def _use_wal(cursor: Any, seconds: float) -> None:
    """Set the mode of the log in a new file. Several processes may do it at once: SQLite needs the file for itself for
    that, and does not wait for it as it does for a statement."""
    until = monotonic() + seconds
    while cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except Exception as error:
            if kind_of(error) is not Kind.AWAY or monotonic() > until:
                raise
            sleep(0.01)


def _postgres(url: URL, besides: dict[str, str]) -> Engine:
    try:
        return create_engine(
            url.set(drivername="postgresql+psycopg"),
            connect_args={
                "connect_timeout": CONNECT_SECONDS,
                "application_name": "postern",
                # Without these, a connection to a server that vanished waits for many minutes.
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": 15_000,
                **besides,
            },
            pool_pre_ping=False,  # the callers notice a lost connection and connect again
            pool_size=4,
        )
    except ModuleNotFoundError:
        raise DatabaseFault("PostgreSQL needs the driver psycopg: install postern[postgres]") from None


def _passwordless(url: str | URL, parsed: URL) -> Engine:
    """An engine whose connections sign in with tokens."""
    if not isinstance(url, DatabaseUrl):
        raise DatabaseFault("POSTERN_DATABASE_URL has no password, and no other sign-in is configured")
    try:
        from postern.passwordless.entra_sign_in import settled, sign_in
    except ModuleNotFoundError as error:
        raise DatabaseFault(
            f"POSTERN_DATABASE_URL has passwordless=entra, which needs {error.name}: install postern[postgres]"
        ) from None
    engine = _postgres(
        parsed.difference_update_query([PASSWORDLESS]), settled(parsed.query, url.passwordless.ca_bundle)
    )
    sign_in(engine, url.passwordless)
    return engine
