"""What one request costs, by who pays for it: processor time of the server, of the writer's process and of PostgreSQL,
and bytes of PostgreSQL's log. From these follows how many nodes and how large a database a rate needs; a rate that was
measured with everything on one machine does not tell."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy import create_engine, text

from tests.bench.databases import with_driver
from tests.bench.load import Kind, client

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Paid:
    """Seconds of processor time, and bytes of PostgreSQL's log."""

    server: float
    writer: float
    database: float
    log: int

    def since(self, before: "Paid") -> "Paid":
        """What was paid meanwhile."""
        return Paid(
            self.server - before.server,
            self.writer - before.writer,
            self.database - before.database,
            self.log - before.log,
        )


def measure_cost(
    kinds: Sequence[Kind], connections: Sequence[int], requests: int, token: str, console: Console
) -> None:
    """Print for each kind what a request costs at each number of connections."""
    table = Table(box=None, padding=(0, 3, 0, 0))
    for heading in ("µs of processor a request", "connections", "server", "writer", "PostgreSQL", "bytes of its log"):
        table.add_column(heading, justify="left" if heading.startswith("µs") else "right")
    for kind in kinds:
        client(kind.url, max(connections), token, requests=requests // 4)  # warm
        for number in connections:
            before = _paid(kind)
            client(kind.url, number, token, requests=requests)
            paid = _paid(kind).since(before)
            times = (paid.server, paid.writer, paid.database)
            each = [f"{1e6 * seconds / requests:.1f}" if seconds else "" for seconds in times]
            table.add_row(kind.name, str(number), *each, f"{paid.log / requests:.0f}" if paid.log else "")
    console.print(table)


def seconds_of(pid: int) -> float:
    """Processor time of the process so far."""
    return _seconds(pid)


def _paid(kind: Kind) -> Paid:
    server = kind.server
    own, writers = _seconds(server.pid), sum(_seconds(pid) for pid in _children(server.pid))
    if not server.database.startswith("postgresql"):
        return Paid(own, writers, 0.0, 0)
    engine = create_engine(with_driver(server.database))
    with engine.connect() as connection:
        backend = connection.scalar(text("SELECT pg_backend_pid()")) or 0
        log = connection.scalar(text("SELECT pg_current_wal_lsn() - '0/0'")) or 0
        postmaster = int(_stat(backend)[1])
        database = sum(_seconds(pid) for pid in (postmaster, *_children(postmaster))) + _seconds(postmaster, gone=True)
    engine.dispose()
    return Paid(own, writers, database, int(log))


def _stat(pid: int) -> list[str]:
    """The fields behind the name: state, parent, and so on (proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()


def _seconds(pid: int, *, gone: bool = False) -> float:
    """Processor time of the process, or of its children that have ended."""
    fields = _stat(pid)
    first = 13 if gone else 11
    return (int(fields[first]) + int(fields[first + 1])) / TICKS


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    found = [(each / "children").read_text(encoding="ascii").split() for each in tasks.iterdir()]
    return [int(child) for children in found for child in children]
