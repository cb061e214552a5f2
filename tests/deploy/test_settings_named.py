"""Every setting that anything in `deploy/` names is one that the program knows: an unknown one stops the server."""

import re
from pathlib import Path

from postern.settings import settings_table
from tests.table import table

DEPLOY = Path(__file__).parents[2] / "deploy"
NAMED = re.compile(r"(?<![A-Z0-9_])POSTERN_[A-Z0-9]+(?:_[A-Z0-9]+)*(?![A-Z0-9_])")
OF_A_PAGE_OR_FILE = {"POSTERN_IMAGE"}
"""Names that are variables of a page's commands or of compose.yaml itself, and never reach the server."""


def text_of(path: Path) -> str:
    """What is in the file; "" where it is no text."""
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        return ""


FILES = [path for path in sorted(DEPLOY.rglob("*")) if path.is_file() and NAMED.search(text_of(path))]


@table("path", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_setting_that_a_file_names_exists(path: Path):
    known = {name for name, _, _ in settings_table()} | OF_A_PAGE_OR_FILE
    assert set(NAMED.findall(text_of(path))) <= known


def test_there_are_such_files():
    assert {path.name for path in FILES} >= {"Dockerfile", "compose.yaml", "postern.env.example"}


AUDIENCE = re.compile(
    r"""^[ #-]*(?:export |postern )?(?:POSTERN_AUDIENCE|audience) ?[=:] ?(\[[^\]]*\]|[^\s#]*)""", re.MULTILINE
)
PAGES = [path for path in sorted(DEPLOY.parent.glob("*.md")) if path.is_file()] + FILES


def shown_audiences() -> list[tuple[str, str]]:
    """The audiences of each example of the settings, by file."""
    found = [(path.name, value.strip("\"'")) for path in PAGES for value in AUDIENCE.findall(text_of(path))]
    return [(name, value) for name, value in found if "://" in value and "flow.microsoft" not in value]


def test_every_example_shows_both_audiences():
    """Tokens of version 1.0 have the Application ID URI, those of version 2.0 the client id."""
    shown = shown_audiences()
    assert len(shown) >= 6
    assert [(name, value) for name, value in shown if "," not in value] == []
