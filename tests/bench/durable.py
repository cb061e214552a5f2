"""Durable runs: their 202s beside bare Starlette, runs beside workflows of DBOS alone, and what sleeping runs cost."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from tests.bench.load import Kind, wrk
from tests.postgres import new_database

AT_ONCE = 32
CONNECTIONS = (16, 64)
"""Of the 202s. Each of them waits for a commit, and few connections wait together."""
STEPS = (0, 3)
LATER = "greet-later"
MOST_WAITING = 1_000_000
"""So many runs may wait for a server process that executes them: the one that is measured only accepts."""


def measure_durable(
    bare: Kind, accepting: Kind, postgres: str, *, rounds: int, seconds: int, runs: int, console: Console, token: str
) -> None:
    """Print the ratios of this many rounds in turn, on SQLite, and on a server of PostgreSQL unless that is ""."""
    for connections in CONNECTIONS:
        turns = [[wrk(kind.url, connections, seconds, token) for kind in (bare, accepting)] for _ in range(rounds)]
        ratio, rate = median(ours / its for its, ours in turns), median(ours for _, ours in turns)
        console.print(f"\n{connections} connections: {rate:.0f} 202s a second ({ratio:.2f} of bare Starlette)")
    table = Table(box=None, padding=(0, 3, 0, 0))
    for heading in (
        "durable runs",
        "steps",
        "DBOS alone/s",
        "Postern/s (ratio)",
        "ms, p50 / p99",
        "CPU ms a run, DBOS / Postern",
    ):
        table.add_column(heading, justify="right")
    for name, server in _databases(postgres):
        for steps in STEPS:
            found = [_round(server, steps, runs) for _ in range(rounds)]
            alone, ours = ([each[kind] for each in found] for kind in ("bare", "postern"))
            ratio = median(our["rate"] / its["rate"] for its, our in zip(alone, ours, strict=True))
            middle = {name: median(each[name] for each in ours) for name in ours[0]}
            table.add_row(
                name,
                str(steps),
                f"{median(each['rate'] for each in alone):.0f}",
                f"{middle['rate']:.0f} ({ratio:.2f})",
                f"{middle['p50']:.0f} / {middle['p99']:.0f}",
                f"{median(each['cpu_ms'] for each in alone):.1f} / {middle['cpu_ms']:.1f}",
            )
    console.print(table)


def measure_sleeping(many: int, seconds: int, console: Console, postgres: str) -> None:
    """Print what it costs that no run, and that so many runs sleep, on each kind of database."""
    for name, server in _databases(postgres):
        for count in (0, many):
            with _database(server) as url:
                found = _measure("postern", url, "idle", count, seconds)
            console.print(
                f"{count:,} durable runs sleep on {name}: {found['cpu']:.1f} % of a core, "
                f"{found['kib']:.1f} KiB a run, {found['wakes']:.0f} wake-ups a second"
            )


def _databases(postgres: str) -> list[tuple[str, str]]:
    return [("SQLite", ""), *([("PostgreSQL", postgres)] if postgres else [])]


def _round(server: str, steps: int, runs: int) -> dict[str, dict[str, float]]:
    found = {}
    for kind in ("bare", "postern"):
        with _database(server) as url:
            found[kind] = _measure(kind, url, str(steps), runs, AT_ONCE)
    return found


def _measure(kind: str, url: str, what: str, count: int, more: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.durable_runs", kind, url, what, str(count), str(more)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


@contextmanager
def _database(server: str) -> Iterator[str]:
    """A new database of a server, or of SQLite."""
    if server:
        with new_database(server) as (_, url):
            yield url
        return
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite:///{Path(folder, 'postern.db')}"
