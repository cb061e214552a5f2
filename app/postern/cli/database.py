"""`postern database`: the database of the records, its contents, its migrations, and its backups."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine

from postern.cli.api_client import Json
from postern.cli.backups import backup, restore
from postern.cli.open_database import (
    database_url,
    named,
    opened,
    refuse_new_servers,
    registered_servers,
    reported_faults,
    running_servers,
)
from postern.cli.runs import ListByDefault
from postern.cli.terminal import err, out, plain, print_json, program, stop
from postern.journal.database.contents import Contents, contents, shown, sqlite_path
from postern.journal.database.engine import migrate, open_engine, revision_of
from postern.journal.database.revisions import HEAD, MIGRATIONS, is_newer
from postern.journal.server_processes import ServerProcess

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


class ShowByDefault(ListByDefault):
    """`postern database`, alone or with the options of show, runs show."""

    left_out = "show"


commands = typer.Typer(
    cls=ShowByDefault,
    help="The database of the records: show, upgrade, downgrade, backup, restore. Without a subcommand, same as show.",
    no_args_is_help=False,
)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    commands.command()(backup)
    commands.command()(restore)
    app.add_typer(commands, name="database")


@commands.command()
def show(as_json: Json = False) -> None:
    """Show the database's address, its migration and this program's, its contents, and the running servers."""
    url = database_url()
    path = sqlite_path(url)
    if path is not None and not path.exists():
        _show(url, None, [], as_json=as_json)
        return
    with reported_faults(url), opened(url) as engine:
        with engine.begin() as connection:
            found = contents(connection, url)
        _show(url, found, running_servers(engine), as_json=as_json)


@commands.command()
def upgrade() -> None:
    """Upgrade the tables to this program's migration, as a server does when it starts.

    Servers of the previous release may run meanwhile: migrations only add.
    """
    url = database_url()
    with reported_faults(url):
        engine = open_engine(url, writing=True)
        try:
            found = _upgrade(engine)
        finally:
            engine.dispose()
    if found == HEAD:
        err.print(f"{plain(shown(url))} already has migration {HEAD}.", markup=False, highlight=False)
    elif is_newer(found):
        text = (
            f"{plain(shown(url))} has migration {found} of a newer Postern, which this release can use: nothing to do."
        )
        err.print(text, markup=False, highlight=False)
    else:
        text = f"{plain(shown(url))}: upgraded from {found or 'no tables'} to migration {HEAD}."
        err.print(text, markup=False, highlight=False)


@commands.command()
def downgrade(
    to: Annotated[
        str | None, typer.Option("--to", metavar="MIGRATION", help="Revert to this migration, as 0001.")
    ] = None,
    one: Annotated[bool, typer.Option("--one", help="Revert the last migration.")] = False,
    yes: Yes = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also while servers run; they fail until they are stopped.")
    ] = False,
) -> None:
    """Revert migrations, for the previous release. Lists the data that will be lost first, with the number of rows.

    Back up first, and stop the servers: a server of this release upgrades the tables again when it starts.
    """
    from postern.journal.database import downgrade

    if (to is None) == (not one):
        stop(f"give --one, or --to with one of {', '.join(MIGRATIONS[:-1])}.", 2)
    url = database_url()
    with reported_faults(url), opened(url, writing=True) as engine:
        with engine.begin() as connection:
            found = revision_of(connection)
            goal = downgrade.target(found, to)
            lost = downgrade.losses(connection, found, goal)
            unended = downgrade.unended_runs(connection, lost)
        seen = registered_servers(engine)
        if not force:
            refuse_running_servers(engine, "--force continues nevertheless")
        err.print(f"{plain(shown(url))}: from migration {found} back to {goal}.", markup=False, highlight=False)
        for loss in lost:
            err.print(Text.assemble(("lost: ", "bold red"), str(loss)), highlight=False)
        if unended:
            line = f"{unended:,} durable runs that have not ended, which are never completed"
            err.print(Text.assemble(("lost: ", "bold red"), line), highlight=False)
        if not lost:
            err.print("No data will be lost.", highlight=False)
        if not yes:
            typer.confirm("Downgrade?", abort=True, err=True)
        if not force:
            refuse_new_servers(seen, registered_servers(engine))
        downgrade.downgrade(engine, goal, _print_migration)
    err.print(f"The tables have migration {goal}: now start the previous release.", highlight=False)


def refuse_running_servers(engine: Engine, hint: str) -> None:
    """End the command if a server runs on this database."""
    servers = running_servers(engine)
    if servers:
        stop(f"servers run on this database: {named(servers)}. Stop them first; {hint}.")


def _upgrade(engine: Engine) -> str:
    with err.status("Upgrading the tables to this program's migration …"):
        return migrate(engine, _print_migration)


def _print_migration(migration: str) -> None:
    err.print(f"migration {migration}", markup=False, highlight=False)


def _show(url: str, found: Contents | None, servers: list[ServerProcess], *, as_json: bool) -> None:
    document = _document(url, found, servers)
    if as_json:
        print_json(document)
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(document, servers):
        table.add_row(name, Text(plain(value)))
    out.print(table)
    if document["state"] == "older":
        err.print(
            f"A server upgrades it to {HEAD} when it starts. To upgrade it now: `{program()} database upgrade`.",
            markup=False,
        )


def _document(url: str, found: Contents | None, servers: list[ServerProcess]) -> dict[str, Any]:
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
            {"id": each.id, "machine": each.machine, "process": each.process, "started_at": _moment(each.started_at)}
            for each in servers
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


def _rows(document: dict[str, Any], servers: list[ServerProcess]) -> list[tuple[str, str]]:
    migration = document["migration"] or "no tables yet"
    return [
        ("database", document["database"]),
        ("kind", document["kind"]),
        ("migration", f"{migration} (this program's is {document['wanted']}): {document['state']}"),
        ("size", f"{document['size_bytes'] / 1024**2:,.1f} MiB"),
        ("runs", f"{document['runs']:,}"),
        ("oldest run", document["oldest_run"] or ""),
        ("newest run", document["newest_run"] or ""),
        ("refusals", f"{document['refusals']:,}"),
        ("running servers", named(servers) or "none"),
    ]


def _moment(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
