"""The messages of calls out that the page of troubleshooting explains are those of the code."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "app" / "postern"
PAGE = (ROOT / "triggers" / "TROUBLESHOOTING.md").read_text(encoding="utf-8")
SECTION = PAGE.split("\n## A connection or call fails\n")[1].split("\n## ")[0]
MESSAGES = [re.match(r"\| `([^`]+)`", line)[1] for line in SECTION.splitlines() if line.startswith("| `")]  # type: ignore[index]


@pytest.fixture(scope="module")
def code() -> str:
    """The texts of the code, with strings over several lines joined."""
    rooms = ("connections", "settings", "cli")
    texts = [path.read_text("utf-8") for room in rooms for path in (ROOT / room).rglob("*.py")]
    return re.sub(r'"\s*\n\s*f?"', "", "\n".join([*texts, (ROOT / "http_client.py").read_text("utf-8")]))


@pytest.mark.parametrize("message", MESSAGES)
def test_the_message_is_one_of_the_program(message: str, code: str):
    assert message in code


def test_there_are_messages():
    assert len(MESSAGES) >= 10
