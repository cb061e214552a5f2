"""Fifty callers who send the heaviest bodies that the limits allow, again and again, and another one beside them."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from postern.local_tenant import LocalTenant
from tests.heavy.bodies import bodies
from tests.process.servers import ROOT, Server, running, settings_of

CALLERS = 50
MOST_MS = {"POST /triggers/hello": 100.0, "GET /healthz": 50.0}
"""The 99th percentile of another caller's replies, on a machine of its own."""

Times = dict[str, list[float]]


@pytest.fixture
def server(tmp_path: Path, local_tenant: LocalTenant) -> Iterator[Server]:
    environ = {
        **settings_of(local_tenant, ROOT / "tests" / "heavy" / "workflows"),
        "POSTERN_DATABASE_URL": f"sqlite:///{tmp_path / 'heavy.db'}",
    }
    with running("serve", tmp_path, environ) as server:
        yield server


async def replied(reader: asyncio.StreamReader) -> int:
    """The status of a reply, whose content is read and left."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    await reader.readexactly(length)
    return int(head[9:12])


async def sends(port: int, request: bytes, until: Callable[[], bool], times: list[float], pause: float = 0) -> set[int]:
    """Send one request after the other on a connection. Returns the statuses of the replies."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    statuses = set()
    while not (times and until()):
        began = time.perf_counter()
        writer.write(request)
        statuses.add(await replied(reader))
        times.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(pause)
    writer.close()
    await writer.wait_closed()
    return statuses


def request(line: str, body: bytes = b"") -> bytes:
    head = (
        f"{line} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def attack(port: int, name: str, body: bytes, seconds: float) -> tuple[set[int], Times]:
    """What the fifty got, and how long another caller waited for each reply."""
    end = time.monotonic() + seconds
    times: Times = {line: [] for line in MOST_MS}
    heavy = request(f"POST /triggers/{name}", body)
    fifty = [asyncio.create_task(sends(port, heavy, lambda: time.monotonic() > end, [])) for _ in range(CALLERS)]
    over = asyncio.gather(*fifty)
    others = [asyncio.create_task(sends(port, request(line), over.done, found, 0.005)) for line, found in times.items()]
    statuses = set().union(*await over)
    assert set().union(*await asyncio.gather(*others)) == {200}
    return statuses, times


def percentile(found: list[float]) -> float:
    return sorted(found)[int(len(found) * 0.99)]


def test_heavy_bodies_are_not_felt_by_another_caller(
    server: Server,
    campaign: Callable[[int, int], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    soak, slow = campaign(0, 1), []
    for what, name, body in list(bodies())[:: campaign(5, 1)]:
        statuses, times = asyncio.run(attack(server.port, name, body, campaign(0, 10)))
        assert statuses <= {200, 400}
        shown = {line: percentile(found) for line, found in times.items()}
        slow += [(what, line, ms) for line, ms in shown.items() if soak and ms > MOST_MS[line]]
        with capsys.disabled():
            print(
                f"\n{what}: {', '.join(f'{line} p99 {ms:.0f} ms of {len(times[line])}' for line, ms in shown.items())}"
            )
    assert not slow
