"""Rounds of load on several kinds of server in turn, so that a drift of the machine's speed meets all of them."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from tests.bench.client import Summary
from tests.bench.servers import HERE, Server

BATCHES, WRITES = "postern_journal_batch_size_count", "postern_journal_batch_size_sum"
COMMIT_SECONDS = "postern_journal_commit_seconds_sum"


@dataclass(frozen=True, slots=True)
class Kind:
    """What is measured: a workflow on a server."""

    name: str
    server: Server
    workflow: str

    @property
    def url(self) -> str:
        """Where requests go."""
        return self.server.url(self.workflow)


@dataclass(slots=True)
class Measured:
    """What was measured of one kind, round by round: requests in a second, milliseconds, and what the journal counted
    meanwhile."""

    rates: list[float] = field(default_factory=list)
    p50s: list[float] = field(default_factory=list)
    p99s: list[float] = field(default_factory=list)
    journal: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """The median of the rates."""
        return median(self.rates)

    @property
    def p50(self) -> float:
        """The median of the medians."""
        return median(self.p50s)

    @property
    def p99(self) -> float:
        """The median of the 99th percentiles."""
        return median(self.p99s)

    @property
    def runs_per_commit(self) -> float:
        """How many runs a transaction of the journal's wrote."""
        return self.journal[WRITES] / self.journal[BATCHES]

    @property
    def commit_ms(self) -> float:
        """From when a batch was handed to the writer until the event loop heard that it is on disk."""
        return 1000 * self.journal[COMMIT_SECONDS] / self.journal[BATCHES]


def rounds(kinds: Sequence[Kind], connections: int, count: int, seconds: int, token: str) -> list[Measured]:
    """So many rounds, each of wrk and of the closed-loop client on every kind, in an order that changes."""
    measured = [Measured() for _ in kinds]
    for number in range(count):
        order = [*range(number % len(kinds), len(kinds)), *range(number % len(kinds))]
        for index in order:
            kind, found = kinds[index], measured[index]
            before = kind.server.metrics() if kind.server.database else {}
            found.rates.append(wrk(kind.url, connections, seconds, token))
            after = kind.server.metrics() if kind.server.database else {}
            for name in (BATCHES, WRITES, COMMIT_SECONDS):
                grown = after.get(name, 0.0) - before.get(name, 0.0)
                found.journal[name] = found.journal.get(name, 0.0) + grown
        for index in order:
            latencies = client(kinds[index].url, connections, token, seconds=max(1, seconds // 2))
            measured[index].p50s.append(latencies.p50)
            measured[index].p99s.append(latencies.p99)
    return measured


def wrk(url: str, connections: int, seconds: int, token: str) -> float:
    """Requests in a second. Every one of them must succeed."""
    load = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(HERE / "load.lua"), url]
    environ = {**os.environ, "BENCH_TOKEN": token}
    printed = subprocess.run(load, env=environ, capture_output=True, text=True, check=True).stdout
    rate, failed = next(line.split()[1:] for line in printed.splitlines() if line.startswith("RESULT"))
    if failed != "0":
        raise SystemExit(f"{failed} requests failed at {url}: the rate means nothing")
    return float(rate)


def client(
    url: str, connections: int, token: str, *, seconds: float | None = None, requests: int | None = None
) -> Summary:
    """The closed-loop client's load. Every request must succeed."""
    found = ended(start_client(url, connections, token, seconds=seconds, requests=requests))
    if set(found.statuses) != {"200"} or found.closed:
        raise SystemExit(f"{url} answered {found.statuses}, and closed {found.closed} connections")
    return found


def start_client(
    url: str, connections: int, token: str, *, seconds: float | None = None, requests: int | None = None
) -> "subprocess.Popen[str]":
    """The closed-loop client, at work; `ended` waits for what it found. Without a token it sends none."""
    command = [sys.executable, "-m", "tests.bench.client", url, "--connections", str(connections)]
    command += ["--seconds", str(seconds)] if seconds is not None else []
    command += ["--requests", str(requests)] if requests is not None else []
    return subprocess.Popen(command, env={**os.environ, "BENCH_TOKEN": token}, stdout=subprocess.PIPE, text=True)


def ended(load: "subprocess.Popen[str]") -> Summary:
    """What a client found, when it has ended."""
    printed, _ = load.communicate()
    if load.returncode:
        raise SystemExit("the closed-loop client failed")
    return Summary(**json.loads(printed))
