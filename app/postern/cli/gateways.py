"""`postern gateways`: the gateways to private networks with their agents, and the test of an entry by a gateway, both
in the server, to which the agents are connected."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import quote

import typer
from rich.table import Table
from rich.text import Text

from postern.cli.api_client import AsOperator, Json, Record, TokenFile, connected_api, token_source
from postern.cli.terminal import err, plain, print_json, print_wide
from postern.cli.time_arguments import to_the_second
from postern.cli.workspace import Workspace, workspace
from postern.connections.stage import Stage


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(gateways)


def gateways(as_json: Json = False, who: AsOperator = None, token_file: TokenFile = None) -> None:
    """List the gateways to private networks with their agents, for operators. Exit code 1 if one has no agent.

    It shows what one server process sees: an agent has a link to each. `reaches` says how many of the server processes
    an agent reaches. If that stays below their number, a balancer in between always leads it to the same ones.
    """
    found = asyncio.run(_document(workspace(), who, token_file))
    rows = _list(found.get("gateways"))
    if as_json:
        print_json(found)
    elif rows:
        print_wide(_table(rows))
        for row in rows:
            _say_more(row)
    else:
        err.print("postern.toml has no [gateways.NAME].", markup=False, highlight=False)
    raise typer.Exit(0 if all(_list(row.get("agents")) for row in rows) else 1)


async def stages_in_server(
    here: Workspace, entry: str, who: str | None, token_file: str | None
) -> AsyncIterator[Stage]:
    """The stages of the test of this entry in the server, to which agents are connected. An operator may test."""
    async with connected_api(here, token_source(here, who, token_file)) as api:
        _, found = await api.request("POST", f"/connections/{quote(entry, safe='')}/test")
    for each in _list(found.get("stages")):
        texts = [plain(each.get(name) or "") for name in ("name", "detail", "fix")]
        yield Stage(texts[0], each.get("passed") is True, texts[1], texts[2])


async def _document(here: Workspace, who: str | None, token_file: str | None) -> Record:
    async with connected_api(here, token_source(here, who, token_file)) as api:
        return (await api.request("GET", "/gateways"))[1]


def _table(rows: list[Record]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("gateway", "agent", "version", "since (UTC)", "reaches", "tunnels", "state"):
        table.add_column(column, overflow="fold")
    for row in rows:
        agents = _list(row.get("agents"))
        for agent in agents:
            table.add_row(*(Text(cell) for cell in (plain(row.get("name")), *_cells(agent))))
        if not agents:
            table.add_row(Text(plain(row.get("name"))), *([Text("")] * 5), Text("no agent", "red"))
    return table


def _cells(agent: Record) -> tuple[str, ...]:
    nodes, there = (len(_texts(agent.get(name))) for name in ("nodes", "all_nodes"))
    return (
        plain(agent.get("name")),
        plain(agent.get("version") or ""),
        to_the_second(agent.get("since")),
        f"{nodes} of {there}" if there else "",
        plain(agent.get("tunnels") or 0),
        "stopping" if agent.get("draining") else "connected",
    )


def _say_more(row: Record) -> None:
    """What one gateway's line does not show: which agent was there last, and the last errors."""
    lines = [row["last"]] if row.get("last") and not _list(row.get("agents")) else []
    lines += [f"last error: {row['error']}"] if row.get("error") else []
    lines += [
        f"{plain(each.get('name'))}: last error: {each['error']}"
        for each in _list(row.get("agents"))
        if each.get("error")
    ]
    for line in lines:
        err.print(Text(f"{plain(row.get('name'))}: {plain(line)}"), soft_wrap=True)


def _list(value: object) -> list[Record]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _texts(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
