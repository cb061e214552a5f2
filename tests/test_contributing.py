"""The page for contributors answers from the tree: what it names is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
SECTION = PAGE.split("\n## Ten questions of a newcomer\n")[1]
ANSWERS = dict(re.findall(r"^\| (Where [^|]*\?) \| (.*) \|$", SECTION, re.MULTILINE))
PATH = re.compile(r"`((?:app|tests|deploy|workflows)/[\w./-]+|[\w-]+\.(?:md|toml))`")


def test_there_are_ten_questions():
    assert len(ANSWERS) == 10


@pytest.mark.parametrize("question", ANSWERS)
def test_each_answer_is_a_path_that_exists(question: str):
    paths = PATH.findall(ANSWERS[question])
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_all_paths_of_the_page_exist():
    paths = [path for path in PATH.findall(PAGE) if "ROOM" not in path]
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("app/postern/identity/token.py", '"audience-form"'),
        ("app/postern/access/policy.py", '"audience"'),
        ("app/postern/triggers/read.py", '"unsupported-media-type"'),
        ("app/postern/server/process.py", "uvicorn.Config("),
        ("app/postern/triggers/reply.py", "ALWAYS"),
        ("app/postern/runs/idempotency.py", "idempotency-key"),
        ("app/postern/cli/call.py", "def add_to("),
    ],
)
def test_what_an_answer_says_of_a_file_is_in_it(path: str, text: str):
    assert text in (ROOT / path).read_text(encoding="utf-8")
