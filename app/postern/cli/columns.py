"""Rows of text in columns: by Rich for people, whose terminals have a width, colours and line breaks."""

import os
import sys
from collections.abc import Sequence

import typer

from postern.cli.terminal import err, out, plain

Cell = str | tuple[str, str]
"""A text, and its style."""


def print_columns(titles: Sequence[str], rows: Sequence[Sequence[Cell]], *, stderr: bool) -> None:
    """Print rows below the titles of their columns. A file or a program gets each row as one line."""
    stream = sys.stderr if stderr else sys.stdout
    if stream.isatty() or "FORCE_COLOR" in os.environ:
        _print_for_people(titles, rows, stderr=stderr)
        return
    table = [list(titles), *([plain(cell if isinstance(cell, str) else cell[0]) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo(line.rstrip(), err=stderr)


def _print_for_people(titles: Sequence[str], rows: Sequence[Sequence[Cell]], *, stderr: bool) -> None:
    from rich.table import Table  # see terminal._Later
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else Text(*cell) for cell in row))
    (err if stderr else out).print(table)
