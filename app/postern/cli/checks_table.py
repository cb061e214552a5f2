"""The checks of a token or caller as a table."""

from collections.abc import Iterable
from typing import Any

from rich.table import Table
from rich.text import Text

from postern.access import Check
from postern.cli.terminal import plain


def checks_table(answers: Iterable[Check], failed: Check | None) -> Table:
    """Checks of a token or caller, one line each. The first failed one is marked."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "check", "expected", "found"):
        table.add_column(column, overflow="fold")
    for check in answers:
        mark = Text("ok", "green") if check.passed else Text("FAILED" if check is failed else "failed", "bold red")
        table.add_row(mark, Text(plain(check.name)), _value(check.expected), _value(check.found))
    return table


def _value(value: Any) -> Text:
    if value is None:
        return Text()
    if isinstance(value, frozenset | set | tuple | list):
        return Text("\n".join(sorted(map(plain, value))))
    return Text(plain(value))
