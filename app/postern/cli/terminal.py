"""The output of the commands."""

import json
import shlex
import shutil
import sys
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import typer

from postern.plain_text import plain as without_hidden

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from rich.table import Table

WIDE = 200
"""Columns if the output is not a terminal: a file or another program needs no line breaks."""


def console(*, stderr: bool = False, width: int | None = None) -> "Console":
    """A console for the output of commands. Nothing that it prints controls the terminal, or hides text."""
    from postern.cli.plain_console import plain_console  # Rich: see _Later

    return plain_console(stderr=stderr, width=width)


class _Later:
    """A console that is made when something is printed on it: Rich is a tenth of the time of a start, and servers and
    many commands print for programs only."""

    def __init__(self, make: "Callable[[], Console]") -> None:
        self._make = make

    @cached_property
    def _console(self) -> "Console":
        return self._make()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._console, name)


out = cast("Console", _Later(lambda: console(width=None if sys.stdout.isatty() else WIDE)))
err = cast("Console", _Later(lambda: console(stderr=True, width=None if sys.stderr.isatty() else WIDE)))


def fail(message: str) -> None:
    """Print an error to standard error."""
    err.print(f"[bold red]postern:[/] {escaped(plain(message, lines=True))}", highlight=False, soft_wrap=True)


def escaped(text: str) -> str:
    """A text as it is, for a console that reads markup."""
    from rich.markup import escape  # see _Later

    return escape(text)


def stop(message: str, exit_code: int = 1) -> NoReturn:
    """Print an error, and end the command. Exit code 2 is for arguments or settings that the user can fix."""
    fail(message)
    raise typer.Exit(exit_code) from None


def plain(text: object, *, lines: bool = False) -> str:
    """Untrusted text, safe for a terminal. Characters that control it, or that reverse or hide text, become their
    codes. So do line breaks and tabs, unless `lines`. The consoles do this too, but for line breaks."""
    return without_hidden(str(text), lines=lines)


def print_json(document: Any) -> None:
    """Print a document for programs, in ASCII."""
    typer.echo(plain(json.dumps(document, indent=2), lines=True))


def program() -> str:
    """The way this command was started, for commands to paste."""
    started = Path(sys.argv[0]).absolute()
    return _typed(started) if started.name == "postern" else f"{_typed(Path(sys.executable))} -m postern"


def _typed(command: Path) -> str:
    """The shortest way to start the command from this folder."""
    if shutil.which(command.name) == str(command):
        return command.name
    shortest = command.relative_to(Path.cwd()) if command.is_relative_to(Path.cwd()) else command
    return shlex.quote(str(shortest))


def print_wide(table: "Table") -> None:
    """Print a table of many columns with one line per row: a narrow terminal wraps a long line better than ten
    cells."""
    console(width=max(out.width, WIDE)).print(table, crop=False)
