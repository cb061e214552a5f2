"""`postern refusals`, and the refusal that `postern explain REQUEST_ID` shows."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from postern.access import Check
from postern.cli.api_client import (
    AsOperator,
    Json,
    Limit,
    Listing,
    Record,
    Since,
    TokenFile,
    Until,
    asking,
    tokens_to_ask_with,
)
from postern.cli.terminal import checks_table, err, fail, out, plain, print_json, print_wide
from postern.cli.time_arguments import to_the_millisecond, to_the_second, window
from postern.cli.workspace import Workspace, workspace

NOT_ON_RECORD = 3
"""The exit code where no refusal has this request id."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(refusals)


def refusals(
    workflow: Annotated[str | None, typer.Option("--workflow", "-w", metavar="NAME", help="At this door only.")] = None,
    reason: Annotated[str | None, typer.Option(help="For this reason only: the check that failed.")] = None,
    address: Annotated[str | None, typer.Option(help="From this address only.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 20,
    as_json: Json = False,
    who: AsOperator = None,
    token_file: TokenFile = None,
) -> None:
    """List the requests that were turned away, for operators. Those of one reason, address and workflow stand in one
    line; `postern explain REQUEST_ID` shows its checks."""
    here = workspace()
    query = {"workflow": workflow, "reason": reason, "address": address, **window(since, until)}
    found, more = asyncio.run(_list(here, who, token_file, query, limit))
    if as_json:
        print_json({"refusals": found, "next": more})
        return
    if not found:
        err.print("No refusal on record fits. One of this moment is there a second later.")
        return
    print_wide(_table(found))
    if more:
        err.print(f"There are more: --limit shows more than {limit}.", style="dim", highlight=False)


def explain_refusal(here: Workspace, request_id: str, who: str | None, token_file: str | None) -> None:
    """Show the checks of a request that was refused. Exits with 1, with 3 where it is not on record, and with 2 where
    the record cannot be had."""
    refusal = asyncio.run(_find(here, request_id, who, token_file))
    if refusal is None:
        fail(
            f"no refusal of request {request_id} is on record. It may not have been refused; of many alike only the "
            f"first ids are kept; and records older than POSTERN_RETENTION_DAYS ({here.settings.retention_days}) are "
            "gone."
        )
        raise typer.Exit(NOT_ON_RECORD)
    answers = [_check(check) for check in refusal.get("checks") or [] if isinstance(check, Mapping)]
    failed = next((check for check in answers if not check.passed), None)
    if answers:
        out.print(checks_table(answers, failed))
    for name, value in _facts(refusal):
        out.print(Text.assemble((f"{name:<11}", "bold"), value), soft_wrap=True)
    why = f"the check {failed.name!r} is the first that fails" if failed else f"{refusal.get('reason')}"
    said = f"{refusal.get('workflow') or 'The server'} refused it with {refusal.get('status')} {refusal.get('code')}"
    err.print(Text.assemble((plain(said), "bold red"), f": {plain(why)}."), soft_wrap=True)
    raise typer.Exit(1)


async def _list(
    here: Workspace, who: str | None, token_file: str | None, query: dict[str, str | None], limit: int
) -> tuple[list[Record], str | None]:
    async with asking(here, tokens_to_ask_with(here, who, token_file)) as api:
        listing = Listing(api, "refusals", query, limit, time="first_at")
        return [record async for page in listing for record in page], listing.next


async def _find(here: Workspace, request_id: str, who: str | None, token_file: str | None) -> Record | None:
    async with asking(here, tokens_to_ask_with(here, who, token_file), exit_code=2) as api:
        listing = Listing(api, "refusals", {"request_id": request_id}, 1)
        return next(iter([record async for page in listing for record in page]), None)


def _table(found: list[Record]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("last (UTC)", no_wrap=True)
    table.add_column("count", justify="right", no_wrap=True)
    for column in ("code", "reason", "workflow", "address", "claimed"):
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
    often = "once" if count == 1 else f"{_text(count)} times"
    return [
        ("when", first if first == last else f"{first} to {last}"),
        ("from", _text(refusal.get("client_address"))),
        ("how often", often),
        ("claimed", _claimed(refusal)),
    ]


def _claimed(refusal: Record) -> str:
    """Who the token named: an id and, where that is not proved, a mark."""
    claimed = refusal.get("claimed")
    if not isinstance(claimed, Mapping):
        return "nobody"
    parts = [_text(claimed[name]) for name in ("name", "object_id") if claimed.get(name)]
    if claimed.get("client_id"):
        parts.append(f"client {_text(claimed['client_id'])}")
    if claimed.get("tenant_id") and not parts:
        parts.append(f"tenant {_text(claimed['tenant_id'])}")
    if not parts:
        return "nobody"
    return ", ".join(parts) if claimed.get("verified") is True else f"{', '.join(parts)} (unverified)"


def _check(check: Mapping[str, Any]) -> Check:
    return Check(str(check.get("name")), check.get("passed") is True, check.get("expected"), check.get("found"))


def _text(value: object) -> str:
    return "" if value is None else plain(value)
