"""Checkpoints: signed statements of where all chains of the audit log end."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import structlog

from postern.errors import Problem
from postern.ids import new_id
from postern.journal.audit import Checkpoint, record_checkpoint
from postern.journal.audit_chain import GENESIS, Head, body_hash, canonical
from postern.journal.server_processes import Transaction
from postern.security.audit.checkpoint_file import CheckpointFile
from postern.security.audit.signing_key import KeyFault, SigningKey
from postern.security.audit.writer import AuditWriter

EVERY = 300.0
MOST_EVENTS = 1_000
"""A checkpoint is made after so many seconds, or so many events of this server process, if anything happened."""

AGAIN = 60.0
"""Seconds until it is tried again after a failure."""

LOOK_EVERY = 1.0

FILE_SECONDS = 10.0
"""How long a checkpoint waits for the file. A file of a network may hang: the log and the table have it by then."""

PART = 8_000
MOST_PARTS = 3
"""A line of the log has a body in parts of so many characters: longer fields are cut."""

log = structlog.get_logger("postern.audit")


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where checkpoints go besides the table, and the key that signs them: None without one."""

    key: Callable[[], Awaitable[SigningKey]] | None = None
    file: CheckpointFile | None = None
    file_seconds: float = FILE_SECONDS


class Checkpoints:
    """Makes the checkpoints of this server process. It belongs to one event loop. `read_heads` reads the heads of all
    chains, and `write` is the journal's. `last_at` is when the last checkpoint was made, and `why_not` why none can be
    made now."""

    def __init__(
        self,
        writer: AuditWriter,
        read_heads: Callable[[], Awaitable[dict[str, Head]]],
        write: Transaction,
        keeping: Keeping,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.last_at = 0.0
        self.why_not = ""
        self._writer = writer
        self._read_heads = read_heads
        self._write = write
        self._keeping = keeping
        self._now = now
        self._clock = clock
        self._tried_at = float("-inf")
        self._covered = 0
        self._end = (0, GENESIS)
        self._heads: Mapping[str, Head] = {}
        self._unwritten: Checkpoint | None = None
        self._file_failed = False
        self._file_writing: asyncio.Future[None] | None = None
        self._making = asyncio.Lock()

    async def run(self) -> None:
        """Make a checkpoint when it is time, until cancelled. The key is read at once, so that a fault of it shows."""
        with suppress(Exception):  # it is logged when a checkpoint is made, too
            await self._key()
        while True:
            await asyncio.sleep(LOOK_EVERY)
            if self.is_due():
                await self.make()

    def is_due(self) -> bool:
        """Whether it is time for a checkpoint. After a failure it is tried again each minute."""
        if not self._writer.head.number:
            return False
        waited = self._clock() - self._tried_at
        file = self._keeping.file
        if self.why_not or (file is not None and file.waiting):
            return waited >= AGAIN
        return waited >= EVERY or self._writer.written - self._covered >= MOST_EVENTS

    async def make(self) -> bool:
        """Make a checkpoint, unless nothing happened since the last. Returns whether all that was written until now is
        covered by one."""
        async with self._making:
            self._tried_at = self._clock()
            try:
                while True:
                    waited = self._unwritten  # from before: it does not name what came since
                    made = waited or await self._next()
                    if made is not None:
                        self._unwritten = made
                        await self._write(partial(record_checkpoint, checkpoint=made))
                        self._wrote(made)
                    if waited is None:
                        break
            except Exception as error:
                self._fail(error)
                return False
            await self._write_file()
            self.why_not = ""
            return True

    async def _next(self) -> Checkpoint | None:
        writer = self._writer
        head, written = writer.head, writer.written
        if not head.number:
            return None
        heads = await self._read_heads()
        heads[writer.node] = head  # as this process knows it, whatever the table says
        if heads == self._heads:
            return None
        signer = await self._key()
        number, previous = self._end
        at, name = self._now(), new_id()
        body = canonical(
            {
                "at": at,
                "heads": {node: [each.number, each.hash] for node, each in heads.items()},
                "id": name,
                "kind": "audit-checkpoint",
                "node": writer.node,
                "number": number + 1,
                "previous": previous,
            }
        )
        self._heads, self._covered = heads, written
        signature, key_id = (signer.sign(body), signer.id) if signer is not None else ("", "")
        return Checkpoint(name, writer.node, number + 1, at, body, signature, key_id)

    async def _key(self) -> SigningKey | None:
        """The key, None without one. While a key cannot be read, no checkpoint is made, and then one covers all that
        happened meanwhile."""
        if self._keeping.key is None:
            return None
        try:
            return await self._keeping.key()
        except KeyFault as fault:
            self._fail(fault)
            raise

    def _fail(self, error: Exception) -> None:
        if isinstance(error, Problem):
            self.why_not = error.code  # the journal says so itself
            return
        why = str(error) if isinstance(error, KeyFault) else type(error).__name__  # others may have data in them
        if why != self.why_not:
            log.error("audit-checkpoint-not-made", reason=why)
        self.why_not = why

    def _wrote(self, made: Checkpoint) -> None:
        self._unwritten = None
        self._end = (made.number, body_hash(made.body))
        self.last_at = made.at
        line = {"checkpoint": made.id, "signature": made.signature, "key_id": made.key_id}
        log.info("audit-checkpoint", **line, **in_parts(made.body))
        if self._keeping.file is not None:
            self._keeping.file.add(canonical({"event": "audit-checkpoint", **line, "body": made.body}))

    async def _write_file(self) -> None:
        file = self._keeping.file
        if file is None or not file.waiting:
            return
        if self._file_writing is None or self._file_writing.done():  # else a thread still waits for the file
            self._file_writing = asyncio.ensure_future(asyncio.to_thread(file.write))
            self._file_writing.add_done_callback(lambda writing: writing.cancelled() or writing.exception())
        try:
            async with asyncio.timeout(self._keeping.file_seconds):
                await asyncio.shield(self._file_writing)
        except OSError as error:  # TimeoutError is one
            if not self._file_failed:
                self._file_fails(file, error.strerror or "it does not respond")
            self._file_failed = True
        else:
            self._file_failed = False

    def _file_fails(self, file: CheckpointFile, why: str) -> None:
        log.error("audit-file-not-written", path=str(file.path), error=why, waiting=file.waiting)


def in_parts(body: str) -> dict[str, str]:
    """A body as fields of a line of the log. Of one that is too long for it the line has the SHA-256 only."""
    parts = [body[place : place + PART] for place in range(0, len(body), PART)]
    if len(parts) > MOST_PARTS:
        return {"body_sha256": body_hash(body)}
    return {f"body_{number}" if number > 1 else "body": part for number, part in enumerate(parts, start=1)}
