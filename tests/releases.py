"""Databases of other releases: as an older program made them, and as a newer one may make them."""

import shutil
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from alembic import command
from sqlalchemy import Connection, Engine, inspect, text

from postern.journal.database.engine import alembic_config, open_engine
from postern.journal.database.revisions import HEAD, MIGRATIONS

RUN = "01980d3c-8c5e-7cc3-98c4-dc0c0c07398f"
"""A run that a program of migration 0001 recorded."""

OF_0001: Mapping[str, str] = {
    "a node beats": "INSERT INTO nodes (id, machine, process, started_at, beat) VALUES ('old', 'm', 'p', 1000.0, 1) "
    "ON CONFLICT (id) DO UPDATE SET beat = 7",
    "a run ends": "INSERT INTO runs (id, workflow, state, status, caller_kind, object_id, tenant_id, client_id, "
    "caller_name, client_address, started_at, ended_at, request, inputs_form, outputs_form, reply_headers, error_type, "
    "error_message, error_shown, parent_run_id, resubmitted_from, trace_id, node, inputs, outputs) VALUES (:id, "
    "'hello', 'Succeeded', 200, 'anonymous', NULL, NULL, NULL, NULL, '192.0.2.1', 1752000000.0, 1752000000.5, NULL, "
    "'json', 'json', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'old', '[1]', '[2]') "
    "ON CONFLICT (id) DO UPDATE SET state = excluded.state WHERE runs.state = 'Running'",
    "a step ends": "INSERT INTO steps (run_id, number, name, succeeded, attempts) VALUES (:id, 1, 'look', 1, "
    "'[[1752000000.1, 1752000000.2, null]]') ON CONFLICT (run_id, number) DO NOTHING",
    "a caller is refused": "INSERT INTO refusals (id, reason, code, status, workflow, client_address, first_at, "
    "last_at, count, request_ids, claimed, checks) VALUES (:id, 'listed', 'unauthenticated', 401, 'payroll', "
    "'192.0.2.7', 1752000000.0, 1752000000.0, 3, :id, NULL, '[]') ON CONFLICT (id) DO UPDATE SET count = 3",
    "a key is taken": "INSERT INTO idempotency_keys (scope, fingerprint, run_id, created_at) VALUES (:id, 'f', :id, "
    "1752000000.0) ON CONFLICT (scope) DO NOTHING",
    "its reply is kept": "UPDATE idempotency_keys SET status = 200, content = '[2]', content_form = 'json' "
    "WHERE run_id = :id",
    "runs are listed": "SELECT id, workflow, state, status, started_at, ended_at FROM runs ORDER BY id DESC LIMIT 50",
    "a run is cancelled": "UPDATE runs SET cancel_requested_at = 1.0 WHERE id = :id AND ended_at IS NULL",
    "the node leaves": "DELETE FROM nodes WHERE id = 'old'",
}
"""The statements of a program of migration 0001, unchanged."""

GOES_WITH_AGE = ("DELETE FROM steps WHERE run_id = :id", "DELETE FROM runs WHERE id = :id")

NEWER = f"{int(HEAD[:4]) + 1:04}_for_{HEAD[:4]}"
"""The migration of a later release, with which this one is compatible."""
ADDED = (
    "ALTER TABLE runs ADD COLUMN colour TEXT",
    "CREATE TABLE notes (run_id TEXT NOT NULL, words TEXT, CONSTRAINT notes_key PRIMARY KEY (run_id))",
    "CREATE INDEX runs_by_colour ON runs (colour, id)",
)


def make_database(url: str, revision: str) -> None:
    """Tables as the migrations up to this one make them."""
    engine = open_engine(url, writing=True)
    with engine.begin() as connection:
        command.upgrade(alembic_config(connection), revision)
    engine.dispose()


def files_of_migrations(folder: Path) -> dict[str, Path]:
    """A file with the tables of each migration. Each one is made from the one before it."""
    files: dict[str, Path] = {}
    for before, migration in pairwise(("", *MIGRATIONS)):
        files[migration] = folder / f"{migration}.db"
        if before:
            shutil.copy(files[before], files[migration])
        make_database(f"sqlite:///{files[migration]}", migration)
    return files


def say(connection: Connection, statements: Mapping[str, str], run_id: str = RUN) -> None:
    """Execute a program's statements, for one run."""
    for statement in statements.values():
        connection.execute(text(statement), {"id": run_id} if ":id" in statement else {})


def old_database(url: str, rows: int = 3) -> list[str]:
    """A database of migration 0001 with rows of its program. Returns the ids of the runs."""
    make_database(url, "0001")
    ids = [f"{RUN[:-1]}{number}" for number in range(rows)]
    engine = open_engine(url, writing=True)
    with engine.begin() as connection:
        for run_id in ids:
            say(connection, OF_0001, run_id)
    engine.dispose()
    return ids


def make_newer(url: str, revision: str = NEWER) -> None:
    """Change this release's tables as the next release may: by adding."""
    engine = open_engine(url, writing=True)
    with engine.begin() as connection:
        for statement in ADDED:
            connection.execute(text(statement))
        connection.execute(text("UPDATE alembic_version SET version_num = :new"), {"new": revision})
    engine.dispose()


def shape(engine: Engine) -> dict[str, Any]:
    """The tables as the database itself describes them: columns with type and nullability, keys and indexes."""
    with engine.connect() as connection:
        there = inspect(connection)
        return {
            table: {
                "columns": {
                    column["name"]: (str(column["type"]), column["nullable"], column["default"])
                    for column in there.get_columns(table)
                },
                "key": there.get_pk_constraint(table),
                "unique": there.get_unique_constraints(table),
                "foreign": there.get_foreign_keys(table),
                "checks": there.get_check_constraints(table),
                "indexes": {str(index["name"]): _told(index) for index in there.get_indexes(table)},
            }
            for table in there.get_table_names()
        }


def _told(index: Any) -> tuple[Any, ...]:
    """An index, its condition as a text."""
    options = {name: str(value) for name, value in index.get("dialect_options", {}).items()}
    return index["column_names"], bool(index["unique"]), options
