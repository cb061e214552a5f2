"""`postern connections`: the outside systems that workflows may reach, and whether signing in there works."""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from postern.cli.api_client import Json, given_token
from postern.cli.grants import disconnect, in_words, link, states
from postern.cli.reseal import reseal
from postern.cli.runs import ListByDefault
from postern.cli.terminal import err, out, plain, print_json, print_wide, stop
from postern.cli.workspace import Workspace, export_local_credential, workspace
from postern.connections.stage import Stage
from postern.settings import GrantedAuth, OnBehalfOfAuth, Settings
from postern.settings.descriptions import described, entries
from postern.settings.sources import did_you_mean

if TYPE_CHECKING:
    from postern.connections.on_behalf_of.caller_token import CallerToken

NAME_WIDTH = 26

commands = typer.Typer(
    cls=ListByDefault,
    help="The outside systems that workflows may reach: list, test NAME; and of those that people connect: link, "
    "disconnect, reseal. Without a subcommand, same as list.",
    no_args_is_help=False,
)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (link, disconnect, reseal):
        commands.command()(command)
    app.add_typer(commands, name="connections")


@commands.command(name="list")
def list_connections(as_json: Json = False) -> None:
    """List the connections and triggers of postern.toml: address, authentication, scopes or audience, and secrets; and
    if people connect some of them, the states of their grants.

    Secrets are shown by their names in Key Vault. Addresses are shown without their query, which may contain a
    signature.
    """
    settings = workspace().settings
    found_states, unknown = states(settings)
    rows = []
    for entry, found in entries(settings).items():
        more = {"grants": found_states.get(entry)} if isinstance(found.auth, GrantedAuth) else {}
        rows.append(described(entry, found) | more)
    if as_json:
        print_json({"connections": rows})
    elif rows:
        print_wide(_table(rows))
        if unknown:
            err.print(
                f"The states of grants are not known: {plain(unknown)}.", style="dim", markup=False, soft_wrap=True
            )
    else:
        err.print("postern.toml has no [connections.NAME] and no [triggers.NAME].", markup=False, highlight=False)


@commands.command()
def test(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="As graph; if both tables have it, connections.graph or triggers.graph."),
    ],
    person: Annotated[
        str | None,
        typer.Option("--for", metavar="WHO", help="Whose grant: a name in the table people, or an object id."),
    ] = None,  # noqa: PT028 - a command, no test
    who: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="The caller of an entry with on_behalf_of, in the local tenant."),
    ] = None,  # noqa: PT028 - a command, no test
    token_file: Annotated[
        str | None,
        typer.Option("--token-file", metavar="FILE", help="A file with that caller's token; - is standard input."),
    ] = None,  # noqa: PT028 - a command, no test
) -> None:
    """Test an entry of postern.toml: sign in, and reach the other side. A failed stage says how to fix it.

    A connection's base address gets a GET. A trigger is not run: no request is sent to it. If each person connects the
    entry, the states are shown, of one person with --for, and no request is sent but for people of the local tenant.
    Tokens are not renewed. An entry with on_behalf_of is tested for the caller of --as or --token-file; without one, no
    token is requested. An entry with a gateway is tested in the server, by an operator: --as and --token-file say who.
    Exit code 1 if a stage fails.
    """
    from postern.cli.gateways import stages_in_server
    from postern.cli.grant_trial import granted_stages, is_granted, whose_grant
    from postern.connections.entry_trial import stages_of

    here = workspace()
    entry = entry_named(name, here.settings)
    if _is_by_gateway(entry, here.settings):
        passed = asyncio.run(show(stages_in_server(here, entry, who, token_file)))
        _conclude(here, entry, passed=passed, answered=True)
        raise typer.Exit(0 if passed else 1)
    whose = whose_grant(entry, here, person)
    if here.local is not None:
        export_local_credential(here.local)
    caller = _caller_of(entry, here, who, token_file)
    granted = is_granted(entry, here)
    shown: list[Stage] = []
    stages = granted_stages(entry, here, whose) if granted else stages_of(entry, here.settings, caller=caller)
    passed = asyncio.run(show(stages, shown))
    _conclude(here, entry, passed=passed, answered=shown[-1].name == "grant")
    raise typer.Exit(0 if passed else 1)


def _is_by_gateway(entry: str, settings: Settings) -> bool:
    """Whether agents are needed for the entry's address or its tokens. One that people connect, or that is used on
    behalf of a caller, is tested in the console then."""
    found = entries(settings)[entry]
    if found.gateway is None and getattr(found.auth, "gateway", None) is None:
        return False
    if isinstance(found.auth, GrantedAuth):
        stop(f"{entry} is connected by people, and reached by a gateway: test it at /console/connections.", 2)
    return True


def _caller_of(entry: str, here: Workspace, who: str | None, token_file: str | None) -> "CallerToken | None":
    """The caller that the options give to an entry on behalf of one. Exits with 2 if the entry is another one."""
    from postern.connections.on_behalf_of.caller_token import CallerToken

    if who is None and token_file is None:
        return None
    if not isinstance(entries(here.settings)[entry].auth, OnBehalfOfAuth):
        stop(f"--as and --token-file are for entries with on_behalf_of. Leave them out: {entry} is not one of them.", 2)
    token = given_token(here, who, token_file)
    return CallerToken(token) if token is not None else None


def entry_named(name: str, settings: Settings) -> str:
    """The full name of the entry with this name. Exits with 2 if there is none, or more than one."""
    known = entries(settings)
    if name in known:
        return name
    meant = [entry for entry in known if entry.partition(".")[2] == name]
    if len(meant) > 1:
        stop(f"{name} is the name of two entries: write {' or '.join(meant)}.", 2)
    if not meant:
        names = [entry.partition(".")[2] for entry in known]
        hint = did_you_mean(name, [*names, *known])
        there = f"It has {', '.join(known)}." if known else "It has no connection and no trigger."
        stop(f"postern.toml has no entry {name!r}. {hint if hint.endswith('?') else there}", 2)
    return meant[0]


async def show(stages: AsyncIterator[Stage], shown: list[Stage] | None = None) -> bool:
    """Print the stages as they come, up to the first that fails. Returns whether all passed. They are added to
    `shown`."""
    async for stage in stages:
        if shown is not None:
            shown.append(stage)
        mark = Text("ok    ", "green") if stage.passed else Text("FAILED", "bold red")
        line = Text.assemble(mark, "  ", plain(stage.name).ljust(NAME_WIDTH), plain(stage.detail))
        out.print(line, highlight=False, soft_wrap=True)
        if not stage.passed:
            err.print(f"  [green]fix:[/] {escape(plain(stage.fix))}.", highlight=False, soft_wrap=True)
            return False
    return True


def _conclude(here: Workspace, entry: str, *, passed: bool, answered: bool) -> None:
    if passed:
        err.print(f"[green]{entry} works.[/]", highlight=False)
        return
    err.print(f"[bold red]{entry} does not work.[/]", highlight=False)
    if here.local is not None and not answered:
        err.print("The local tenant answers only while `postern dev` runs.", markup=False, highlight=False)


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    granted = any("grants" in row for row in rows)
    for column in ("entry", "address", "auth", "for", "secrets in Key Vault", *(["grants"] if granted else [])):
        table.add_column(column, overflow="fold")
    for row in rows:
        secrets = [f"{key}={name}" for key, name in row["secrets"].items()]
        cells = [f"{row['table']}.{row['name']}", row["address"], row["auth"], *map("\n".join, (row["for"], secrets))]
        if granted:
            cells.append(in_words(row["grants"]) if "grants" in row else "")
        table.add_row(*(Text("\n".join(map(plain, cell.split("\n")))) for cell in cells))
    return table
