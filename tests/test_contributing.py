"""The answers on the page for contributors name files that exist, and names that occur in those files."""

import re
from pathlib import Path

import pytest

from tests.table import table

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
SECTION = PAGE.split("\n## Ten questions of a newcomer\n")[1]
ANSWERS = dict(re.findall(r"^\| (Where [^|]*\?) \| (.*) \|$", SECTION, re.MULTILINE))
PATH = re.compile(r"`((?:app|tests|deploy|workflows)/[\w./-]+|[\w-]+\.(?:md|toml))`")


def test_there_are_ten_questions():
    assert len(ANSWERS) == 10


@table("question", ANSWERS)
def test_each_answer_is_a_path_that_exists(question: str):
    paths = PATH.findall(ANSWERS[question])
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_all_paths_of_the_page_exist():
    paths = [path for path in PATH.findall(PAGE) if "ROOM" not in path]
    assert [path for path in paths if not (ROOT / path).exists()] == []


def sources(path: str) -> str:
    """The text of a file, or of all modules of a folder."""
    found = ROOT / path
    files = sorted(found.glob("**/*.py")) if found.is_dir() else [found]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


@table("question", ANSWERS)
def test_the_names_beside_a_path_occur_in_its_file(question: str):
    """A part of an answer, up to a comma or semicolon, has the names of one path."""
    missing = []
    for part in re.split(r"[,;] ", ANSWERS[question]):
        paths = PATH.findall(part)
        text = "\n".join(map(sources, paths))
        names = set(re.findall(r"`([^`]+)`", part)) - set(paths)
        missing += [name for name in names if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)]
    assert missing == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("app/postern/access/policy.py", '"audience"'),
        ("app/postern/triggers/read.py", '"unsupported-media-type"'),
        ("app/postern/runs/idempotency.py", "idempotency-key"),
    ],
)
def test_what_an_answer_says_of_a_file_is_in_it(path: str, text: str):
    assert text in (ROOT / path).read_text(encoding="utf-8")
