"""`postern database`: where runs are recorded, what is in it, and its tables from release to release."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine

from postern.cli.api_client import Json
from postern.cli.backups import backup, restore
from postern.cli.open_database import database_url, living_on, named, on_record, opened, refuse_newcomers, told
from postern.cli.runs import ListByDefault
from postern.cli.terminal import err, out, plain, print_json, program, stop
from postern.journal.database.contents import Contents, contents, shown, sqlite_path
from postern.journal.database.engine import migrate, open_engine, revision_of
from postern.journal.database.revisions import HEAD, MIGRATIONS, is_newer
from postern.journal.server_processes import ServerProcess

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


class ShowByDefault(ListByDefault):
    """`postern database` shows, also when it is followed by the options of show."""

    left_out = "show"


commands = typer.Typer(
    cls=ShowByDefault,
    help="Where runs are recorded: show, upgrade, downgrade, backup, restore. Alone, it shows, with the options of "
    "show.",
    no_args_is_help=False,
)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    commands.command()(backup)
    commands.command()(restore)
    app.add_typer(commands, name="database")


@commands.command()
def show(as_json: Json = False) -> None:
    """Show where the database is, its migration and the one that this program wants, what is in it, and who serves."""
    url = database_url()
    path = sqlite_path(url)
    if path is not None and not path.exists():
        _show(url, None, [], as_json=as_json)
        return
    with told(url), opened(url) as engine:
        with engine.begin() as connection:
            found = contents(connection, url)
        _show(url, found, living_on(engine), as_json=as_json)


@commands.command()
def upgrade() -> None:
    """Bring the tables to this program's migration, as a server does when it starts.

    It may be done while servers of the release before run: migrations only add.
    """
    url = database_url()
    with told(url):
        engine = open_engine(url, writing=True)
        try:
            found = _upgrade(engine)
        finally:
            engine.dispose()
    if found == HEAD:
        err.print(f"{plain(shown(url))} has migration {HEAD} already.", markup=False, highlight=False)
    elif is_newer(found):
        text = f"{plain(shown(url))} has migration {found} of a newer Postern, on which this one works: nothing to do."
        err.print(text, markup=False, highlight=False)
    else:
        text = f"{plain(shown(url))}: from {found or 'no tables'} to migration {HEAD}."
        err.print(text, markup=False, highlight=False)


@commands.command()
def downgrade(
    to: Annotated[str | None, typer.Option("--to", metavar="MIGRATION", help="Back to this one, as 0001.")] = None,
    one: Annotated[bool, typer.Option("--one", help="Back to the one before.")] = False,
    yes: Yes = False,
    force: Annotated[bool, typer.Option("--force", help="Although servers run; they fail until they end.")] = False,
) -> None:
    """Take migrations back, for the release before. What is lost is said first, with the number of rows.

    Back up first, and stop the servers: one of this release would bring the tables up again when it starts.
    """
    from postern.journal.database import downgrade

    if (to is None) == (not one):
        stop(f"say how far back: --one, or --to with one of {', '.join(MIGRATIONS[:-1])}.", 2)
    url = database_url()
    with told(url), opened(url, writing=True) as engine:
        with engine.begin() as connection:
            found = revision_of(connection)
            goal = downgrade.target(found, to)
            lost = downgrade.losses(connection, found, goal)
        seen = on_record(engine)
        if not force:
            none_alive(engine, "--force goes on all the same")
        err.print(f"{plain(shown(url))}: from migration {found} back to {goal}.", markup=False, highlight=False)
        for loss in lost:
            err.print(Text.assemble(("lost: ", "bold red"), str(loss)), highlight=False)
        if not lost:
            err.print("Nothing is lost.", highlight=False)
        if not yes:
            typer.confirm("Go back?", abort=True, err=True)
        if not force:
            refuse_newcomers(seen, on_record(engine))
        downgrade.downgrade(engine, goal, _say)
    err.print(f"The tables have migration {goal}: start the release before now.", highlight=False)


def none_alive(engine: Engine, besides: str) -> None:
    """End the command where a server runs on this database."""
    nodes = living_on(engine)
    if nodes:
        stop(f"servers run on this database: {named(nodes)}. Stop them first; {besides}.")


def _upgrade(engine: Engine) -> str:
    with err.status("Bringing the tables to this program's migration …"):
        return migrate(engine, _say)


def _say(migration: str) -> None:
    err.print(f"migration {migration}", markup=False, highlight=False)


def _show(url: str, found: Contents | None, nodes: list[ServerProcess], *, as_json: bool) -> None:
    document = _document(url, found, nodes)
    if as_json:
        print_json(document)
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(document, nodes):
        table.add_row(name, Text(plain(value)))
    out.print(table)
    if document["state"] == "older":
        err.print(
            f"A server brings it to {HEAD} when it starts; `{program()} database upgrade` does now.", markup=False
        )


def _document(url: str, found: Contents | None, nodes: list[ServerProcess]) -> dict[str, Any]:
    contents = asdict(found) if found else {"size": 0, "runs": 0, "refusals": 0, "oldest": None, "newest": None}
    migration = found.migration if found else ""
    return {
        "database": shown(url),
        "kind": "sqlite" if sqlite_path(url) else "postgresql",
        "state": _state(migration),
        "migration": migration or None,
        "wanted": HEAD,
        "size_bytes": contents["size"],
        "runs": contents["runs"],
        "refusals": contents["refusals"],
        "oldest_run": _moment(contents["oldest"]),
        "newest_run": _moment(contents["newest"]),
        "nodes": [
            {"id": node.id, "machine": node.machine, "process": node.process, "started_at": _moment(node.started_at)}
            for node in nodes
        ],
    }


def _state(migration: str) -> str:
    if not migration:
        return "empty"
    if migration == HEAD:
        return "current"
    if migration in MIGRATIONS:
        return "older"
    return "newer" if is_newer(migration) else "too new"


def _rows(document: dict[str, Any], nodes: list[ServerProcess]) -> list[tuple[str, str]]:
    migration = document["migration"] or "no tables yet"
    return [
        ("database", document["database"]),
        ("kind", document["kind"]),
        ("migration", f"{migration}, this program's is {document['wanted']}: {document['state']}"),
        ("size", f"{document['size_bytes'] / 1024**2:,.1f} MiB"),
        ("runs", f"{document['runs']:,}"),
        ("oldest run", document["oldest_run"] or ""),
        ("newest run", document["newest_run"] or ""),
        ("refusals", f"{document['refusals']:,}"),
        ("servers alive", named(nodes) or "none"),
    ]


def _moment(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
