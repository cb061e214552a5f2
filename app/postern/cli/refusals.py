"""`postern refusals`, and the refusal that `postern explain REQUEST_ID` shows. A refusal is the record of rejected
requests."""

import asyncio
from collections.abc import Mapping
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from postern.cli.api_client import (
    AsOperator,
    Json,
    Limit,
    Listing,
    Record,
    Since,
    TokenFile,
    Until,
    connected_api,
    records_of,
    say_more,
    token_source,
)
from postern.cli.checks_table import checks_table
from postern.cli.records import through
from postern.cli.run_options import Via
from postern.cli.terminal import err, fail, out, plain, print_json, print_wide
from postern.cli.time_arguments import to_the_millisecond, to_the_second, window
from postern.cli.workspace import Workspace, workspace
from postern.journal.refusal import recorded_checks

NOT_RECORDED = 3
"""The exit code if no refusal has this request id."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(refusals)


def refusals(
    workflow: Annotated[
        str | None, typer.Option("--workflow", "-w", metavar="NAME", help="Only this workflow.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Only this reason: the check that failed.")] = None,
    address: Annotated[str | None, typer.Option(help="Only from this client address.")] = None,
    via: Via = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 20,
    as_json: Json = False,
    who: AsOperator = None,
    token_file: TokenFile = None,
) -> None:
    """List the rejected requests, for operators. Requests with the same reason, address and workflow share one line.
    `postern explain REQUEST_ID` shows the checks."""
    here = workspace()
    query = {"workflow": workflow, "reason": reason, "address": address, "via": via, **window(since, until)}
    found, more = asyncio.run(records_of(here, who, token_file, "refusals", query, limit, time="first_at"))
    if as_json:
        print_json({"refusals": found, "next": more})
        return
    if not found:
        err.print("No matching refusals. A rejected request is listed about a second later.")
        return
    print_wide(_table(found))
    if more:
        say_more(limit)


def explain_refusal(here: Workspace, request_id: str, who: str | None, token_file: str | None) -> None:
    """Show the checks of a rejected request. Exits with 1, with 3 if it is not recorded, and with 2 if the record
    cannot be fetched."""
    refusal = asyncio.run(_find(here, request_id, who, token_file))
    if refusal is None:
        fail(
            f"no refusal is recorded for request {request_id}. The request may not have been rejected. Of many similar "
            "requests only the first ids are kept. Records older than POSTERN_RETENTION_DAYS "
            f"({here.settings.retention_days}) are deleted."
        )
        raise typer.Exit(NOT_RECORDED)
    results = recorded_checks(refusal.get("checks") or [])
    failed = next((check for check in results if not check.passed), None)
    if results:
        out.print(checks_table(results, failed))
    for name, value in _facts(refusal):
        out.print(Text.assemble((f"{name:<18}", "bold"), value), soft_wrap=True)
    why = f"the check {failed.name!r} is the first that fails" if failed else f"{refusal.get('reason')}"
    verdict = (
        f"{refusal.get('workflow') or 'The server'} rejected it with {refusal.get('status')} {refusal.get('code')}"
    )
    err.print(Text.assemble((plain(verdict), "bold red"), f": {plain(why)}."), soft_wrap=True)
    if failed is not None and failed.hint:
        err.print(plain(failed.hint) + ".", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1)


async def _find(here: Workspace, request_id: str, who: str | None, token_file: str | None) -> Record | None:
    async with connected_api(here, token_source(here, who, token_file), exit_code=2) as api:
        listing = Listing(api, "refusals", {"request_id": request_id}, 1)
        return next(iter([record async for page in listing for record in page]), None)


def _table(found: list[Record]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("last (UTC)", no_wrap=True)
    table.add_column("count", justify="right", no_wrap=True)
    for column in ("code", "reason", "workflow", "address", "claimed identity"):
        table.add_column(column, overflow="fold")
    table.add_column("request", no_wrap=True)
    for record in found:
        cells = [record.get(name) for name in ("count", "code", "reason", "workflow", "client_address")]
        texts = [to_the_second(record.get("last_at")), *map(_text, cells), _claimed(record), _text(record.get("id"))]
        table.add_row(*map(Text, texts))
    return table


def _facts(refusal: Record) -> list[tuple[str, str]]:
    first, last = (to_the_millisecond(refusal.get(name)) for name in ("first_at", "last_at"))
    count = refusal.get("count")
    times = "once" if count == 1 else f"{_text(count)} times"
    return [
        ("when", first if first == last else f"{first} to {last}"),
        ("from", _text(refusal.get("client_address"))),
        ("how often", times),
        ("claimed identity", _claimed(refusal)),
        *through(refusal, (refusal.get("claimed") or {}).get("agent")),
    ]


def _claimed(refusal: Record) -> str:
    """The identity that the token claimed, marked if it is not verified."""
    claimed = refusal.get("claimed")
    if not isinstance(claimed, Mapping):
        return "none"
    parts = [_text(claimed[name]) for name in ("name", "object_id") if claimed.get(name)]
    if claimed.get("client_id"):
        parts.append(f"client {_text(claimed['client_id'])}")
    if claimed.get("tenant_id") and not parts:
        parts.append(f"tenant {_text(claimed['tenant_id'])}")
    if not parts:
        return "none"
    return ", ".join(parts) if claimed.get("verified") is True else f"{', '.join(parts)} (unverified)"


def _text(value: object) -> str:
    return "" if value is None else plain(value)
