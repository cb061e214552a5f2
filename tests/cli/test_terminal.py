"""What the commands print cannot control the terminal, whichever way it is printed."""

import ast
from pathlib import Path

import pytest
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from postern import cli
from postern.cli.terminal import console

HIDDEN = "\x1b\x9b\x07\u061c\u200b\u202e\u2028\ufeff\x7f"


def a_table():
    table = Table(title=HIDDEN)
    table.add_column(HIDDEN)
    table.add_row(Text(f"cell {HIDDEN}"))
    return table


@pytest.mark.parametrize(
    "shown",
    [f"text {HIDDEN}", escape(f"[bold] {HIDDEN}"), Text(HIDDEN, "red"), a_table(), Tree(HIDDEN)],
    ids=["text", "markup", "styled", "table", "tree"],
)
def test_a_console_prints_no_hidden_character(shown: object):
    """A command may forget it: the console does not."""
    made = console(width=200)
    with made.capture() as printed:
        made.print(shown)
    assert not set(printed.get()) & set(HIDDEN)
    assert "\\u202e" in printed.get()


def test_styles_still_work(monkeypatch: pytest.MonkeyPatch):
    """Rich's own codes are not text."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    made = console(width=80)
    with made.capture() as printed:
        made.print("one\ntwo", style="red")
    assert printed.get() == "\x1b[31mone\x1b[0m\n\x1b[31mtwo\x1b[0m\n"


def test_every_command_prints_through_these_consoles():
    """A console of Rich itself would not filter."""
    folder = Path(cli.__file__).parent
    makers = {
        path.name
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "Console"
    }
    assert makers == {"plain_console.py"}
