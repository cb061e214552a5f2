"""How long an agent takes to have a link to every server process: to workers that share a port, and to server
processes behind a balancer that takes any."""

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime

from tests.bench.gateway.relay import relay
from tests.bench.gateway.row import Row, at_most
from tests.bench.gateway.site import Agent, Site, start_server, waited
from tests.ports import free_port

WORKERS, NODES = 4, 12
KNOWN_SECONDS = 6.0
"""Until each server process has looked at the list of them again."""
EVENTS = ("gateway_started", "gateway_linked")


def _seconds(agent: Agent, nodes: int) -> list[float]:
    """From its start to each link, by the times of its log."""
    waited(lambda: len(agent.health().get("nodes", ())) == nodes, 90, lambda: f"{nodes} nodes: {agent.health()}")
    lines = [json.loads(line) for line in agent.process.output.splitlines() if line.startswith("{")]
    times = [datetime.fromisoformat(line["timestamp"]) for line in lines if line["event"] in EVENTS]
    return [(each - times[0]).total_seconds() for each in times[1:]]


def _reached(site: Site, name: str, ports: Sequence[int], nodes: int, bound: float) -> Row:
    with relay(ports) as port, site.agent("madrid-1", server=f"http://127.0.0.1:{port}") as agent:
        took = _seconds(agent, nodes)
    return at_most(f"reach {nodes} {name}", bound, took[-1], "s", f" (the first one in {took[0]:.2f} s)")


def reach(site: Site) -> list[Row]:
    """The server processes share the database of the site's server, which is stopped meanwhile."""
    site.server.stop()
    try:
        port = free_port()
        server = start_server(site.folder, site.tenant, port, WORKERS)
        time.sleep(KNOWN_SECONDS)
        try:
            first = _reached(site, "workers", [port], WORKERS, 2)
        finally:
            server.close()
        with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
            ports = [free_port() for _ in range(NODES)]
            for made in pool.map(lambda port: start_server(site.folder, site.tenant, port), ports):
                stack.callback(made.close)
            time.sleep(KNOWN_SECONDS)
            second = _reached(site, "nodes by a random balancer", ports, NODES, 5)
    finally:
        site.start()
    return [first, second]
