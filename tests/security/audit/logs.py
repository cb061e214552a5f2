"""An audit log as servers write it, with a chain that retention shortened and one that it removed."""

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine

from postern.journal.audit import heads
from postern.journal.audit_event import Kind
from postern.security.audit.checkpoint_file import CheckpointFile
from postern.security.audit.checkpoints import FILE_SECONDS, Checkpoints, Keeping
from postern.security.audit.log import AuditLog
from postern.security.audit.retention import AuditRetention
from postern.security.audit.signing_key import SigningKey, new_pem, signing_key
from postern.security.audit.writer import AuditWriter
from tests.journal.engines import empty_journal

HORIZON = 100_000.0


@cache
def a_key(name: str = "") -> SigningKey:
    """A new key, the same for each name."""
    del name
    return signing_key(new_pem())


class Clock:
    """A clock that goes a second further with each look."""

    def __init__(self, at: float) -> None:
        self.at = at

    def __call__(self) -> float:
        self.at += 1.0
        return self.at


class Node:
    """One server process: what it does for the audit log, on a database."""

    def __init__(
        self,
        engine: Engine,
        name: str,
        at: float = 1.0,
        key: SigningKey | None = None,
        file: Path | None = None,
        file_seconds: float = FILE_SECONDS,
    ) -> None:
        self.engine = engine
        self.clock = Clock(at)
        self.audit = AuditLog(now=self.clock)
        self.writer = AuditWriter(self.audit, name, self.transact)

        async def signing() -> SigningKey:
            assert key is not None
            return key

        keeping = Keeping(signing if key else None, CheckpointFile(file) if file else None, file_seconds)
        self.checkpoints = Checkpoints(self.writer, self.heads, self.transact, keeping, now=self.clock)
        self.retention = AuditRetention(
            self.audit, self.writer, self.checkpoints, self.transact, self.transact, sleep=no_sleep
        )

    async def transact(self, operation: Callable[[Connection], Any], /) -> Any:
        with self.engine.begin() as connection:
            return operation(connection)

    async def heads(self) -> Any:
        return await self.transact(heads)

    async def happens(self, count: int, name: str = "x") -> None:
        for number in range(count):
            self.audit.note(Kind.RECORD_VIEWED, subject="somebody", workflow="hello", fields={"run": f"{name}{number}"})
        assert await self.writer.flush()

    async def checkpoint(self) -> None:
        assert await self.checkpoints.make()


async def no_sleep(_: float) -> None:
    """Nothing waits in a test."""


async def write_log(engine: Engine, key: SigningKey | None, file: Path | None = None) -> None:
    """Two chains that are there, of which one was shortened, and one that is gone."""
    gone = Node(engine, "node-gone", 1.0, key, file)
    await gone.happens(5)
    await gone.checkpoint()
    old = Node(engine, "node-old", 100.0, key, file)
    await old.happens(6)
    await old.checkpoint()
    old.clock.at = HORIZON + 10_000
    await old.happens(7)
    await old.checkpoint()
    await old.happens(3)
    await old.checkpoint()
    new = Node(engine, "node-new", HORIZON + 20_000, key, file)
    await new.happens(8)
    await new.checkpoint()
    await new.retention.sweep(HORIZON)
    await new.happens(4)
    await new.checkpoint()
    await old.happens(2)
    await old.checkpoint()
    await new.happens(1)
    await new.checkpoint()


@contextmanager
def journal(path: Path) -> Iterator[Engine]:
    engine = empty_journal(f"sqlite:///{path}")
    yield engine
    engine.dispose()


Anything = Callable[[], Awaitable[None]]


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The lines of an audit file."""
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]
