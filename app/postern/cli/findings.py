"""`postern findings`: odd activity of callers, for operators."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from postern.access import GUID
from postern.cli.api_client import (
    AsOperator,
    Json,
    Limit,
    Record,
    Since,
    TokenFile,
    Until,
    connected_api,
    records_of,
    say_more,
    token_source,
)
from postern.cli.runs import ListByDefault
from postern.cli.terminal import err, out, plain, print_json, print_wide, program, stop
from postern.cli.time_arguments import to_the_millisecond, to_the_second, window
from postern.cli.workspace import Workspace, workspace

commands = typer.Typer(
    cls=ListByDefault,
    help="Odd activity of callers, for operators: list, show ID, acknowledge ID. Without a subcommand, same as list.",
    no_args_is_help=False,
)

Id = Annotated[str, typer.Argument(metavar="ID", help="The finding's id, as in the list.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(commands, name="findings")


@commands.command(name="list")
def list_findings(
    kind: Annotated[str | None, typer.Option(help="Only this kind, such as new-network.")] = None,
    state: Annotated[str | None, typer.Option(help="Only this state: new, acknowledged or revoked.")] = None,
    caller: Annotated[
        str | None, typer.Option(metavar="WHO", help="Only this object id, client id, or name in the table people.")
    ] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 20,
    as_json: Json = False,
    who: AsOperator = None,
    token_file: TokenFile = None,
) -> None:
    """List the findings, newest first. There is one for each caller, kind and day."""
    here = workspace()
    query = {"kind": kind, "state": state, "caller": here.object_id(caller), **window(since, until)}
    found, more = asyncio.run(records_of(here, who, token_file, "findings", query, limit, time="last_at"))
    if as_json:
        print_json({"findings": found, "next": more})
        return
    if not found:
        err.print("No matching findings. A finding is listed within 5 seconds.")
        return
    print_wide(_table(found))
    if more:
        say_more(limit)


@commands.command()
def show(finding_id: Id, as_json: Json = False, who: AsOperator = None, token_file: TokenFile = None) -> None:
    """Show one finding with its evidence."""
    found = asyncio.run(_request(workspace(), who, token_file, "GET", _path(finding_id)))
    if as_json:
        print_json(found)
        return
    for name, value in _facts(found):
        out.print(Text.assemble((f"{name:<14}", "bold"), value), soft_wrap=True)
    err.print(
        f"`{program()} findings acknowledge {plain(found.get('id'))}` notes that it is nothing; `{program()} revoke` "
        "ends access.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


@commands.command()
def acknowledge(finding_id: Id, as_json: Json = False, who: AsOperator = None, token_file: TokenFile = None) -> None:
    """Note that you have looked at a finding, and it needs nothing more."""
    found = asyncio.run(_request(workspace(), who, token_file, "POST", f"{_path(finding_id)}/acknowledge"))
    if as_json:
        print_json(found)
        return
    by = found.get("state_by")
    name = plain(by.get("name") or by.get("object_id")) if isinstance(by, Mapping) else ""
    line = f"{plain(found.get('state'))} by {name} at {to_the_second(found.get('state_at'))}."
    err.print(line[:1].upper() + line[1:], markup=False, highlight=False, soft_wrap=True)


async def _request(here: Workspace, who: str | None, token_file: str | None, method: str, path: str) -> Record:
    async with connected_api(here, token_source(here, who, token_file)) as api:
        return (await api.request(method, path))[1]


def _path(given: str) -> str:
    found = given.strip().lower()
    if not GUID.fullmatch(found):
        stop(f"{given!r} is not the id of a finding: `{program()} findings` lists them.", 2)
    return f"/findings/{found}"


def _table(found: list[Record]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("last (UTC)", no_wrap=True)
    table.add_column("count", justify="right", no_wrap=True)
    for column in ("state", "kind", "who", "workflow", "address"):
        table.add_column(column, overflow="fold")
    table.add_column("finding", no_wrap=True)
    for record in found:
        cells = [record.get("count"), record.get("state"), record.get("kind"), _who(record)]
        cells += [record.get("workflow"), record.get("client_address"), record.get("id")]
        table.add_row(Text(to_the_second(record.get("last_at"))), *(Text(_text(cell)) for cell in cells))
    return table


def _facts(found: Record) -> Iterator[tuple[str, str]]:
    first, last = (to_the_millisecond(found.get(name)) for name in ("first_at", "last_at"))
    yield "finding", _text(found.get("id"))
    yield "kind", f"{_text(found.get('kind'))}: {_text(found.get('title'))}"
    yield "state", _text(found.get("state"))
    yield "who", _who(found)
    for name in ("token_id", "client_address", "workflow"):
        if found.get(name):
            yield name.replace("client_", "").replace("_", " "), _text(found[name])
    yield "when", first if first == last else f"{first} to {last}"
    yield "count", _text(found.get("count"))
    evidence = found.get("evidence")
    for name, values in evidence.items() if isinstance(evidence, Mapping) else ():
        for value in values if isinstance(values, list) else ():
            yield plain(name), _text(value)


def _who(found: Record) -> str:
    caller = found.get("caller")
    if not isinstance(caller, Mapping):
        return _text(found.get("subject"))
    parts = [_text(caller[name]) for name in ("name", "object_id") if caller.get(name)]
    if caller.get("client_id"):
        parts.append(f"client {_text(caller['client_id'])}")
    return ", ".join(parts)


def _text(value: object) -> str:
    return "" if value is None else plain(value)
