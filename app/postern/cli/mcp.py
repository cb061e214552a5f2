"""`postern mcp`: the tools that an agent gets at /mcp. It needs no package of the Model Context Protocol."""

import asyncio
from typing import Annotated, Any

import typer

from postern.cli.api_client import As, Json, TokenFile, check_secrecy, given_token, others_could_read
from postern.cli.columns import Cell, print_columns
from postern.cli.runs import ListByDefault
from postern.cli.terminal import err, plain, print_json, stop
from postern.cli.workspace import OPERATOR, Workspace, workspace
from postern.http_client import AsyncClient, http_client

commands = typer.Typer(
    cls=ListByDefault,
    help=(
        "The tools that an agent gets at /mcp with a caller's token: list, check URL. Without a subcommand, same as "
        "list."
    ),
    no_args_is_help=False,
)

Url = Annotated[
    str | None,
    typer.Argument(metavar="[URL]", help="The endpoint, as https://flows.example.com/mcp. Default: this server's."),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(commands, name="mcp")


@commands.command(name="list")
def list_tools(who: As = None, token_file: TokenFile = None, as_json: Json = False) -> None:
    """List the tools that this caller gets, as an agent with the caller's token sees them."""
    from postern.mcp.check import NotListed, tools_at

    here = workspace()
    url = f"{here.server_url}/mcp"
    token = _token(here, url, who, token_file, by_default=True)

    async def tools() -> list[dict[str, Any]]:
        async with _client(here) as client:
            return await tools_at(client, url, token)

    try:
        found = asyncio.run(tools())
    except NotListed as why:
        stop(f"{plain(why.detail).rstrip('.')}. {plain(why.fix)}.")
    if as_json:
        print_json({"tools": found})
        return
    if not found:
        err.print("This caller gets no tool: `tool=True` at a workflow makes one, and `access=` says who gets it.")
        return
    print_columns(("tool", "hints", "arguments", "description"), [_row(each) for each in found], stderr=False)


@commands.command()
def check(url: Url = None, who: As = None, token_file: TokenFile = None) -> None:
    """Check each stage between a client and its tools: challenge, metadata, sign-in, list. Exit code 1 if one failed.

    The list needs a token. No token is shown.
    """
    from postern.mcp.check import check as every

    here = workspace()
    asked = url or f"{here.server_url}/mcp"
    token = _token(here, asked, who, token_file, by_default=url is None)

    async def stages() -> bool:
        well = True
        async with _client(here) as client:
            async for stage in every(client, asked, token):
                typer.echo(plain(f"{stage.state:<8} {stage.name:<10} {stage.detail}"))
                if stage.fix:
                    typer.echo(plain(f"         fix: {stage.fix}."))
                well &= stage.state != "failed"
        return well

    raise typer.Exit(0 if asyncio.run(stages()) else 1)


def _client(here: Workspace) -> AsyncClient:
    return http_client(here.settings.ca_bundle, proxy=here.settings.way_out)


def _token(here: Workspace, url: str, who: str | None, token_file: str | None, *, by_default: bool) -> str | None:
    """The token to send, None for none. A token of the local tenant goes to its own server unless it is named."""
    if by_default and here.local and token_file is None and not others_could_read(url):
        who = who or OPERATOR
    token = given_token(here, who, token_file)
    if token:
        check_secrecy(url)
    return token


def _row(tool: dict[str, Any]) -> list[Cell]:
    hints = tool.get("annotations")
    hints = hints if isinstance(hints, dict) else {}
    said = "read-only" if hints.get("readOnlyHint") else "destructive" if hints.get("destructiveHint") else "adds"
    schema = tool.get("inputSchema")
    members = schema.get("properties") if isinstance(schema, dict) else None
    lines = str(tool.get("description") or "").strip().splitlines() or [""]
    arguments = ", ".join(map(str, members)) if isinstance(members, dict) else ""
    return [str(tool.get("name")), said, arguments, lines[0]]
