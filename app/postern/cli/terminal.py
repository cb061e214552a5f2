"""The output of the commands."""

import json
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.markup import escape
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from postern.access import Access, Anonymous, Check, Policy, SpecificUsers
from postern.authoring.schedule import NEXT_TIMES
from postern.catalog import Fault, Snapshot
from postern.plain_text import plain as without_hidden

WIDE = 200
"""Columns if the output is not a terminal: a file or another program needs no line breaks."""


class _Plain:
    """What another renderable shows, with each hidden character as its code. Rich's own control codes pass."""

    def __init__(self, shown: ConsoleRenderable) -> None:
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for text, style, control in console.render(self._shown, options):
            yield Segment(text if control else without_hidden(text, lines=True), style, control)


class _PlainOutput(RenderHook):
    """Everything that a console prints passes here, so no command can forget it."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Plain(each) for each in renderables]


def console(*, stderr: bool = False, width: int | None = None) -> Console:
    """A console for the output of commands. Nothing that it prints controls the terminal, or hides text."""
    made = Console(stderr=stderr, width=width)
    made.push_render_hook(_PlainOutput())
    return made


out = console(width=None if sys.stdout.isatty() else WIDE)
err = console(stderr=True, width=None if sys.stderr.isatty() else WIDE)


def fail(message: str) -> None:
    """Print an error to standard error."""
    err.print(f"[bold red]postern:[/] {escape(plain(message, lines=True))}", highlight=False, soft_wrap=True)


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


def print_wide(table: Table) -> None:
    """Print a table of many columns with one line per row: a narrow terminal wraps a long line better than ten
    cells."""
    console(width=max(out.width, WIDE)).print(table, crop=False)


def workflow_table(snapshot: Snapshot, server_url: str, *, ids: bool = False) -> Table:
    """The workflows with method, URL and access mode. Anonymous ones are marked. `ids` shows the object ids of those on
    a list."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("workflow", "method", "URL", "access"):
        table.add_column(column, overflow="fold")
    for name, trigger in sorted(snapshot.triggers.items()):
        workflow = trigger.workflow
        url = f"{server_url}/triggers/{name}{workflow.path}"
        access = _access(workflow.access, trigger.policy if ids else None)
        if workflow.networks:
            access += f" from {', '.join(workflow.networks)}"
        table.add_row(name, " ".join(workflow.methods), url, access)
    return table


def schedule_table(snapshot: Snapshot, now: float) -> Table | None:
    """The workflows that start by the clock, with their next times; None if there are none."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("workflow", "schedule", "next times"):
        table.add_column(column, overflow="fold")
    for name, trigger in sorted(snapshot.triggers.items()):
        if (schedule := trigger.workflow.schedule) is not None:
            times = [at.strftime("%Y-%m-%d %H:%M %Z") for at in schedule.next_times(now, NEXT_TIMES)]
            table.add_row(name, schedule.text, ", ".join(times))
    return table if table.row_count else None


def checks_table(answers: Iterable[Check], failed: Check | None) -> Table:
    """Checks of a token or caller, one line each. The first failed one is marked."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "check", "expected", "found"):
        table.add_column(column, overflow="fold")
    for check in answers:
        mark = Text("ok", "green") if check.passed else Text("FAILED" if check is failed else "failed", "bold red")
        table.add_row(mark, Text(plain(check.name)), _value(check.expected), _value(check.found))
    return table


def print_faults(faults: Iterable[Fault]) -> None:
    """Print each fault with its place, cause and fix."""
    for fault in faults:
        place = plain(f"{fault.file}:{fault.line}" if fault.line else fault.file)
        err.print(
            f"[bold red]fault[/] {escape(place)}\n  {escape(plain(fault.cause))}", highlight=False, soft_wrap=True
        )
        if fault.fix:
            err.print(f"  [green]fix:[/] {escape(plain(fault.fix))}", highlight=False, soft_wrap=True)
        if fault.still_serving:
            names = ", ".join(fault.still_serving)
            err.print(f"  the last version that worked still serves {escape(names)}", highlight=False, soft_wrap=True)


def describe(access: Access, policy: Policy | None = None) -> str:
    """An access mode in one line: `specific_users(lisa, roles=Clerk)`. With its policy here, `lisa=OBJECT-ID`."""
    if isinstance(access, Anonymous):
        by = access.signed_by
        return "anonymous(signed)" if access.signed else f"anonymous(signed_by={by.sender})" if by else "anonymous"
    parts = list(access.people) if isinstance(access, SpecificUsers) else []
    if policy is not None and policy.people is not None:
        parts = [f"{person.name}={person.object_id}" if person.name else person.object_id for person in policy.people]
    for option in ("scopes", "roles", "clients", "audiences", "tenants"):
        values = getattr(access, option)
        if values:
            parts.append(f"{option}={'|'.join(values)}")
    parts += [f"auth_context={access.auth_context}"] if access.auth_context else []
    parts += [f"{option}=no" for option in ("apps", "guests") if not getattr(access, option)]
    return f"{access.mode}({', '.join(parts)})" if parts else access.mode


def _access(access: Access, policy: Policy | None) -> str:
    text = escape(describe(access, policy))
    return f"[yellow]{text} (open to anyone)[/]" if access == Anonymous() else text


def _value(value: Any) -> Text:
    if value is None:
        return Text()
    if isinstance(value, frozenset | set | tuple | list):
        return Text("\n".join(sorted(map(plain, value))))
    return Text(plain(value))
