"""Server processes with durable runs on one database: killed, frozen and restarted, while runs note what they do."""

import contextlib
import json
import math
import os
import random
import signal
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from httpx2 import Client, ConnectError, HTTPError, Response

from postern.ids import new_id
from tests.process.servers import Server, until

STEPS = 5
PHASES = "SELECT phase, owner, count(*) FROM durable_runs GROUP BY phase, owner"
WORKFLOWS = '''
import asyncio
import os
import time
from pathlib import Path

import psycopg
import sqlite3
from postern import anonymous, workflow

NOTES = Path(os.environ["NOTES"])
URL = os.environ["OWNERS"]
OWNER = """SELECT n.process FROM durable_runs d LEFT JOIN nodes n ON n.id = d.owner WHERE d.run_id = '{}'"""


def is_ours(run_id):
    """Whether the journal says that this process runs the run. None if the database cannot say."""
    try:
        if URL.startswith("sqlite:///"):
            connection = sqlite3.connect(URL.removeprefix("sqlite:///"), timeout=20)
        else:
            connection = psycopg.connect(URL, connect_timeout=2)
        try:
            (process,) = connection.execute(OWNER.format(run_id)).fetchone()
        finally:
            connection.close()
    except (sqlite3.Error, psycopg.Error):
        return None
    return (process or "").split(":")[0] == str(os.getpid())


def note(ctx, what, at):
    line = f"{ctx.run_id} {what} {os.getpid()} {at} {is_ours(ctx.run_id)}\\n"
    with NOTES.open("a") as notes:
        notes.write(line)


def seconds():
    return float((NOTES.parent / "seconds").read_text())


@workflow(access=anonymous(), durable=True)
async def five(ctx):
    async def step(number):
        note(ctx, number, time.time())
        await asyncio.sleep(seconds())
        return number

    return [await ctx.step(step, number, name=f"step-{number}") for number in range(5)]


@workflow(access=anonymous(), durable=True)
async def poison(ctx):
    async def kill():
        note(ctx, "poison", time.time())
        os.kill(os.getpid(), 9)

    await ctx.step(kill)


@workflow(access=anonymous(), durable=True)
async def nap(ctx):
    await ctx.sleep(seconds())
    return "slept"
'''


@dataclass(frozen=True, slots=True)
class Note:
    """A step's body that began: where, when, and whether the run was that process's then."""

    run_id: str
    what: str
    process: int
    at: float
    ours: str


@dataclass
class Blow:
    """What was done to a server process, and the runs that it was executing then."""

    process: int
    at: float
    frozen: bool
    running: list[str] = field(default_factory=list)


class Cluster:
    """Server processes in a folder. `arguments` are those of `postern serve`."""

    def __init__(self, folder: Path, url: str, arguments: Sequence[str] = (), **settings: str) -> None:
        self.folder, self.url = folder, url
        self.servers: list[Server] = []
        self.blows: list[Blow] = []
        self.ended: list[Server] = []
        self._arguments = arguments
        self._environ = {
            "POSTERN_PORT": "0",
            "POSTERN_DATABASE_URL": url,
            "POSTERN_LOG_FORMAT": "json",
            "NOTES": str(folder / "notes"),
            "OWNERS": url,
            **settings,
        }
        (folder / "workflows").mkdir()
        (folder / "workflows" / "five.py").write_text(WORKFLOWS, encoding="utf-8")
        (folder / "notes").touch()
        self.seconds = 0.2

    @property
    def seconds(self) -> float:
        """How long a step takes."""
        return float((self.folder / "seconds").read_text())

    @seconds.setter
    def seconds(self, value: float) -> None:
        (self.folder / "seconds").write_text(str(value))

    def start(self, *more: str, wait: bool = True, code: str = "") -> Server:
        """Start a server process. `code` runs in it in place of the program (see `servers.Server`)."""
        server = Server(["serve", *self._arguments, *more], self.folder, self._environ, code=code)
        self.servers.append(server)
        if wait:
            server.open()
        return server

    def stop(self, server: Server) -> int:
        """Stop it by SIGTERM, and return its exit code."""
        self.servers.remove(server)
        self.ended.append(server)
        return server.stop()

    def all_owners_live(self) -> bool:
        """Whether the runs of all server processes that were killed are taken over."""
        pids = {str(server.process.pid) for server in self.servers}
        nodes = self.rows("SELECT id, process FROM nodes")
        living = {node for node, process in nodes if process.partition(":")[0] in pids}
        return {owner for (owner,) in self.rows("SELECT owner FROM durable_runs WHERE owner IS NOT NULL")} <= living

    def replace(self, server: Server) -> Server:
        """Stop it, and start another one in its place."""
        assert self.stop(server) == 0, server.output
        return self.start()

    def buried(self, server: Server) -> None:
        """It has ended by itself."""
        self.servers.remove(server)
        self.ended.append(server)
        server.close()

    def kill(self, server: Server) -> None:
        """As the kernel does it when memory runs out."""
        self.servers.remove(server)
        self.ended.append(server)
        at = time.time()
        server.process.kill()
        server.process.wait(10)
        self.blows.append(Blow(server.process.pid, at, frozen=False, running=self.running(server)))
        server.close()

    @contextlib.contextmanager
    def frozen(self, server: Server) -> Iterator[None]:
        """The whole machine stands still: the server process and its writer."""
        pids = [server.process.pid, *_writers(server.process.pid)]
        at = time.time()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        with contextlib.suppress(Exception):
            self.blows.append(Blow(server.process.pid, at, frozen=True, running=self.running(server)))
        try:
            yield
        finally:
            for pid in reversed(pids):
                os.kill(pid, signal.SIGCONT)

    def close(self) -> None:
        """End all of them."""
        for server in self.servers:
            server.close()

    # What is in the database, and in the notes

    def rows(self, statement: str) -> list[Any]:
        """What a query finds."""
        if self.url.startswith("sqlite:///"):
            with contextlib.closing(sqlite3.connect(self.url.removeprefix("sqlite:///"), timeout=30)) as connection:
                return list(connection.execute(statement).fetchall())
        with psycopg.connect(self.url) as connection:  # a new one each time: the server may have been stopped
            return list(connection.execute(statement.encode()).fetchall())

    def running(self, server: Server) -> list[str]:
        """The runs that a server process executes."""
        pid = server.process.pid
        owner = f"SELECT id FROM nodes WHERE process LIKE '{pid}:%' OR process = '{pid}'"
        query = f"SELECT run_id FROM durable_runs WHERE phase = 'running' AND owner IN ({owner})"
        return [row[0] for row in self.rows(query)]

    def states(self) -> dict[str, int]:
        """How many runs are in each state."""
        return {row[0]: row[1] for row in self.rows("SELECT state, count(*) FROM runs GROUP BY state")}

    def notes(self) -> list[Note]:
        """What the steps have noted."""
        lines = [line.split() for line in (self.folder / "notes").read_text().splitlines()]
        return [Note(run, what, int(pid), float(at), ours) for run, what, pid, at, ours in lines]

    def wait_for(self, ids: Sequence[str], seconds: float) -> None:
        """Until all these runs have ended."""

        def ended() -> bool:
            with contextlib.suppress(Exception):  # the database may be stopped
                left = self.rows("SELECT count(*) FROM durable_runs WHERE phase <> 'ended'")[0][0]
                total = self.rows("SELECT count(*) FROM durable_runs")[0][0]
                return bool(total >= len(ids) and not left)
            return False

        until(
            ended,
            seconds,
            what=lambda: f"{self.states()} {self.rows('SELECT phase, count(*) FROM durable_runs GROUP BY phase')}",
        )

    def log(self, event: str) -> list[dict[str, Any]]:
        """The lines of this event of all server processes."""
        lines = [line for server in [*self.ended, *self.servers] for line in server.output.splitlines()]
        found = [json.loads(line) for line in lines if line.startswith("{") and f'"{event}"' in line]
        return [line for line in found if line.get("event") == event]


class Callers:
    """Send requests to any server process that accepts connections, as a proxy does: a request that was not sent goes
    to another one. Whatever else fails is sent again with its key, so it has one run."""

    def __init__(self, cluster: Cluster, workflow: str = "five", pause: float = 0.02, count: int = 2) -> None:
        self.ids: list[str] = []
        self.statuses: dict[int, int] = defaultdict(int)
        self.broken = 0
        self.wrong: list[str] = []
        self._cluster, self._workflow, self._pause = cluster, workflow, pause
        self._stop = threading.Event()
        self._most = 0.0
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(count)]

    def send(self, most: float = math.inf) -> None:
        """Send until so many runs were accepted, or until `stop`."""
        self._most = most
        for thread in self._threads:
            thread.start()

    def accepted(self, count: int) -> None:
        """Until so many runs were."""
        until(lambda: len(self.ids) >= count, 180, what=lambda: f"{len(self.ids)} {dict(self.statuses)}")

    def wait(self, seconds: float = 120) -> list[str]:
        """The ids of all runs that were accepted."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.1, deadline - time.monotonic()))
            assert not thread.is_alive(), f"{len(self.ids)} accepted, {dict(self.statuses)}"
        return self.ids

    def stop(self) -> list[str]:
        """Send no more."""
        self._stop.set()
        return self.wait()

    def _call(self) -> None:
        with Client(trust_env=False, timeout=30) as client:
            while not self._stop.is_set() and len(self.ids) < self._most:
                run_id = self._accepted(client, new_id())
                if run_id:
                    with self._lock:
                        self.ids.append(run_id)
                time.sleep(self._pause)

    def _accepted(self, client: Client, key: str) -> str:
        while True:
            servers = list(self._cluster.servers)
            for server in random.sample(servers, len(servers)):
                if not server.address:
                    continue
                try:
                    reply = client.post(f"{server.address}/triggers/{self._workflow}", headers={"Idempotency-Key": key})
                except ConnectError:
                    continue
                except HTTPError:
                    self.broken += 1
                    continue
                if found := self._seen(reply):
                    return found
            time.sleep(0.05)

    def _seen(self, reply: Response) -> str:
        self.statuses[reply.status_code] += 1
        if reply.status_code == 202:
            return str(reply.json()["id"])
        if reply.status_code != 503 or "retry-after" not in reply.headers:
            self.wrong.append(f"{reply.status_code} {reply.text}")
        return ""


class Lag:
    """Asks a server again and again while the block runs: `most` is the longest time in seconds until an answer."""

    def __init__(self, address: str) -> None:
        self.most = 0.0
        self._address = address
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> "Lag":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        with Client(trust_env=False, timeout=30) as client:
            while not self._stop.wait(0.02):
                began = time.monotonic()
                client.get(f"{self._address}/healthz")
                self.most = max(self.most, time.monotonic() - began)


def _writers(pid: int) -> list[int]:
    found = []
    for each in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if each.name.isdecimal() and (each / "comm").read_text().strip() == f"writer-{pid}":
                found.append(int(each.name))
    return found


def repeated(notes: Sequence[Note]) -> list[Note]:
    """Steps that began although a later step of the run had begun before: they had finished."""
    furthest: dict[str, int] = {}
    found = []
    for note in sorted(notes, key=lambda each: each.at):
        number = int(note.what)
        if number < furthest.get(note.run_id, 0):
            found.append(note)
        furthest[note.run_id] = max(number, furthest.get(note.run_id, 0))
    return found


def delays(blows: Sequence[Blow], notes: Sequence[Note], least: float = 0.0) -> list[float]:
    """For each run that was executing when its server process was hit: after how many seconds a step of it began
    elsewhere. Runs that had only to record their outcome are left out."""
    found = []
    for blow in blows:
        for run_id in blow.running:
            after = [
                note.at - blow.at
                for note in notes
                if note.run_id == run_id and note.process != blow.process and note.at > blow.at
            ]
            if after and min(after) >= least:
                found.append(min(after))
    return found
