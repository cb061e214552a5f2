"""Callers that keep a server busy and keep every reply, and the proof that the journal has all of it."""

import itertools
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from sqlalchemy import inspect, select

from postern.journal.database.engine import open_engine
from postern.journal.schema import runs
from tests.process.servers import Server, until

WORKFLOWS = """
import asyncio, time
from pathlib import Path
from postern import anonymous, workflow

@workflow(access=anonymous())
async def doubles(ctx, number: int):
    return {"doubled": number * 2}

@workflow(access=anonymous())
async def waits(ctx, number: int):
    await asyncio.sleep(number % 50 / 1000)
    return {"doubled": number * 2}

@workflow(access=anonymous())
def in_a_thread(ctx, number: int):
    time.sleep(number % 20 / 1000)
    return {"doubled": number * 2}

@workflow(access=anonymous())
async def fails(ctx, number: int):
    raise ValueError(number)

@workflow(access=anonymous(), stateless=True)
async def unrecorded(ctx):
    return 1

@workflow(access=anonymous())
async def hold(ctx):
    Path(f"held-{ctx.run_id}").touch()
    while not Path("go-on").exists():
        await asyncio.sleep(0.01)
    return 1
"""
TRIGGERS = ("doubles", "waits", "doubles", "in-a-thread", "fails", "waits")
OUTCOMES = {"Succeeded", "Failed"}
ASKS_AGAIN = {"run-in-progress", "journal-unavailable", "shutting-down"}
CALLS_ON_A_CONNECTION = 7
SOON = 500
PATIENCE = 40.0
"""Seconds that anything may take, or SOON replies: it is short, but the machine may be busy with other work."""


@dataclass(frozen=True)
class Reply:
    """A caller's reply, and how long it took in seconds. `key` is the Idempotency-Key, "" for none."""

    trigger: str
    body: str
    key: str
    status: int
    headers: Mapping[str, str]
    content: str
    seconds: float

    @property
    def run_id(self) -> str:
        """The run that replied; "" where none did."""
        return self.headers.get("x-run-id", "")

    @property
    def code(self) -> str:
        """Of the problem that the reply is, if it is one."""
        is_problem = self.headers.get("content-type") == "application/problem+json"
        return str(json.loads(self.content)["code"]) if is_problem else ""


class Callers:
    """Threads that call triggers, each one after the reply to its last call, at the port that they were sent to. Now
    and then that is on a new connection. Every third call has a key, and is sent again until a run has replied."""

    def __init__(self, count: int, triggers: tuple[str, ...] = TRIGGERS, padding: int = 0) -> None:
        self.triggers = triggers
        self.padding = " " * padding
        self.replies: list[Reply] = []
        self.turned_away: list[Reply] = []
        self.broken: list[str] = []
        self.faults: list[BaseException] = []
        self.stopping = threading.Event()
        self._numbers = itertools.count(1)
        self._goal = (0, 0)
        self._callers: list[_Caller] = []
        self._moved = threading.Condition()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def go_to(self, port: int) -> None:
        """Call here from now on; 0 is nowhere."""
        with self._moved:
            self._goal = (self._goal[0] + 1, port)
            self._moved.notify_all()

    def hang_up(self) -> None:
        """Break all connections, also those on which a caller waits for a reply."""
        for caller in self._callers:
            caller.hang_up()

    def goal(self, broken: int) -> tuple[int, int]:
        """Where to call, as soon as callers were sent anywhere after the connection broke: the number of that move, and
        the port, which is 0 when there are to be no more calls."""
        with self._moved:
            self._moved.wait_for(lambda: self.stopping.is_set() or (self._goal[0] > broken and self._goal[1]))
            move, port = self._goal
            return move, port if move > broken else 0

    def wait_for(self, more: int, server: Server, what: str = "replies") -> None:
        """Until there are so many more replies, or so many more in another list."""
        found = getattr(self, what)
        target = len(found) + more
        while len(found) < target:
            part = min(target, len(found) + SOON)
            until(lambda: self.faults or len(found) >= part, PATIENCE, lambda: f"{what}: {server.output[-5000:]}")  # noqa: B023
            assert not self.faults, self.faults[0]

    def stop(self) -> None:
        """Make no new calls, and return when each has its reply or has seen its connection break."""
        self.stopping.set()
        with self._moved:
            self._moved.notify_all()
        for thread in self._threads:
            thread.join(PATIENCE)
        assert not [thread for thread in self._threads if thread.is_alive()]
        assert not self.faults, self.faults[0]

    def _work(self) -> None:
        caller = _Caller(self)
        self._callers.append(caller)
        try:
            while not self.stopping.is_set():
                caller.call(number := next(self._numbers))
                if number % CALLS_ON_A_CONNECTION == 0:
                    caller.leave()
        except BaseException as error:  # the test's own thread looks at it
            self.faults.append(error)
        finally:
            caller.leave()


class _Caller:
    """One of them, with a connection of its own."""

    def __init__(self, callers: Callers) -> None:
        self._all = callers
        self._connection: HTTPConnection | None = None
        self._move = 0
        self._broken = 0

    def call(self, number: int) -> None:
        """Make one call, as often as it takes where it has a key."""
        callers = self._all
        trigger = callers.triggers[number % len(callers.triggers)]
        body, key = f"{number}{callers.padding}", f"key-{number}" if number % 3 == 0 else ""
        until_when = time.monotonic() + PATIENCE
        while connection := self._connected():
            reply = self._ask(connection, trigger, body, key)
            if reply is not None and reply.code not in ASKS_AGAIN:
                callers.replies.append(reply)
                return
            if reply is not None:
                callers.turned_away.append(reply)
                callers.stopping.wait(0.02)
            if not key:
                return
            assert time.monotonic() < until_when, f"no run replies: {reply}"

    def leave(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def hang_up(self) -> None:
        """Break the connection, from another thread."""
        with suppress(AttributeError, OSError):  # there is none at the moment
            self._connection.sock.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]

    def _connected(self) -> HTTPConnection | None:
        if self._connection is None:
            self._move, port = self._all.goal(self._broken)
            self._connection = HTTPConnection("127.0.0.1", port, timeout=20) if port else None
        return self._connection

    def _ask(self, connection: HTTPConnection, trigger: str, body: str, key: str) -> Reply | None:
        """The reply; None where the connection broke before it came."""
        headers = {"Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})}
        began = time.monotonic()
        try:
            connection.request("POST", f"/triggers/{trigger}", body, headers)
            answer = connection.getresponse()
            content = answer.read().decode()
        except TimeoutError:
            raise
        except (OSError, HTTPException):
            self._all.broken.append(body)
            self._broken = self._move
            self.leave()
            return None
        fields = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(trigger, body, key, answer.status, fields, content, time.monotonic() - began)


@contextmanager
def calling(count: int = 10, **options: Any) -> Iterator[Callers]:
    """Callers while the block runs."""
    callers = Callers(count, **options)
    try:
        yield callers
    except BaseException:
        callers.stopping.set()
        callers.go_to(0)
        raise
    callers.go_to(0)
    callers.stop()


def folder_of_workflows(folder: Path) -> None:
    """The workflows that callers call."""
    (folder / "workflows").mkdir()
    (folder / "workflows" / "work.py").write_text(WORKFLOWS, encoding="utf-8")


def records(url: str) -> list[dict[str, Any]]:
    """All rows of the journal's runs."""
    engine = open_engine(url, writing=False)
    try:
        with engine.connect() as connection:
            there = inspect(connection).has_table("runs")  # the writer makes it, a moment after the server has started
            return [dict(row) for row in connection.execute(select(runs)).mappings()] if there else []
    finally:
        engine.dispose()


def none_stays_running(url: str, server: Server) -> None:
    """Wait until every recorded run has ended or is Interrupted."""
    until(
        lambda: not [row for row in records(url) if row["state"] == "Running"],
        PATIENCE,
        lambda: f"{[row for row in records(url) if row['state'] == 'Running'][:3]} {server.output[-3000:]}",
    )


def assert_kept(url: str, callers: Callers) -> Counter[str]:
    """Every reply is recorded as the caller got it, every call once. Returns the recorded runs by state."""
    rows = records(url)
    assert len({row["id"] for row in rows}) == len(rows)
    assert_recorded(rows, callers.replies)
    ended = Counter(row["inputs"] for row in rows if row["state"] in OUTCOMES)
    assert [call for call, times in ended.items() if times > 1] == []
    replied = Counter(reply.body for reply in callers.replies)
    assert [call for call, times in replied.items() if times > 1] == []
    states = Counter(str(row["state"]) for row in rows)
    assert states.keys() <= OUTCOMES | {"Interrupted"}
    return states


def assert_recorded(rows: Iterable[Mapping[str, Any]], replies: Iterable[Reply]) -> None:
    """Each of these replies is recorded as the caller got it."""
    found = {row["id"]: row for row in rows}
    for reply in replies:
        row = found[reply.run_id]
        expected = ("Failed", 500) if reply.trigger == "fails" else ("Succeeded", 200)
        if reply.status == 200:
            assert json.loads(reply.content) == {"doubled": int(reply.body) * 2}
        assert (row["workflow"], row["inputs"], row["outputs"]) == (reply.trigger, reply.body, reply.content)
        assert (row["state"], row["status"]) == expected == (expected[0], reply.status)


def assert_told(url: str, callers: Callers) -> None:
    """A 503 with a run's id is for a run that is recorded with its outcome; one without is for a run that never was."""
    rows = {row["id"]: row for row in records(url)}
    bodies = {row["inputs"] for row in rows.values()}
    away = [reply for reply in callers.turned_away if reply.code == "journal-unavailable"]
    for reply in away:
        if reply.run_id:
            assert rows[reply.run_id]["state"] in OUTCOMES, reply
            assert ("retry-after" in reply.headers) == bool(reply.key)
        else:
            assert reply.key or reply.body not in bodies, reply
            assert reply.headers["retry-after"] == "2"


def assert_undisturbed(server: Server) -> None:
    """Nothing went wrong in the server that its log would say."""
    for sign in ("Traceback", "batch-lost", "batch-refused", "row-lost", "operation-failed", "never retrieved"):
        assert sign not in server.output, server.output[-5000:]
