"""Single calls: their time and their cost, compared with direct ones in turn, and bodies of which none is read."""

from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

from tests.bench.gateway.relay import relay
from tests.bench.gateway.row import Row, at_least, at_most
from tests.bench.gateway.site import DIRECT, FAR, MIB, TUNNEL, Site, memory, waited

ROUNDS = 5
READERS = 200
SECONDS = 6
"""Of each measurement of 200 calls at a time."""
SLOW_BYTES, SLOW_PACE = 100_000_000, 10e6
DOWNLOAD = 200_000_000
FAR_DOWNLOAD = 20_000_000
DELAY = 0.025
"""Seconds each way."""


def _in_turn(site: Site, **load: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rounds of direct calls and of calls by the gateway. The first of each is left out: it opens connections."""
    ways: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    for _ in range(ROUNDS + 1):
        for found, entries in zip(ways, (DIRECT, TUNNEL), strict=True):
            found.append(site.run("load", entries=entries[: max(1, load["at_once"] // 50)], **load))
    return ways[0][1:], ways[1][1:]


def _middle(found: list[dict[str, Any]], key: str) -> float:
    return median(float(each[key]) for each in found)


def _compared(ways: tuple[list[dict[str, Any]], list[dict[str, Any]]], key: str) -> tuple[float, float, str]:
    direct, by_gateway = _middle(ways[0], key), _middle(ways[1], key)
    return direct, by_gateway, f" (direct {direct:.2f}, by the gateway {by_gateway:.2f})"


def calls(site: Site) -> list[Row]:
    """One at a time on an open tunnel; one at a time with a new tunnel and TLS; processor time at 16 at a time."""
    with site.agent("madrid-1"):
        kept = _compared(_in_turn(site, path="/items", count=300, at_once=1), "p50")
        new = _compared(_in_turn(site, path="/close", count=100, at_once=1), "p50")
        cost = _compared(_in_turn(site, path="/items", count=1600, at_once=16), "processor")
    return [
        at_most("call on an open tunnel, p50 over direct", 3, kept[1] - kept[0], "ms", kept[2]),
        at_most("new tunnel and TLS, p50 over direct", 8, new[1] - new[0], "ms", new[2]),
        at_most("server CPU a call, 16 at a time", 1.3, cost[1] / cost[0], "times direct", cost[2]),
    ]


def beside_a_slow_body(site: Site) -> list[Row]:
    """200 calls at a time, in turn alone and beside a body of 100 MB that is read slowly. Tunnels that wait for 4 s are
    closed, so those of a round are opened before it."""

    def measured() -> dict[str, Any]:
        site.run("load", entries=TUNNEL, count=600, at_once=200)
        return site.run("load", entries=TUNNEL, seconds=SECONDS, at_once=200)

    alone, beside = [], []
    with site.agent("madrid-1"), ThreadPoolExecutor() as pool:
        for _ in range(3):
            alone.append(measured())
            slow = pool.submit(site.run, "stream", entry=TUNNEL[0], size=SLOW_BYTES, pace=SLOW_PACE)
            beside.append(measured())
            slow.result()
    without, with_it, more = _compared((alone, beside), "p95")
    more = more.replace("direct", "alone").replace("by the gateway", "beside it")
    failed = sum(sum(each["failed"].values()) for each in alone + beside)
    rates = " and ".join(f"{_middle(each, 'calls') / SECONDS:.0f}" for each in (alone, beside))
    more += f", {rates} calls/s, {failed} failed"
    row = at_most("200 at a time + slow 100 MB, p95", 1.3, with_it / without, "times without", more)
    return [row]


def unread(site: Site) -> list[Row]:
    """200 bodies that are begun and never read: what the server and the agent keep of them."""
    with site.agent("madrid-1") as agent, ThreadPoolExecutor() as pool:
        site.run("load", entries=TUNNEL, count=2000, at_once=200)
        before = memory(site.server.process.pid), memory(agent.pid)
        most = list(before)
        holding = pool.submit(site.run, "hold", entries=TUNNEL, size=20 * MIB, count=READERS, seconds=15)
        while not holding.done():
            most = [max(most[0], memory(site.server.process.pid)), max(most[1], memory(agent.pid))]
        begun = holding.result()["result"]
    grown = most[0] - before[0], most[1] - before[1]
    name, text = f"{READERS} readers that never read", f"+{grown[0]:.0f} / +{grown[1]:.0f} MiB, {begun} begun"
    return [Row(name, "server +90 / agent +90 MiB", text, max(grown) <= 90 and begun == READERS)]


def downloads(site: Site) -> list[Row]:
    """One body, and one with a round trip of 50 ms between the agent and the server."""
    with site.agent("madrid-1"):
        for entries in (TUNNEL, DIRECT):
            site.run("stream", entry=entries[0], size=DOWNLOAD // 10)
        found = [site.run("stream", entry=TUNNEL[0], size=DOWNLOAD) for _ in range(3)]
        direct = [site.run("stream", entry=DIRECT[0], size=DOWNLOAD) for _ in range(3)]
    with relay([site.port], DELAY) as port, site.agent("far-1", FAR, f"http://127.0.0.1:{port}"):
        waited(site.agents, 30, lambda: "the far agent")
        far = [site.run("stream", entry=FAR, size=FAR_DOWNLOAD)["rate"] for _ in range(3)]
    cost = f"{_middle(found, 'processor'):.1f} ms server CPU an MB"
    more = f" ({cost}; direct {_middle(direct, 'rate'):.0f} MB/s, {_middle(direct, 'processor'):.1f} ms)"
    return [
        at_least("one download", 30, _middle(found, "rate"), "MB/s", more),
        at_least("one download at 50 ms round trip", 3, median(far), "MB/s"),
    ]
