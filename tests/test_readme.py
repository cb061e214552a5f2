"""The README's tables are the code's tables, and its first example works."""

import re
from pathlib import Path

import pytest

from postern.access import anonymous, specific_users, tenant_users
from postern.assembly import load_catalog
from postern.authoring.workflow import workflow
from postern.errors import PROBLEMS
from postern.settings import load_settings, settings_table

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
ANSWERS = (ROOT / "app" / "postern" / "triggers" / "README.md").read_text(encoding="utf-8")


def table_after(heading: str, page: str = README) -> list[list[str]]:
    """The cells of the first table below a heading."""
    section = page.split(f"# {heading}\n")[1].split("\n## ", maxsplit=1)[0]
    rows = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert rows
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in rows[0].splitlines()[2:]]


def test_the_table_of_settings_is_the_programs():
    expected = [[f"`{name}`", f"`{default}`" if default else "", text] for name, default, text in settings_table()]
    assert [[cell.strip("| ") for cell in row] for row in table_after("Settings")] == expected


def test_the_table_of_errors_is_the_programs():
    rows = [[f"`{code}`", str(row.status), row.detail] for code, row in PROBLEMS.items()]
    assert [[cell.strip("| ") for cell in row] for row in table_after("Problem codes", ANSWERS)] == rows


def test_the_table_of_access_modes_is_the_programs():
    modes = [row[0].strip("`| ").partition("(")[0] for row in table_after("Who may come in")]
    assert modes == [mode.mode for mode in (anonymous(), tenant_users(), specific_users("lisa"))]


def test_the_table_of_options_names_every_option_of_a_workflow():
    named = re.findall(r"`([a-z_]+)`", " ".join(row[0] for row in table_after("Writing workflows")))
    options = set(workflow.__kwdefaults__ or {}) - {"durable"}
    assert set(named) == options


def test_the_first_example_is_under_ten_lines_and_loads(tmp_path: Path):
    example = README.split("```python\n")[1].split("```")[0]
    assert len(example.splitlines()) < 10
    (tmp_path / "greet.py").write_text(example, encoding="utf-8")
    settings = load_settings(
        {},
        folder=tmp_path,
        defaults={
            "tenant_id": "0" * 8 + "-0000-0000-0000-" + "0" * 12,
            "audience": "api://x",
            "workflows": str(tmp_path),
        },
    )
    assert list(load_catalog(settings).snapshot.triggers) == ["greet"]


def test_the_readme_is_short_enough_to_read():
    assert len(README.splitlines()) < 250


@pytest.mark.parametrize("name", sorted(re.findall(r"\]\(([^)#:]+)\)", README)))
def test_the_files_it_links_to_are_there(name: str):
    assert (ROOT / name).is_file()
