"""`postern access`: who may call which workflow, why, and when they last did."""

import asyncio
import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from sqlalchemy.exc import DBAPIError

from postern.cli.api_client import Json
from postern.cli.catalog_output import print_faults
from postern.cli.open_database import opened
from postern.cli.terminal import err, out, plain, print_json, print_wide, stop
from postern.cli.workspace import Workspace, export_local_credential, workspace
from postern.errors import DatabaseFault
from postern.journal.database.engine import file_of
from postern.journal.reading.access_facts import AccessFacts, read_facts
from postern.security.review.documents import NotAReview, changes, review_csv, review_json
from postern.security.review.review import MARKS, UNUSED_DAYS, Review

COLOURS = {"anyone": "yellow", "unexpected": "bold red", "revoked": "bold red", "disabled": "red", "unknown": "red"}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="access")(access)


def access(
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, for a spreadsheet.")] = False,
    since: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Show what changed since this earlier output of --json."),
    ] = None,
) -> None:
    """List who may call which workflow, why, and when they last did. Exit code 1 if anyone may call a workflow that
    access.anonymous of postern.toml does not name.

    The folder of workflows, the settings and the database are read, so no server has to run. Names are looked up in the
    directory if postern.toml has the connection graph. A faulty module is exit code 1 too: its workflows are not
    listed.
    """
    if as_json and as_csv:
        stop("--json and --csv: choose one of them.", 2)
    earlier = _earlier(since) if since is not None else None
    here = workspace()
    snapshot = here.load()
    print_faults(snapshot.faults)
    facts, unknown = _facts(here, list(snapshot.triggers.values()))
    made = asyncio.run(_review(here, list(snapshot.triggers.values()), facts))
    document = review_json(made)
    compared = None
    if since is not None:
        try:
            compared = changes(earlier, document)
        except NotAReview as fault:
            stop(f"--since {since}: {fault}. Give it what `postern access --json` printed.", 2)
    if as_json:
        print_json(document | ({"changes": compared} if compared is not None else {}))
    elif as_csv:
        typer.echo(plain(review_csv(made).replace("\r\n", "\n"), lines=True), nl=False)
    elif compared is not None:
        _show_changes(compared)
    else:
        print_wide(_table(document["rows"], made))
    _notes(made, unknown, names=not (as_json or as_csv))
    raise typer.Exit(1 if made.unexpected or snapshot.faults else 0)


async def _review(here: Workspace, triggers: list[Any], facts: AccessFacts) -> Review:
    from postern.assembly.installation import authority
    from postern.assembly.review import reviewed
    from postern.connections.directory import look_up

    if here.local:
        export_local_credential(here.local)
    settings = here.settings
    return await reviewed(settings, triggers, facts, lambda ids: look_up(ids, settings, authority(settings)))


def _facts(here: Workspace, triggers: list[Any]) -> tuple[AccessFacts, str]:
    """What the database knows, and why it is not known, "" if it is."""
    from postern.assembly.review import anonymous_names

    url, names = here.settings.database_url, anonymous_names(triggers)
    path = file_of(url)
    if path is not None and not path.exists():
        return AccessFacts(), "there is no database yet"
    try:
        with opened(url) as engine, engine.begin() as connection:
            return read_facts(connection, time.time(), names), ""
    except DatabaseFault as fault:
        return AccessFacts(), str(fault)
    except (DBAPIError, OSError) as error:
        return AccessFacts(), f"the database of POSTERN_DATABASE_URL cannot be read: {type(error).__name__}"


def _earlier(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        stop(f"--since {path}: {error.strerror}.", 2)
    except (ValueError, RecursionError):
        stop(f"--since {path}: it is not JSON. Give it what `postern access --json` printed.", 2)


def _table(rows: list[dict[str, Any]], made: Review) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("workflow", "who", "object id", "why", "last used", "marks"):
        table.add_column(column, overflow="fold")
    for row in rows:
        why = "\n".join(map(plain, (row["why"], *row["conditions"])))
        marks = Text("\n").join(Text(mark, COLOURS.get(mark, "yellow")) for mark in row["marks"])
        who = plain(row["name"] or row["who"])
        workflow = plain(row["workflow"] or "(operator)")
        table.add_row(workflow, who, plain(row["object_id"]), Text(why), last_use(row, made.known_since), marks)
    return table


def last_use(row: dict[str, Any], known_since: float | None) -> str:
    """The day of the last use; without one, since when uses are known."""
    if row["last_used_at"]:
        return str(row["last_used_at"])[:10]
    if row["uses"] is None:
        return ""
    if known_since is None:
        return "not known"
    if row["marks"] and "unused" in row["marks"]:
        return "never"
    return f"not since {time.strftime('%Y-%m-%d', time.gmtime(known_since))}"


def _show_changes(found: dict[str, list[Any]]) -> None:
    lines = [("[green]added[/]", row, _said(row)) for row in found["added"]]
    lines += [("[red]removed[/]", row, _said(row)) for row in found["removed"]]
    lines += [("[yellow]changed[/]", each["after"], _difference(each)) for each in found["changed"]]
    for word, row, said in lines:
        who = plain(row["name"] or row["object_id"] or row["who"])
        out.print(f"{word} {escape(plain(row['workflow'] or '(operator)'))}: {escape(who)}, {escape(said)}")
    if not lines:
        err.print("Nothing changed.", highlight=False)


def _difference(change: dict[str, Any]) -> str:
    before, after = _said(change["before"]), _said(change["after"])
    return f"{before} -> {after}"


def _said(row: dict[str, Any]) -> str:
    marks = f" [{', '.join(row['marks'])}]" if row["marks"] else ""
    return plain("; ".join([row["why"], *row["conditions"]]) + marks)


def _notes(made: Review, unknown: str, *, names: bool) -> None:
    """What a reader has to know beside the rows, on standard error."""
    lines = []
    if names:
        there = {mark for row in made.rows for mark in row.marks}
        lines += [f"{mark}: {meaning}." for mark, meaning in MARKS.items() if mark in there]
    if unknown:
        lines.append(f"Uses, links and revocations are not known: {unknown}.")
    elif made.known_since is None:
        lines.append("No use was noted yet: the server notes them from its next request on.")
    elif made.known_since > made.at - UNUSED_DAYS * 86400:
        day = time.strftime("%Y-%m-%d", time.gmtime(made.known_since))
        lines.append(f"Uses are known since {day}: callers are marked as unused {UNUSED_DAYS} days after that.")
    if made.directory:
        lines.append(f"Directory: {made.directory}.")
    for line in lines:
        err.print(plain(line), style="dim", markup=False, highlight=False, soft_wrap=True)
    if made.unexpected:
        listed = ", ".join(made.unexpected)
        err.print(
            f"[bold red]Anyone may call {escape(listed)}[/]: anonymous of \\[access] in postern.toml does not name "
            f"{'it' if len(made.unexpected) == 1 else 'them'}. Add what is meant to be open, or choose another access.",
            highlight=False,
            soft_wrap=True,
        )
