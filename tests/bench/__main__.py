"""Measure: rounds of load on bare Starlette and on Postern in turn, and the ratios of their medians."""

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from postern.local_tenant import LocalTenant, serve
from tests.bench.budget import measure_budget
from tests.bench.chain import measure_chain
from tests.bench.cost import measure_cost
from tests.bench.databases import count_runs, size
from tests.bench.durable import LATER, MOST_WAITING, measure_durable, measure_sleeping
from tests.bench.flood import measure_flood
from tests.bench.load import Kind, Measured, client, rounds
from tests.bench.servers import HERE, ON_RECORD, WORKFLOW, bare, postern
from tests.bench.tools import measure_tools
from tests.ports import free_port
from tests.postgres import postgres_server

console = Console(highlight=False, width=120)


def main() -> int:
    """Print the ratios. Exit code 2 where wrk is missing."""
    options = _options()
    if shutil.which("wrk") is None:
        console.print("make bench needs wrk: install Debian's package wrk.")
        return 2
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that the servers end with it
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        local = stack.enter_context(serve(LocalTenant.open(folder / "tenant")))
        token = local.token("ada")
        database = f"sqlite:///{folder / 'postern.db'}"
        with postern(local, token, free_port(), database) as first:
            on_new_database = first.started
        starlette = stack.enter_context(bare(token, free_port()))
        server = stack.enter_context(postern(local, token, free_port(), database))
        console.print(
            f"start to first authenticated answer: {server.started:.2f} s ({on_new_database:.2f} s on a new database)"
        )
        recorded = [Kind("recorded", server, ON_RECORD)]
        url = _postgres(stack) if options.postgres else ""
        if url:
            beside = stack.enter_context(postern(local, token, free_port(), url))
            recorded.append(Kind("on PostgreSQL", beside, ON_RECORD))
        kinds = [Kind("bare", starlette, WORKFLOW), Kind("stateless", server, WORKFLOW), *recorded]
        before = server.memory
        if options.rounds:
            _compare(kinds, recorded, options, token)
        console.print(f"memory: {before:.0f} MiB after the start, {server.memory:.0f} MiB after the load")
        if options.chain:
            measure_chain(server, token, rounds=options.rounds or 5, requests=options.chain, console=console)
        _measure_tools(local, token, database, options)
        if options.durable:
            waiting = {"POSTERN_DURABLE_WAITING": str(MOST_WAITING)}
            elsewhere = f"sqlite:///{folder / 'durable.db'}"
            accepting = stack.enter_context(postern(local, token, free_port(), elsewhere, "--role", "http", **waiting))
            measure_durable(
                kinds[0],
                Kind("202", accepting, LATER),
                url,
                rounds=options.rounds or 5,
                seconds=options.seconds,
                runs=options.durable,
                console=console,
                token=token,
            )
        if options.sleeping:
            measure_sleeping(options.sleeping, options.seconds, console, url)
        if options.cost:
            measure_cost(kinds, options.connections, options.cost, token, console)
            measure_budget(local, token, folder / "budget", batches=options.batches, console=console)
        if options.memory:
            _measure_memory(kinds[1:3], options.memory, token)
        if options.flood:
            measure_flood(
                kinds[1:3],
                token,
                requests=options.flood,
                connections=options.flood_connections,
                rounds=max(1, options.rounds),
                seconds=options.seconds,
                console=console,
            )
    return 0


def _measure_tools(local: LocalTenant, token: str, database: str, options: argparse.Namespace) -> None:
    if options.tools:
        more = {"POSTERN_WORKFLOWS": str(HERE / "tool_workflows")}
        with postern(local, token, free_port(), database, **more) as server:
            measure_tools(server, token, rounds=options.rounds or 5, calls=options.tools, console=console)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    add = parser.add_argument
    add("--connections", type=int, nargs="+", default=[1, 16, 64], help="one part for each number (1 16 64)")
    add("--rounds", type=int, default=5, help="how often each is measured (5); 0 leaves the comparison out")
    add("--seconds", type=int, default=4, help="of one measurement (4)")
    add("--postgres", action=argparse.BooleanOptionalAction, default=True, help="also on a PostgreSQL of its own")
    add("--chain", type=int, default=320, metavar="N", help="also N chains of three workflows a round (320); 0: none")
    add("--durable", type=int, default=300, metavar="N", help="also N durable runs of each kind a round (300); 0: none")
    add("--tools", type=int, default=500, metavar="N", help="also N calls of tools of each kind a round (500); 0: none")
    add("--sleeping", type=int, nargs="?", const=10_000, metavar="N", help="also what N sleeping durable runs cost")
    add("--cost", type=int, nargs="?", const=50_000, metavar="N", help="also what one of N requests costs (50000)")
    add(
        "--batches",
        type=int,
        default=300,
        metavar="N",
        help="of --cost: batches of 96 requests by step and feature (300); 0: none",
    )
    add("--memory", type=int, metavar="N", help="also the memory during N requests of each kind, say 1000000")
    add("--flood", type=int, nargs="?", const=100_000, metavar="N", help="also beside N refused requests (100000)")
    add("--flood-connections", type=int, default=16, metavar="N", help="of either half of the flood (16)")
    return parser.parse_args()


def _compare(kinds: Sequence[Kind], recorded: Sequence[Kind], options: argparse.Namespace, token: str) -> None:
    rates = _table("requests/s (ratio to bare)", kinds)
    latencies = _table("ms, p50 / p99 (ratio of p99)", kinds)
    commits = _table("runs in a commit, ms for it", recorded)
    stored = [(count_runs(kind.server.database), size(kind.server.database)) for kind in recorded]
    for connections in options.connections:
        measured = rounds(kinds, connections, options.rounds, options.seconds, token)
        rates.add_row("", str(connections), *[_rate(each, measured[0]) for each in measured])
        latencies.add_row("", str(connections), *[_latency(each, measured[0]) for each in measured])
        commits.add_row(
            "", str(connections), *[f"{each.runs_per_commit:.1f}, {each.commit_ms:.2f}" for each in measured[2:]]
        )
    console.print(f"Medians of {options.rounds} alternating rounds; rates by wrk, times by a client in a closed loop.")
    for table in (rates, latencies, commits):
        console.print(table)
    for kind, (runs_before, size_before) in zip(recorded, stored, strict=True):
        runs = count_runs(kind.server.database) - runs_before
        per_run = (size(kind.server.database) - size_before) / runs
        console.print(f"{kind.name}: {per_run:.0f} bytes for each of {runs:,} runs")


def _rate(found: Measured, of_bare: Measured) -> str:
    return f"{found.rate:.0f}" if found is of_bare else f"{found.rate:.0f} ({found.rate / of_bare.rate:.2f})"


def _latency(found: Measured, of_bare: Measured) -> str:
    times = f"{found.p50:.2f} / {found.p99:.2f}"
    return times if found is of_bare else f"{times} ({found.p99 / of_bare.p99:.1f})"


def _table(title: str, kinds: Sequence[Kind]) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0))
    table.add_column(title, width=30)
    for heading in ("connections", *[kind.name for kind in kinds]):
        table.add_column(heading, justify="right")
    return table


def _measure_memory(kinds: Sequence[Kind], requests: int, token: str) -> None:
    """Print the server's memory after each tenth of the requests."""
    for kind in kinds:
        console.print(f"\nMemory in MiB during {requests:,} requests, {kind.name}: {kind.server.memory:.0f}", end="")
        for _ in range(10):
            client(kind.url, 64, token, requests=requests // 10)
            console.print(f" {kind.server.memory:.0f}", end="")
        console.print()


def _postgres(stack: ExitStack) -> str:
    """A server of our own; "" where it cannot start, which is said."""
    try:
        return stack.enter_context(postgres_server())
    except Exception as error:
        console.print(f"without PostgreSQL, which does not start here ({type(error).__name__}: {error})")
        return ""


if __name__ == "__main__":
    sys.exit(main())
