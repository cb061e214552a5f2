"""The pages about durable runs say what the code does."""

import re
from pathlib import Path

import pytest

import postern.durable
from postern.authoring.workflow import workflow
from postern.durable.checkpoints_database import checkpoints_file
from postern.durable.engine import RECONCILE
from postern.durable.upkeep import BEAT_EVERY
from postern.errors import PROBLEMS
from postern.journal.database.engine import IDLE_SECONDS
from postern.journal.durable_runs import DEATHS, Phase, Reason
from postern.journal.durable_upkeep import FRESH, SILENCE
from postern.settings import settings_table
from postern.settings.role import Role
from tests.pages import table_rows

FOLDER = Path(postern.durable.__file__).parent
PAGE = (FOLDER / "README.md").read_text("utf-8")
OPERATING = (FOLDER / "OPERATING.md").read_text("utf-8")
WAITS = {Reason.SLEEP, Reason.SIGNAL, Reason.APPROVAL, Reason.CONCURRENCY}


def names(rows: list[list[str]]) -> list[str]:
    """What the first cells name."""
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row[0])]


def test_the_table_of_files_has_each_file():
    there = {path.name for path in FOLDER.glob("*.py")} - {"__init__.py"} | {"examples"}
    assert set(names(table_rows(PAGE, "Files"))) == there


def test_the_traps_name_files_that_are_there():
    named = re.findall(r"`(\w+\.py)`", PAGE.split("## Files")[0])
    assert len(named) > 8
    assert [name for name in named if not (FOLDER / name).exists()] == []


def test_the_table_of_phases_is_the_programs():
    assert names(table_rows(OPERATING, "Where a run is")) == [str(phase) for phase in Phase]
    text = OPERATING.split("## Where a run is")[1].split("\n## ")[0]
    assert {reason for reason in Reason if f"`{reason.value}`" in text} == WAITS


def test_the_table_of_parked_reasons_is_the_programs():
    assert set(names(table_rows(OPERATING, "Parked runs"))) == {str(reason) for reason in set(Reason) - WAITS}


def test_the_table_of_roles_is_the_programs():
    rows = re.findall(r"^\| `(\w+)`[^|]*\| (?:yes|no)", OPERATING, re.MULTILINE)
    assert rows == [str(role) for role in Role]


def test_the_settings_of_durable_runs_are_named_with_their_defaults():
    section = OPERATING.split("\n## Settings\n")[1].split("\n## ")[0]
    defaults = {name: default for name, default, _ in settings_table()}
    durable = {name for name in defaults if "DURABLE" in name} | {"POSTERN_MAX_RESULT_BYTES"}
    assert durable <= set(re.findall(r"POSTERN_\w+", section))
    for name in ("POSTERN_DURABLE_WORKERS", "POSTERN_DURABLE_WAITING", "POSTERN_RETENTION_DAYS"):
        assert f"`{name}` ({int(defaults[name]):,})" in section


def test_its_figures_are_the_programs():
    text = " ".join(OPERATING.split())
    figures = [
        f"| {BEAT_EVERY:.0f} s |",
        f"| {FRESH:.0f} s without a heartbeat of its own |",
        f"| {SILENCE:.0f} s of silence |",
        f"After {DEATHS} deaths",
        f"after {IDLE_SECONDS} seconds on connections of DBOS",
    ]
    assert [figure for figure in figures if figure not in text] == []
    assert f"put back every {RECONCILE:.0f} seconds" in " ".join(PAGE.split())


@pytest.mark.parametrize("code", ["too-many-crashes", "too-many-runs", "durable-key-unavailable"])
def test_the_codes_that_it_names_are_the_programs(code: str):
    assert code in PROBLEMS
    assert f"`{code}`" in OPERATING


def test_the_events_of_the_log_are_named():
    written = {
        event
        for path in FOLDER.glob("*.py")
        for event in re.findall(r'(?:log\.\w+|write)(?:\(\s*|, )"([a-z-]+)"', path.read_text("utf-8"))
    }
    section = OPERATING.split("| event of the log |")[1].split("\n## ")[0]
    named = {event for row in section.splitlines() for event in re.findall(r"`([a-z-]+)`", row.partition(" | ")[0])}
    assert named == written - {"run-ended", "run-abandoned", "blocked-code"}


def test_the_file_of_checkpoints_has_the_name_on_the_page():
    found = checkpoints_file("sqlite:///var/postern.db")
    assert found is not None
    assert f"`{found.name}` beside `postern.db`" in OPERATING


def test_the_options_of_durable_workflows_are_on_the_page_for_authors():
    text = (FOLDER / "AUTHORS.md").read_text("utf-8")
    for option in ("durable", "signals", "timeout", "max_concurrency", "secure_inputs", "secure_outputs"):
        assert option in (workflow.__kwdefaults__ or {})
        assert f"{option}=" in text or f"`{option}`" in text
