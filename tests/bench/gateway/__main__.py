"""Measure what must hold of calls by a gateway, with a real server, real agents and a private system. Each row is
printed with its bound. Exit code 1 if one does not hold."""

import argparse
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from tests.bench.gateway import calls, losses, reach
from tests.bench.gateway.row import Measure
from tests.bench.gateway.site import Site, target, write_server
from tests.ports import free_port
from tests.process.agents import tenant_with_agent

console = Console(highlight=False, width=160)

PARTS: dict[str, Measure] = {
    "calls": calls.calls,
    "slow": calls.beside_a_slow_body,
    "unread": calls.unread,
    "download": calls.downloads,
    "posts": losses.killed_with_posts,
    "kill": losses.killed_one_of_two,
    "stop": losses.stopped_one_of_two,
    "rolling": losses.rolling,
    "away": losses.server_away,
    "reach": reach.reach,
}


def main() -> int:
    """Measure the parts one after the other, and print each row when it is known."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.gateway", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of {', '.join(PARTS)} (all)")
    parts = parser.parse_args().parts or list(PARTS)
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}: the parts are {', '.join(PARTS)}")
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that the processes end with it
    missed = 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tenant = stack.enter_context(tenant_with_agent(folder / "tenant"))
        port = stack.enter_context(target(folder))
        write_server(folder, tenant, port)
        site = Site(folder, tenant, port, free_port(), stack)
        for part in parts:
            for row in PARTS[part](site):
                state = "ok" if row.held else "missed"
                console.print(f"{state:<8}{row.name:<44}{row.bound:<30}{row.measured}")
                missed += not row.held
    console.print(f"{missed} missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
