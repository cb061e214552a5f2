"""`postern access`: who may call what, from the folder, the settings and the database."""

import csv
import io
import json
import time
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from postern.journal.known_callers import Fact, Uses, caller_subject, note
from postern.local_tenant import LocalTenant
from tests.cli.conftest import Postern
from tests.databases import put_sqlite

pytestmark = pytest.mark.slow

DAY = 86400
ALL = 'anonymous = ["hello", "register-visitor"]'


@pytest.fixture
def tenant(folder: Path) -> LocalTenant:
    """The folder's local tenant, which does not listen."""
    return LocalTenant.open(folder / "var" / "local-tenant")


def expect(folder: Path, line: str = ALL) -> None:
    (folder / "postern.toml").write_text(f"[access]\n{line}\n", encoding="utf-8")


def note_use(url: str, tenant: LocalTenant, who: str, workflow: str, ago: float) -> None:
    engine = create_engine(url)
    at = time.time() - ago * DAY
    with engine.begin() as connection:
        fact = Fact(caller_subject(tenant.tenant_id, tenant.people[who]), "workflow", workflow)
        note(connection, f"writer of {who} {workflow}", 1, at, {fact: Uses(at, at, 2)})
    engine.dispose()


def test_a_workflow_that_is_open_to_anyone_and_not_meant_to_be_fails_the_pipeline(postern: Postern, folder: Path):
    expect(folder, 'anonymous = ["hello"]')
    found = postern("access")
    assert found.exit_code == 1
    assert "Anyone may call register-visitor" in found.stderr
    expect(folder)
    assert postern("access").exit_code == 0


def test_a_faulty_module_fails_it_too_because_its_workflows_are_not_listed(postern: Postern, folder: Path):
    expect(folder)
    (folder / "workflows" / "broken.py").write_text("from nowhere import nothing\n", encoding="utf-8")
    assert postern("access").exit_code == 1


def test_rows_say_who_why_and_when(
    postern: Postern, folder: Path, tenant: LocalTenant, monkeypatch: pytest.MonkeyPatch
):
    expect(folder)
    url = put_sqlite(folder / "postern.db")
    monkeypatch.setenv("POSTERN_DATABASE_URL", url)
    note_use(url, tenant, "lisa", "payroll", 100)
    note_use(url, tenant, "gil", "whoami", 1)
    found = json.loads(postern("access", "--json").stdout)
    by = {(row["workflow"], row["object_id"]): row for row in found["rows"]}
    lisa, gil = by["payroll", tenant.people["lisa"]], by["whoami", tenant.people["gil"]]
    assert (lisa["why"], lisa["uses"], lisa["marks"]) == ("specific_users(lisa)", 2, ["unused"])
    assert (gil["why"], gil["uses"], gil["marks"]) == ("tenant_users(), and used it", 2, [])
    assert by["whoami", ""]["who"] == "tenant"
    assert by[None, tenant.people["ada"]]["why"] == "POSTERN_OPERATORS"
    assert "names were not looked up" in found["directory"]


def test_csv_is_for_spreadsheets(postern: Postern, folder: Path):
    expect(folder)
    written = postern("access", "--csv").stdout
    assert "\\" not in written
    rows = list(csv.DictReader(io.StringIO(written)))
    assert {row["workflow"] for row in rows} >= {"hello", "payroll", ""}
    assert postern("access", "--csv", "--json").exit_code == 2


def test_what_changed_since_an_earlier_output_is_shown(postern: Postern, folder: Path):
    expect(folder)
    (folder / "earlier.json").write_text(postern("access", "--json").stdout, encoding="utf-8")
    unchanged = postern("access", "--since", "earlier.json")
    assert (unchanged.stdout, unchanged.exit_code) == ("", 0)
    module = folder / "workflows" / "payroll.py"
    module.write_text(module.read_text(encoding="utf-8").replace('"lisa"', '"lisa", "gil"'), encoding="utf-8")
    changed = postern("access", "--since", "earlier.json")
    assert changed.stdout.startswith("added payroll: gil, specific_users(gil)")
    as_json = json.loads(postern("access", "--json", "--since", "earlier.json").stdout)
    assert [row["name"] for row in as_json["changes"]["added"]] == ["gil"]


@pytest.mark.parametrize("content", [None, "", "{}", "[" * 100_000])
def test_a_file_that_is_no_earlier_output_is_an_error(postern: Postern, folder: Path, content: str | None):
    if content is not None:
        (folder / "earlier.json").write_text(content, encoding="utf-8")
    assert postern("access", "--since", "earlier.json").exit_code == 2


def test_without_a_database_the_rows_are_there_and_uses_are_not_known(postern: Postern, folder: Path):
    expect(folder)
    found = postern("access")
    assert "there is no database yet" in found.stderr
    assert "payroll" in found.stdout
    assert not (folder / "var" / "postern.db").exists()
