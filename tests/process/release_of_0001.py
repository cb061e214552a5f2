"""Release 0.1 itself: its package out of the git history, served on a database that this release has too."""

import io
import itertools
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from httpx2 import Client, HTTPError

from postern.ids import new_id
from tests.process.servers import ROOT, Server

COMMIT = "b7dcb23fc7f70ffdb211766f1c94220723f30545"
"""The last commit of release 0.1. Its package is `app`."""

FIX = (
    f"release 0.1 is commit {COMMIT[:8]} of this repository, and git does not have it here: {{}}. This test needs the "
    "history: run it in a clone that was made without --depth, or run `git fetch --unshallow` first"
)

PASS = ("journal-unavailable", "nodes-not-seen", "records-not-deleted")
"""Errors of its log that pass by themselves."""

WORKFLOWS = """
import asyncio
import os
from pathlib import Path

from app import anonymous, workflow

HERE = Path(os.environ["NOTES"]).parent


@workflow(access=anonymous())
async def quick(ctx):
    async def step():
        await asyncio.sleep(0.03)
        return 1

    return [await ctx.step(step), "0.1"]


@workflow(access=anonymous())
async def five(ctx):
    with (HERE / "five").open("a") as begun:
        begun.write(f"{ctx.run_id}\\n")
    while (HERE / "hold").exists():
        await asyncio.sleep(0.05)
    return "0.1"
"""
"""`five` is durable at this release (see `durable_cluster`), and was not at 0.1."""


def unpack(folder: Path) -> Path:
    """Put the package of release 0.1 into a folder, and return that."""
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", COMMIT, "app"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    except OSError as error:
        raise AssertionError(FIX.format(f"git cannot be run ({error.strerror})")) from None
    assert done.returncode == 0, FIX.format(done.stderr.decode(errors="replace").strip())
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as packed:
        packed.extractall(folder, filter="data")
    return folder


class Release0001:
    """`postern serve` of release 0.1 in a folder of its own: `python -m app serve` with the packages of this one."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder / "release-0.1"
        (self.folder / "workflows").mkdir(parents=True)
        (self.folder / "workflows" / "old.py").write_text(WORKFLOWS, encoding="utf-8")
        self.hold = self.folder / "hold"
        self.servers: list[Server] = []
        self._environ = {
            "PYTHONPATH": str(unpack(folder / "package-0.1")),
            "POSTERN_PORT": "0",
            "POSTERN_DATABASE_URL": url,
            "POSTERN_LOG_FORMAT": "json",
            "POSTERN_RETENTION_DAYS": "30",
            "NOTES": str(self.folder / "notes"),
        }

    @property
    def server(self) -> Server:
        """The one that was started last."""
        return self.servers[-1]

    @property
    def begun(self) -> list[str]:
        """The ids of the runs of `five` that began here."""
        noted = self.folder / "five"
        return noted.read_text().split() if noted.exists() else []

    def start(self) -> None:
        """Start it."""
        program = [sys.executable, "-m", "app"]
        self.servers.append(Server(["serve"], self.folder, self._environ, interpreter=program))
        self.server.open()

    def stop(self) -> int:
        """Stop it by SIGTERM, and return its exit code."""
        return self.server.stop()

    def kill(self) -> None:
        """As the kernel does it when memory runs out."""
        self.server.process.kill()
        self.server.process.wait(10)
        self.server.close()

    def close(self) -> None:
        """End it."""
        for each in self.servers:
            each.close()

    def mistakes(self) -> list[str]:
        """What its processes logged of mistakes: not that the database was held by a process that stood still."""
        lines = [line for server in self.servers for line in server.output.splitlines()]
        errors = [line for line in lines if '"level":"error"' in line or "Traceback" in line]
        return [line for line in errors if not any(f'"event":"{passes}"' in line for passes in PASS)]


@dataclass
class Load:
    """Inline requests at release 0.1, one after another in each of some threads, while it runs: `replied` are the ids
    of the runs with a reply, with its status. Each second one has an idempotency key."""

    release: Release0001
    replied: dict[str, int] = field(default_factory=dict)
    cut: int = 0
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(3)]

    def begin(self) -> None:
        """Send, until `stop`."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send no more."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _call(self) -> None:
        with Client(trust_env=False, timeout=60) as client:
            for number in itertools.count():
                if self._stop.is_set():
                    return
                headers = {"Idempotency-Key": new_id()} if number % 2 else {}
                try:
                    reply = client.post(f"{self.release.server.address}/triggers/quick", headers=headers)
                except HTTPError:
                    self.cut += 1
                    time.sleep(0.1)
                    continue
                if reply.status_code == 200:
                    self.replied[reply.headers["x-run-id"]] = reply.status_code
                elif reply.status_code != 503:
                    self.wrong.append(f"{reply.status_code} {reply.text}")
                time.sleep(0.05)
