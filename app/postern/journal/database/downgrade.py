"""Takes migrations back, for returning to the previous release, and says what is lost."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, column, func, select, table

from postern.errors import DatabaseFault
from postern.journal.database.engine import alembic_config, check_revision, lock_tables, revision_of
from postern.journal.database.revisions import MIGRATIONS
from postern.journal.durable_tables import durable_runs


@dataclass(frozen=True, slots=True)
class Loss:
    """What is deleted with a migration: `what` is a table, or a column as `table.column`; `rows` rows have data in
    it."""

    migration: str
    what: str
    rows: int

    def __str__(self) -> str:
        kind = "column" if "." in self.what else "table"
        rows = "no rows" if self.rows == 0 else f"{self.rows:,} row{'' if self.rows == 1 else 's'}"
        return f"{kind} {self.what} of migration {self.migration}, with {rows}"


def target(found: str, to: str | None) -> str:
    """The migration to go back to: `to`, by its name or number, or the previous one if `to` is None. Raises
    DatabaseFault if it is not earlier than `found`."""
    if found == "":
        raise DatabaseFault("POSTERN_DATABASE_URL names a database without tables: there is nothing to take back")
    check_revision(found)
    if found not in MIGRATIONS:
        raise DatabaseFault(f"migration {found} is of a newer Postern: run that version's `postern database downgrade`")
    before = MIGRATIONS[: MIGRATIONS.index(found)]
    if to is None and before:
        return before[-1]
    meant = [name for name in before if to is not None and to in (name, name[:4])]
    if not meant:
        choice = f"write --to {' or '.join(before)}" if before else "it has the first migration, so nothing can"
        raise DatabaseFault(f"{to or 'the migration before'} is none before this database's {found}: {choice}")
    return meant[0]


def losses(connection: Connection, found: str, to: str) -> list[Loss]:
    """What is lost if the tables go from migration `found` back to migration `to`."""
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(alembic_config())
    gone = MIGRATIONS[MIGRATIONS.index(to) + 1 : MIGRATIONS.index(found) + 1]
    modules = {name: scripts.get_revision(name).module for name in reversed(gone)}
    return [Loss(name, what, _rows(connection, what)) for name, module in modules.items() for what in module.adds]


def unended_runs(connection: Connection, losses: list[Loss]) -> int:
    """How many durable runs that have not ended are among what is lost: they are never completed."""
    if durable_runs.name not in {loss.what for loss in losses}:
        return 0
    return connection.execute(select(func.count()).where(durable_runs.c.phase != "ended")).scalar_one()


def downgrade(engine: Engine, to: str, applied: Callable[[str], object] = lambda _: None) -> None:
    """Take migrations back until the database has `to`. All of it happens, or nothing if it is interrupted."""
    from alembic import command

    with engine.begin() as connection:
        lock_tables(connection)
        target(revision_of(connection), to)
        command.downgrade(alembic_config(connection, applied), to)


def _rows(connection: Connection, what: str) -> int:
    name, _, part = what.partition(".")
    counted = func.count(column(part)) if part else func.count()
    found: int = connection.execute(select(counted).select_from(table(name))).scalar_one()
    return found
