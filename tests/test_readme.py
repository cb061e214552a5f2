"""The README's tables are the code's tables, and its first example is the one that is shipped."""

import ast
import re
from pathlib import Path

from postern.access import anonymous, specific_users, tenant_users
from postern.authoring.workflow import workflow
from postern.cli.commands import COMMANDS
from postern.errors import PROBLEMS
from postern.settings import settings_table
from tests.table import table

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted(
    str(page.relative_to(ROOT))
    for page in [*ROOT.glob("*.md"), *ROOT.glob("app/**/*.md"), *ROOT.glob("deploy/**/*.md")]
)
SETTINGS = (ROOT / "app" / "postern" / "settings" / "README.md").read_text(encoding="utf-8")
ANSWERS = (ROOT / "app" / "postern" / "triggers" / "README.md").read_text(encoding="utf-8")


def table_after(heading: str, page: str = README) -> list[list[str]]:
    """The cells of the first table below a heading."""
    section = page.split(f"# {heading}\n")[1].split("\n## ", maxsplit=1)[0]
    rows = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert rows
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in rows[0].splitlines()[2:]]


def test_the_table_of_settings_is_the_programs():
    expected = [[f"`{name}`", f"`{default}`" if default else "", text] for name, default, text in settings_table()]
    assert [[cell.strip("| ") for cell in row] for row in table_after("Settings", SETTINGS)] == expected


def test_the_table_of_errors_is_the_programs():
    rows = [[f"`{code}`", str(row.status), row.detail] for code, row in PROBLEMS.items()]
    assert [[cell.strip("| ") for cell in row] for row in table_after("Problem codes", ANSWERS)] == rows


def test_the_table_of_access_modes_is_the_programs():
    modes = [row[0].strip("`| ").partition("(")[0] for row in table_after("Access")]
    assert modes == [mode.mode for mode in (anonymous(), tenant_users(), specific_users("lisa"))]


def test_the_table_of_options_names_every_option_of_a_workflow():
    named = re.findall(r"`([a-z_]+)`", " ".join(row[0] for row in table_after("Workflows")))
    options = set(workflow.__kwdefaults__ or {})
    assert set(named) == options


def test_it_says_how_long_bodies_are_kept_where_and_how_not_to():
    """With the defaults of the settings and the options of a workflow."""
    section = README.split("### Runs and rejected requests\n")[1].split("```")[0]
    said = section.split("Rejected requests")[0]
    defaults = {name: default for name, default, _ in settings_table()}
    path = defaults["POSTERN_DATABASE_URL"].removeprefix("sqlite:///")
    for words in (f"{defaults['POSTERN_RETENTION_DAYS']} days", f"`POSTERN_DATABASE_URL` (`{path}`)", "bodies"):
        assert words in " ".join(said.split())
    named = set(re.findall(r"`([a-z_]+)`", said))
    assert named == {"secure_inputs", "secure_outputs", "stateless"} <= set(workflow.__kwdefaults__ or {})
    assert "`POSTERN_RETENTION_DAYS`" in said


def test_the_first_example_is_under_ten_lines_and_is_the_file_that_is_shipped():
    example = README.split("```python\n")[1].split("```")[0]
    shipped = (ROOT / "workflows" / "hello.py").read_text(encoding="utf-8")
    assert len(example.splitlines()) < 10
    assert without_docstrings(example) == without_docstrings(shipped)


def without_docstrings(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.AsyncFunctionDef) and ast.get_docstring(node):
            del node.body[0]
    return ast.dump(tree)


def test_the_table_of_commands_names_every_command():
    named = set(re.findall(r"`postern ([a-z]+)", " ".join(row[0] for row in table_after("Commands"))))
    assert named == set(COMMANDS)


def test_the_readme_is_short_enough_to_read():
    assert len(README.splitlines()) < 250


@table("page", PAGES)
def test_the_files_and_headings_that_a_page_links_to_are_there(page: str):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"", text)
    assert [link for each in links for link in each if link and not is_there(link, ROOT / page)] == []


@table("page", PAGES)
def test_the_python_of_a_page_is_well_formed(page: str):
    for source in re.findall(
        r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    ):
        compile(source, page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def is_there(link: str, page: Path) -> bool:
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    if "://" in link or not anchor:
        return "://" in link or target.exists()
    return anchor in {
        anchor_of(heading) for heading in re.findall(r"^#+ (.*)", target.read_text("utf-8"), re.MULTILINE)
    }


def anchor_of(heading: str) -> str:
    """How GitHub names a heading in a URL."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
