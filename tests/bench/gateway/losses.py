"""Agents and servers that end, stop and come back, while calls are in progress."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.gateway.row import Row, at_most
from tests.bench.gateway.site import MANY, TUNNEL, Site, linked, waited
from tests.process.agents import write_agent
from tests.process.servers import ROOT, environment

POSTS = 20
GETS = 6000
LINKS = 300
AWAY = 8.0
ROLLS = 4


def _failed(found: dict[str, Any]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(found["failed"].items())) or "0 failed"


def killed_with_posts(site: Site) -> list[Row]:
    """kill -9 of the only agent while POSTs wait for their answers: when the last one failed, and how often each ran.
    Another agent is there at once, by which one that was sent again would run twice."""
    before = site.seen("wait")
    with site.agent("madrid-1") as agent, ThreadPoolExecutor() as pool:
        posts = pool.submit(site.run, "load", entries=TUNNEL, path="/wait", method="POST", count=POSTS, at_once=POSTS)
        waited(lambda: site.seen("wait") == before + POSTS, 30, lambda: "the POSTs at the target")
        with site.agent("madrid-2"):
            at = time.time()
            agent.kill(signal.SIGKILL)
            found = posts.result()
            took = max(found["failed_at"]) - at
            ran = site.seen("wait") - before
    held = took < 1 and len(found["failed_at"]) == POSTS == ran
    text = f"{took:.2f} s, {_failed(found)}, {ran} ran"
    return [Row(f"kill -9, {POSTS} POSTs in flight", "errors < 1 s, each ran once", text, held)]


@contextmanager
def _under_load(site: Site, **load: Any) -> Iterator[Future[dict[str, Any]]]:
    """Calls that have begun, in a run of their own."""
    before = site.seen("items")
    with ThreadPoolExecutor() as pool:
        calls = pool.submit(site.run, "load", entries=TUNNEL, **load)
        waited(lambda: site.seen("items") > before + 200, 60, lambda: "the calls at the target")
        yield calls


def killed_one_of_two(site: Site) -> list[Row]:
    """kill -9 of one of two agents while GETs are in progress."""
    with site.two() as (one, _), _under_load(site, count=GETS, at_once=50) as calls:
        one.kill(signal.SIGKILL)
        early = not calls.done()
        found = calls.result()
    text = f"{_failed(found)} of {GETS}"
    return [Row(f"kill one of two, {GETS:,} GETs", "0 failed", text, early and found["calls"] == GETS)]


def stopped_one_of_two(site: Site) -> list[Row]:
    """SIGSTOP of one of two agents while GETs are in progress: when the server no longer counts it."""
    with site.two() as (one, _), _under_load(site, at_once=20) as calls:
        one.kill(signal.SIGSTOP)
        at = time.monotonic()
        try:
            waited(lambda: site.agents() == 1, 60, lambda: f"{site.agents()} agents")
            took = time.monotonic() - at
        finally:
            one.kill(signal.SIGCONT)
            site.run("stop")
        found = calls.result()
    more = f" ({_failed(found)} of {found['calls'] + sum(found['failed'].values())}, p95 {found['p95']:.0f} ms)"
    return [at_most("SIGSTOP one of two, seen in", 15, took, "s", more)]


def rolling(site: Site) -> list[Row]:
    """SIGTERM and a new start of each of two agents in turn, while GETs are in progress."""
    took: list[float] = []
    with site.two() as both, _under_load(site, at_once=20) as calls:
        try:
            for agent in both * ROLLS:
                began = time.monotonic()
                agent.kill(signal.SIGTERM)
                agent.process.process.wait(40)
                took.append(time.monotonic() - began)
                agent.start()
                linked(agent)
        finally:
            site.run("stop")
        found = calls.result()
    text = f"{_failed(found)} of {found['calls']}, {len(took)} restarts, drained in {max(took):.1f} s at most"
    return [Row("rolling restarts of agents under load", "0 failed", text, not found["failed"])]


def server_away(site: Site) -> list[Row]:
    """The server is killed, and starts again 8 s later: when all links of many agents are back after it answers."""
    folder = site.folder / "many"
    write_agent(folder, site.tenant, f"http://127.0.0.1:{site.port}", "")
    command = [sys.executable, "-m", "tests.bench.gateway.many", str(folder / "gateway.toml"), str(MANY)]
    with (folder / "log").open("wb") as log:
        agents = subprocess.Popen([*command, str(LINKS // MANY)], cwd=ROOT, env=environment({}), stderr=log)
        try:
            waited(lambda: site.agents() == LINKS, 240, lambda: f"{site.agents()} links; {_end(folder / 'log')}")
            site.server.process.send_signal(signal.SIGKILL)
            site.server.process.wait(30)
            time.sleep(AWAY)
            site.start()
            began = time.monotonic()
            waited(lambda: site.agents() == LINKS, 240, lambda: f"{site.agents()} came back; {_end(folder / 'log')}")
            took = time.monotonic() - began
        finally:
            agents.kill()
            agents.wait(30)
    return [at_most(f"{LINKS} links, server away {AWAY:g} s, back in", 20, took, "s")]


def _end(log: Path) -> str:
    return log.read_text("utf-8", "replace")[-1000:]
