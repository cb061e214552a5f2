"""`postern approvals`: what durable runs wait for a person to decide."""

import asyncio
import json
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from postern.cli.api_client import (
    AsOperator,
    Json,
    Record,
    TokenFile,
    connected_api,
    record_id,
    records_of,
    say_more,
    token_source,
    wait_name_of,
)
from postern.cli.run_options import RunId
from postern.cli.runs import ListByDefault
from postern.cli.terminal import err, plain, print_json, print_wide
from postern.cli.time_arguments import to_the_second
from postern.cli.workspace import workspace

commands = typer.Typer(
    cls=ListByDefault,
    help="Decisions that durable runs wait for: list, approve ID NAME, reject ID NAME. Without a subcommand, same as "
    "list.",
    no_args_is_help=False,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The approval's name, as in the list.")]
Comment = Annotated[str, typer.Option("--comment", help="Why, for the run and its record: at most 1000 characters.")]

LONGEST = 200
"""Characters of what an approval is about that the list shows."""


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(commands, name="approvals")


@commands.command(name="list")
def list_approvals(
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The most approvals to show, oldest first.")] = 20,
    as_json: Json = False,
    who: AsOperator = None,
    token_file: TokenFile = None,
) -> None:
    """List the decisions that wait for you, oldest first."""
    found, more = asyncio.run(records_of(workspace(), who, token_file, "approvals", {}, limit, time=""))
    if as_json:
        print_json({"approvals": found, "next": more})
        return
    if not found:
        err.print("No decision waits for you.")
        return
    print_wide(_table(found))
    if any(record.get("begun_elsewhere") for record in found):
        err.print("* It is not known which person began this run.", markup=False, highlight=False)
    if more:
        say_more(limit)


@commands.command()
def approve(
    run_id: RunId, name: Name, comment: Comment = "", who: AsOperator = None, token_file: TokenFile = None
) -> None:
    """Approve what a run waits for. The first decision stands."""
    _decide(run_id, name, comment, who, token_file, approved=True)


@commands.command()
def reject(
    run_id: RunId, name: Name, comment: Comment = "", who: AsOperator = None, token_file: TokenFile = None
) -> None:
    """Reject what a run waits for. The first decision stands."""
    _decide(run_id, name, comment, who, token_file, approved=False)


def _decide(run_id: str, name: str, comment: str, who: str | None, token_file: str | None, *, approved: bool) -> None:
    path = f"/runs/{record_id(run_id)}/approvals/{wait_name_of(name)}"
    body: Record = {"approved": approved} | ({"comment": comment} if comment else {})
    here = workspace()

    async def sent() -> Record:
        async with connected_api(here, token_source(here, who, token_file)) as api:
            return (await api.request("POST", path, body=body))[1]

    found = asyncio.run(sent())
    line = f"{plain(found.get('state'))} at {to_the_second(found.get('decided_at'))}."
    err.print(line[:1].upper() + line[1:], markup=False, highlight=False)


def _table(found: list[Record]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("since (UTC)", no_wrap=True)
    table.add_column("until (UTC)", no_wrap=True)
    for column in ("workflow", "name", "about"):
        table.add_column(column, overflow="fold")
    table.add_column("run", no_wrap=True)
    for record in found:
        since, until = (to_the_second(record[name]) if record.get(name) else "" for name in ("since", "until"))
        about = "(cannot be opened now)" if record.get("data_missing") else _about(record.get("data"))
        mark = " *" if record.get("begun_elsewhere") else ""
        cells = [since, until, plain(record.get("workflow")), plain(record.get("name")) + mark, about]
        table.add_row(*map(Text, cells), Text(plain(record.get("run_id"))))
    return table


def _about(data: object) -> str:
    text = "" if data is None else plain(data if isinstance(data, str) else json.dumps(data, ensure_ascii=False))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
