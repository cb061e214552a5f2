"""All kinds of hostile clients together for a while, at one real server, beside callers who do nothing wrong."""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from postern.local_tenant import LocalTenant
from tests.ports import free_port
from tests.process.honest import Caller, get, request
from tests.process.hostile import ATTACKS, WORKFLOWS
from tests.process.memory import MIB, family
from tests.process.servers import INTERPRETER, ROOT, Server, environment, running, settings_of, until

BOUNDED = {200, 429, 503}
"""What anonymous callers get where all of them together hold what is theirs."""
MOST_MS = {"hello-member": 100.0, "hello": 100.0, "healthz": 50.0}
"""The 99th percentile of another caller's replies, on a machine of its own."""
MOST_GROWTH = 1.2
"""Of the memory after all hostile traffic, compared with that after the first minute of it: by then all kinds of
requests have come, so that all modules that they need are loaded, all threads have begun and all caches have begun to
fill."""
MOST_KEPT = 2.5
"""Of the server's memory after hostile traffic, compared with that before it. It was more than 3 after some seconds
when the allocator kept what large bodies had taken."""
GENEROUS = 4
"""How often MOST_MS may take here: the clients and the server share the machine."""
READY_SECONDS = 10.0
WARNINGS = "error,ignore:unclosed resource <TCPTransport:ResourceWarning"
"""uvloop warns of a transport that it closes itself, after a connect whose caller went away at that moment."""


@pytest.fixture
def server(tmp_path: Path, local_tenant: LocalTenant) -> Iterator[Server]:
    """With the smallest database that can be set, so that its bound is reached, and the address at which it calls
    itself."""
    folder = tmp_path / "workflows"
    folder.mkdir()
    (folder / "targets.py").write_text(WORKFLOWS, encoding="utf-8")
    heavy = (ROOT / "tests" / "heavy" / "workflows" / "heavy.py").read_text(encoding="utf-8")
    (folder / "heavy.py").write_text(heavy, encoding="utf-8")
    port = free_port()
    environ = {
        **settings_of(local_tenant, folder),
        "POSTERN_DATABASE_URL": f"sqlite:///{tmp_path / 'hostile.db'}",
        "POSTERN_DATABASE_MAX_BYTES": str(64 * 1024 * 1024),
        "POSTERN_PORT": str(port),
        "POSTERN_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "POSTERN_LOG_FORMAT": "json",
        "PYTHONWARNINGS": WARNINGS,
        "PYTHONFAULTHANDLER": "1",
    }
    with running("serve", tmp_path, environ, INTERPRETER) as server:
        yield server


@contextmanager
def hostile(server: Server, seen: dict[str, Counter[str]]) -> Iterator[None]:
    """Hostile clients while the block runs. What they got is added to `seen`."""
    command = [sys.executable, "-m", "tests.process.hostile", str(server.port)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, env=environment(), text=True, **pipes) as clients:  # type: ignore[call-overload]
        try:
            yield
        except BaseException:
            clients.kill()
            raise
        printed, _ = clients.communicate(timeout=60)
    assert clients.returncode == 0
    for kind, got in json.loads(printed).items():
        seen.setdefault(kind, Counter()).update(got)


def settled(server: Server) -> dict[str, int]:
    """The memory when all that was begun has ended, and the server is ready again."""
    until(lambda: server.client.get("/readyz").status_code == 200, READY_SECONDS, lambda: server.output[-5000:])
    until(lambda: gauge(server, "postern_runs_running") == 0, what=lambda: server.client.get("/metrics").text)
    return family(server.process.pid)


def gauge(server: Server, name: str) -> float:
    lines = server.client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


async def beside(server: Server, callers: list[Caller], seconds: float, show: Callable[[str], None]) -> None:
    """Honest callers for so long, and the memory each minute."""
    over, began, period = asyncio.Event(), time.monotonic(), min(60.0, seconds / 4)
    async with asyncio.TaskGroup() as group:
        for caller in callers:
            group.create_task(caller.calls(server.port, over))
        for minute in range(1, round(seconds / period) + 1):
            await asyncio.sleep(began + minute * period - time.monotonic())
            show(f"after {time.monotonic() - began:.0f} s: {mebibytes(family(server.process.pid))}")
        over.set()


def mebibytes(sizes: dict[str, int]) -> str:
    return ", ".join(f"{role} {size / MIB:.0f} MiB" for role, size in sizes.items())


def test_hostile_clients_are_not_felt_by_others_and_leave_nothing_behind(
    server: Server,
    local_tenant: LocalTenant,
    campaign: Callable[[int, int], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, rest, soak = campaign(1, 60), campaign(4, 3540), campaign(0, 1)
    token = local_tenant.token("ada")
    callers = [
        Caller("hello-member", request("POST", "/triggers/hello-member", token=token)),
        Caller("hello", request("POST", "/triggers/hello")),
        Caller("healthz", get("/healthz")),
    ]
    server.answers("hello", 200)
    if not soak:
        server.answers("collector-rests", 200)
    pid, seen = server.process.pid, dict[str, Counter[str]]()
    memory = [family(pid)]

    def show(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}", end="", flush=True)

    show(f"at the start: {mebibytes(memory[0])}")
    for seconds in (first, rest):
        with hostile(server, seen):
            asyncio.run(beside(server, callers, seconds, show))
        ended = time.monotonic()
        memory.append(settled(server))
        show(f"settled after {time.monotonic() - ended:.1f} s: {mebibytes(memory[-1])}")
    left = {} if soak else server.client.post("/triggers/garbage-left").json()
    for caller in callers:
        figures = f"p50 {caller.percentile(0.5):.0f} ms, p99 {caller.percentile(0.99):.0f} ms"
        show(f"{caller.name}: {figures}, {dict(caller.statuses)}")
    for kind, got in seen.items():
        show(f"{kind}: {dict(got)}")

    assert seen.keys() == {attack.__name__ for attack in ATTACKS}
    assert all(seen.values())
    assert not [kind for kind, got in seen.items() if "500" in got and kind != "chains"]
    member, anonymous, health = callers
    assert member.statuses.keys() == health.statuses.keys() == {200}
    assert anonymous.statuses.keys() <= BOUNDED
    assert anonymous.unasked.keys() <= {200}
    assert server.process.pid == pid
    assert server.process.poll() is None
    for sign in ("Traceback", "never retrieved", '"level":"error"'):
        assert sign not in server.output, server.output[-5000:]
    assert memory[-1]["server"] / memory[0]["server"] < MOST_KEPT, memory
    assert sum(left.values()) < sum(got["begun"] for got in seen.values()), left
    if soak:
        assert all(memory[2][role] / memory[1][role] < MOST_GROWTH for role in memory[0]), memory
        slow = {caller.name: caller.percentile(0.99) for caller in callers}
        assert all(slow[name] < most * GENEROUS for name, most in MOST_MS.items()), slow
    assert server.stop() == 0
