"""A server beside another release of it on one database: an upgrade, two releases at a time, and the way back."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import text
from typer.testing import CliRunner, Result

from postern.cli.commands import app
from postern.cli.workspace import STATE_FOLDER
from postern.journal.database.engine import open_engine, revision_of
from postern.journal.database.revisions import HEAD
from postern.local_tenant import LocalTenant
from tests.process.commands import command
from tests.process.load import assert_kept, assert_undisturbed, calling, folder_of_workflows
from tests.process.servers import Server, running, until
from tests.releases import GOES_WITH_AGE, NEWER, OF_0001, RUN, make_newer, old_database, say
from tests.shipped import copy_examples

ANOTHER = RUN.replace("0", "1")


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> LocalTenant:
    """A local tenant's folder, made once: new keys take their time."""
    return LocalTenant.open(tmp_path_factory.mktemp("tenant") / "local-tenant")


@pytest.fixture
def folder(tmp_path: Path, tenant: LocalTenant) -> Path:
    copy_examples(tmp_path / "workflows")
    shutil.copytree(tenant.folder, tmp_path / STATE_FOLDER)
    return tmp_path


def record(server: Server, token: str, run_id: str) -> dict[str, Any]:
    answer = server.client.get(f"/runs/{run_id}", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def list_of_runs(server: Server, token: str) -> Response:
    return server.client.get("/runs", headers={"Authorization": f"Bearer {token}"})


def database(url: str, *arguments: str) -> Result:
    """What a `postern database` command comes to, in this process: others take a second to start."""
    return CliRunner().invoke(app, ["database", *arguments], env={"POSTERN_DATABASE_URL": url})


def test_a_database_of_the_release_before_is_served_and_goes_back(folder, tenant, new_database_url):
    """Its runs are read, new ones with calls are recorded, a program of the release before says what it says to the
    newer tables; then the migration is taken back, and that program goes on."""
    old = old_database(new_database_url)
    environ = {"POSTERN_PORT": "0", "POSTERN_DATABASE_URL": new_database_url}
    operator = tenant.token("ada")
    engine = open_engine(new_database_url, writing=True)
    with running("dev", folder, environ) as server:
        found = record(server, operator, old[0])
        assert (found["workflow"], found["state"], found["inputs"], found["outputs"]) == (
            "hello",
            "Succeeded",
            [1],
            [2],
        )
        assert ([step["name"] for step in found["steps"]], found["calls"]) == (["look"], [])
        chained = server.post("register-visitor", json={"name": "Grace"}).headers["x-run-id"]
        assert [call["name"] for call in record(server, operator, chained)["calls"]] == ["book-desk"]
        with engine.begin() as connection:
            assert revision_of(connection) == HEAD
            say(connection, OF_0001, ANOTHER)
        assert record(server, operator, ANOTHER)["state"] == "Succeeded"
        until(lambda: list_of_runs(server, operator).status_code == 200, what=lambda: server.output)
        listed = list_of_runs(server, operator).json()["runs"]
        assert {ANOTHER, chained, *old} <= {run["id"] for run in listed}

        refused = database(new_database_url, "downgrade", "--to", "0001", "--yes")
        assert (refused.exit_code, "servers run on this database" in refused.stderr) == (1, True)
        assert server.stop() == 0
        assert_undisturbed(server)
    back = database(new_database_url, "downgrade", "--to", "0001", "--yes")
    assert back.exit_code == 0, back.stderr
    assert "lost: table calls of migration 0002" in back.stderr
    with engine.begin() as connection:
        assert revision_of(connection) == "0001"
        runs = set(connection.execute(text("SELECT id FROM runs")).scalars())
        assert {ANOTHER, chained, *old} <= runs
        say(connection, OF_0001, RUN.replace("0", "2"))
        for statement in GOES_WITH_AGE:
            connection.execute(text(statement), {"id": old[0]})
    engine.dispose()


def test_a_server_goes_on_while_the_next_release_adds_to_its_tables_and_starts_on_them(tmp_path, new_database_url):
    """Its callers do not notice."""
    folder_of_workflows(tmp_path)
    environ = {"POSTERN_PORT": "0", "POSTERN_LOG_FORMAT": "json", "POSTERN_DATABASE_URL": new_database_url}
    with calling(count=6) as callers, running("serve", tmp_path, environ) as server:
        callers.go_to(server.port)
        callers.wait_for(60, server)
        make_newer(new_database_url)
        callers.wait_for(60, server)
        with running("serve", tmp_path, environ) as other:
            callers.go_to(other.port)
            callers.wait_for(60, other)
            assert other.client.get("/readyz").json()["checks"]["journal"] == "ok"
            callers.stop()
            for each in (server, other):
                assert each.stop() == 0
                assert_undisturbed(each)
                assert "journal-" not in each.output
    assert (callers.broken, callers.turned_away) == ([], [])
    assert_kept(new_database_url, callers)
    reported = database(new_database_url, "upgrade")
    assert (reported.exit_code, NEWER in reported.stderr) == (0, True)
    assert database(new_database_url, "downgrade", "--one", "--yes").exit_code == 2


def test_a_server_does_not_start_on_tables_that_do_not_suit_it(tmp_path, database_url):
    folder_of_workflows(tmp_path)
    make_newer(database_url, f"{int(HEAD[:4]) + 2:04}_for_{int(HEAD[:4]) + 1:04}")
    environ = {"POSTERN_PORT": "0", "POSTERN_DATABASE_URL": database_url}
    done = command(tmp_path, "serve", environ=environ)
    assert done.returncode == 2
    assert "newer Postern" in done.stderr
