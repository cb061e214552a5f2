"""Files and functions stay small enough to be held in the head."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MOST_LINES_OF_A_FILE = 350
MOST_LINES_OF_A_FUNCTION = 60
LONGER = {"app/postern/security/audit/verifier.py": 500}
"""An auditor reads it as one file, which needs nothing else of this program."""


def sources() -> Iterator[Path]:
    for folder in ("app", "deploy", "workflows"):
        yield from (ROOT / folder).rglob("*.py")


def test_no_file_is_long():
    lengths = {str(path.relative_to(ROOT)): path.read_text("utf-8").count("\n") for path in sources()}
    assert len(lengths) > 200
    assert {name: lines for name, lines in lengths.items() if lines > LONGER.get(name, MOST_LINES_OF_A_FILE)} == {}


@pytest.mark.slow
def test_no_function_is_long():
    found = {}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MOST_LINES_OF_A_FUNCTION:
                    found[f"{path.relative_to(ROOT)}:{node.name}"] = lines
    assert found == {}
