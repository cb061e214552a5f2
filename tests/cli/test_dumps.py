"""`postern database backup` and `restore` on PostgreSQL, by its own programs."""

import os
import stat
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from postern.browser_secrets import hash_of
from postern.journal.database import postgres_dumps
from postern.journal.grant_upkeep import RESTORED
from postern.journal.grants import State
from postern.journal.invitations import Invitation, invite
from postern.journal.schema import invitations, runs, sessions
from postern.journal.sessions import Session, begin
from tests.cli.conftest import Postern
from tests.cli.recorded import SECRET, closing_engine, recorded, work
from tests.databases import make_tables
from tests.journal.grant_rows import ADA, LISA, grant, put, stored
from tests.postgres import new_database
from tests.releases import RUN


def test_a_dump_replaces_tables_that_are_moved_aside(postern: Postern, postgres: str, folder: Path):
    assert postern("database", "backup", "dump").exit_code == 0
    assert stat.S_IMODE((folder / "dump").stat().st_mode) == 0o600
    work(postgres, another := RUN.replace("0", "1"))
    assert postern("database", "restore", "dump").exit_code == 2
    assert recorded(postgres) == [RUN, another]
    done = postern("database", "restore", "dump", "--force")
    assert done.exit_code == 0, done.stderr
    assert recorded(postgres) == [RUN]
    schema = done.stderr.split("in the schema ")[1].split(":")[0]
    with closing_engine(postgres) as engine, engine.connect() as connection:
        assert connection.execute(text(f"SELECT count(*) FROM {schema}.runs")).scalar() == 2


def test_a_restored_dump_has_no_sessions(postern: Postern, postgres: str):
    """One that was signed out after the backup must not come back."""
    ada = Session(hash_of("id"), "t", "ada", "Ada", frozenset(), "192.0.2.1", 1.0, 1.0)
    with closing_engine(postgres) as engine, engine.begin() as connection:
        begin(connection, ada)
    assert postern("database", "backup", "dump").exit_code == 0
    assert postern("database", "restore", "dump", "--force").exit_code == 0
    assert recorded(postgres) == [RUN]
    with closing_engine(postgres) as engine, engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(sessions)).scalar() == 0


def test_a_restored_dump_has_no_tokens_and_no_invitations(postern: Postern, postgres: str, folder: Path):
    """Those of before would end a grant at its provider, or bring back what was disconnected."""
    with closing_engine(postgres) as engine:
        put(engine, grant(sealed="SEALED-TOKENS"))
        with engine.begin() as connection:
            invite(connection, Invitation(hash_of("x"), "tickets", LISA, ADA, 1.0))
    assert postern("database", "backup", "dump").exit_code == 0
    assert postern("database", "restore", "dump", "--force").exit_code == 0
    with closing_engine(postgres) as engine:
        found = stored(engine)
        assert (found.sealed, found.state, found.reason, found.account) == ("", State.BROKEN, RESTORED, "4711")
        with engine.connect() as connection:
            assert connection.execute(select(func.count()).select_from(invitations)).scalar() == 0


def test_tables_with_grants_alone_are_not_dropped_as_empty(postern: Postern, postgres: str, folder: Path):
    assert postern("database", "backup", "dump").exit_code == 0
    with closing_engine(postgres) as engine:
        with engine.begin() as connection:
            connection.execute(runs.delete())
        put(engine, grant())
    assert postern("database", "restore", "dump").exit_code == 2
    done = postern("database", "restore", "dump", "--force")
    schema = done.stderr.split("in the schema ")[1].split(":")[0]
    with closing_engine(postgres) as engine, engine.connect() as connection:
        assert connection.execute(text(f"SELECT count(*) FROM {schema}.grants")).scalar() == 1


def test_where_a_dump_cannot_be_put_in_the_tables_come_back(postern: Postern, postgres: str):
    """Something else has the name of one of its indexes."""
    assert postern("database", "backup", "dump").exit_code == 0
    with closing_engine(postgres) as engine, engine.begin() as connection:
        connection.execute(text("CREATE TABLE other (id TEXT)"))
        connection.execute(text("CREATE SEQUENCE taken"))
        connection.execute(text("DROP INDEX runs_by_workflow"))
        connection.execute(text("CREATE INDEX runs_by_workflow ON other (id)"))
    failed = postern("database", "restore", "dump", "--force")
    assert (failed.exit_code, "cannot be restored, and nothing was changed" in failed.stderr) == (2, True)
    assert recorded(postgres) == [RUN]
    with closing_engine(postgres) as engine, engine.connect() as connection:
        schemas = select(func.count()).select_from(text("pg_namespace")).where(text("nspname LIKE 'postern%'"))
        assert connection.execute(schemas).scalar() == 0


def test_a_dump_goes_only_where_a_server_finds_its_tables(postern: Postern, postgres: str):
    """And one of another program's tables goes nowhere."""
    assert postern("database", "backup", "dump").exit_code == 0
    with closing_engine(postgres) as engine, engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA elsewhere"))
    path = f"{'&' if '?' in postgres else '?'}options=-csearch_path%3Delsewhere"
    refused = postern("database", "restore", "dump", POSTERN_DATABASE_URL=postgres + path)
    assert (refused.exit_code, "in the schema public" in refused.stderr) == (2, True)
    assert recorded(postgres) == [RUN]
    with closing_engine(postgres) as engine, engine.begin() as connection:
        connection.execute(text("DROP TABLE runs, steps"))
    assert postern("database", "backup", "other").exit_code == 2


HOSTILE = {
    "function": ("CREATE FUNCTION public.evil", "CREATE FUNCTION evil() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
    "trigger": (
        "CREATE TRIGGER evil",
        "CREATE TRIGGER evil BEFORE UPDATE ON runs FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    ),
    "view": ("CREATE VIEW public.evil", "CREATE VIEW evil AS SELECT pg_backend_pid() AS id"),
    "default": ("CREATE TABLE public.evil", "CREATE TABLE evil (id text DEFAULT md5('x'))"),
    "table": ("the table evil", "CREATE TABLE evil (id text)"),
    "column": ("the column runs.evil", "ALTER TABLE runs ADD COLUMN evil text"),
    "computed column": ("CREATE TABLE public.runs", "ALTER TABLE runs ADD evil text DEFAULT md5('x')"),
    "check": ("CREATE TABLE public.steps", "ALTER TABLE steps ADD CHECK (length(name) < 99)"),
    "index": ("the index evil", "CREATE INDEX evil ON runs (state)"),
    "expression": ("CREATE INDEX evil", "CREATE INDEX evil ON runs (md5(state))"),
    "condition": ("the index evil", "CREATE INDEX evil ON runs (state) WHERE (length(state) > 3)"),
    "rule": ("CREATE RULE evil", "CREATE RULE evil AS ON INSERT TO runs DO ALSO DELETE FROM steps"),
    "policy": ("ROW LEVEL SECURITY", "ALTER TABLE runs ENABLE ROW LEVEL SECURITY"),
}


@pytest.mark.parametrize(("named", "statement"), HOSTILE.values(), ids=HOSTILE)
def test_a_dump_with_anything_foreign_is_refused_by_name(postern: Postern, postgres: str, named: str, statement: str):
    """Nothing of it has run, and the tables are as they were."""
    with new_database(postgres) as (_, hostile):
        make_tables(hostile)
        with closing_engine(hostile) as engine, engine.begin() as connection:
            connection.execute(text(statement))
        postgres_dumps.run(["pg_dump", "--format=custom", "--file=dump", f"--dbname={hostile}".replace("+psycopg", "")])
    refused = postern("database", "restore", "dump", "--force")
    assert refused.exit_code == 2
    assert "is not a backup of Postern alone" in refused.stderr
    assert named in refused.stderr
    assert recorded(postgres) == [RUN]


def test_a_dump_that_is_cut_replaces_nothing(postern: Postern, postgres: str, folder: Path):
    assert postern("database", "backup", "dump").exit_code == 0
    (folder / "dump").write_bytes((folder / "dump").read_bytes()[:-200])
    refused = postern("database", "restore", "dump", "--force")
    assert (refused.exit_code, "pg_restore failed" in refused.stderr) == (2, True)
    assert recorded(postgres) == [RUN]


def test_without_its_programs_the_command_for_postgresql_is_said(postern: Postern, folder: Path):
    made = f"postgresql://me:{SECRET}@db.example/postern?sslmode=verify-full"
    result = postern("database", "backup", "dump", POSTERN_DATABASE_URL=made, PATH=str(folder))
    assert (result.exit_code, SECRET in result.output) == (2, False)
    assert "pg_dump --format=custom" in result.stderr
    assert "--file=dump '--dbname=postgresql://me@db.example/postern?sslmode=verify-full'" in result.stderr


@pytest.mark.process
def test_a_password_is_in_the_environment_of_the_programs_only(
    postern: Postern, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """A substitute for pg_dump writes its arguments to a file."""
    tool = folder / "bin" / "pg_dump"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\necho "$@" > "$0.arguments"\necho "$PGPASSWORD" > "$0.password"\nexit 1\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    made = f"postgresql://me:{SECRET}@db.example/postern"
    assert postern("database", "backup", "dump", POSTERN_DATABASE_URL=made).exit_code == 2
    assert SECRET not in (tool.parent / "pg_dump.arguments").read_text()
    assert (tool.parent / "pg_dump.password").read_text() == f"{SECRET}\n"

    entra = "postgresql://me@db.example/postern?sslmode=verify-full&passwordless=entra"
    monkeypatch.setenv("POSTERN_AZURE_CREDENTIAL", "developer")
    result = postern("database", "backup", "dump", POSTERN_DATABASE_URL=entra)
    assert (result.exit_code, "az account get-access-token --resource-type oss-rdbms" in result.stderr) == (2, True)
    given = postern("database", "backup", "dump", POSTERN_DATABASE_URL=entra, PGPASSWORD="a-token")
    assert "pg_dump failed" in given.stderr
    assert "passwordless" not in (tool.parent / "pg_dump.arguments").read_text()
    assert (tool.parent / "pg_dump.password").read_text() == "a-token\n"
