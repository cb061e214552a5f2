"""What the server asks for on a link: tunnels to targets. Each is decided by the rows of gateway.toml, logged and
counted. A target that the rows do not allow any more is closed."""

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import anyio
import structlog
from anyio.abc import ByteStream

from postern.gateway.agent.allowed import Denied, Target, row_of, target_of
from postern.gateway.agent.counts import Counts
from postern.gateway.agent.relay import Note, Relay
from postern.gateway.agent.rows import Row
from postern.gateway.agent.targets import Targets, Unreached
from postern.gateway.reasons import ENTRY_HEADER, REASON_HEADER, STATUS, TLS_HEADER
from postern.gateway.streams import LinkStream
from postern.plain_text import plain

CHUNK = 64 * 1024
MOST_OF_A_NAME = 200
CLOSED = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)

log = structlog.get_logger(__name__)


@dataclass(eq=False, slots=True)
class _Open:
    """An open tunnel, and what ends it."""

    authority: str
    ends_tls: bool
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    received: int = 0
    sent: int = 0
    disallowed: bool = False


class Tunnels:
    """Serves the CONNECT requests of all links."""

    def __init__(
        self,
        rows: Sequence[Row],
        counts: Counts,
        targets: Targets | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rows = tuple(rows)
        self._counts = counts
        self._targets = targets or Targets()
        self._clock = clock
        self._open: set[_Open] = set()

    def __len__(self) -> int:
        return len(self._open)

    def allow(self, rows: Sequence[Row]) -> int:
        """Decide by these rows from now on. Open tunnels that they do not allow are closed. Returns how many."""
        self._rows = tuple(rows)
        ended = [
            each
            for each in self._open
            if isinstance(target_of(self._rows, each.authority, ends_tls=each.ends_tls), Denied)
        ]
        for each in ended:
            each.disallowed = True
            each.scope.cancel()
        return len(ended)

    async def serve(self, stream: LinkStream) -> None:
        """Serve one CONNECT. The stream is answered, whatever happens."""
        authority = stream.request.get(":authority", "")
        ends_tls = stream.request.get(TLS_HEADER) == "gateway"
        entry = stream.request.get(ENTRY_HEADER, "")
        about = {"entry": plain(entry[:MOST_OF_A_NAME]), "target": plain(authority[:MOST_OF_A_NAME])}
        began = self._clock()
        try:
            target = self._decided(authority, ends_tls=ends_tls)
            connection = await self._targets.connect(target)
        except Unreached as unreached:
            denied = unreached.denied
            self._counts.ended.labels(denied.reason.value).inc()
            log.warning("tunnel_refused", **about, reason=denied.reason.value, why=denied.text)
            await stream.answer(STATUS[denied.reason], ((REASON_HEADER, denied.reason.value),), end=True)
            return
        async with connection:
            with self._counted(authority, ends_tls=ends_tls) as opened:
                await stream.answer(200)
                counted = _Counted(connection, opened)
                if ends_tls:
                    work = Relay(stream, counted, target, self._check(opened), _note(about)).run
                else:
                    work = partial(copy_both, stream, counted)
                await _unless_broken(work, stream, opened.scope)
        seconds = round(self._clock() - began, 3)
        why = {"ended_by": "the rows, which no longer allow it"} if opened.disallowed else {}
        log.info("tunnel_ended", **about, seconds=seconds, received=opened.received, sent=opened.sent, **why)

    def _decided(self, authority: str, *, ends_tls: bool) -> Target:
        found = target_of(self._rows, authority, ends_tls=ends_tls)
        if isinstance(found, Denied):
            raise Unreached(found)
        return found

    def _check(self, opened: _Open) -> Callable[[str, bytes], Row | Denied]:
        def check(method: str, path: bytes) -> Row | Denied:
            found = target_of(self._rows, opened.authority, ends_tls=True)
            return found if isinstance(found, Denied) else row_of(found, method, path)

        return check

    @contextmanager
    def _counted(self, authority: str, *, ends_tls: bool) -> Iterator[_Open]:
        opened = _Open(authority, ends_tls)
        self._open.add(opened)
        self._counts.tunnels.inc()
        try:
            yield opened
        finally:
            self._open.discard(opened)
            self._counts.tunnels.dec()
            self._counts.ended.labels("ok").inc()
            self._counts.bytes.labels("from_target").inc(opened.received)
            self._counts.bytes.labels("to_target").inc(opened.sent)


class _Counted(ByteStream):
    """A connection that counts its bytes."""

    def __init__(self, connection: ByteStream, opened: _Open) -> None:
        self._connection = connection
        self._opened = opened

    async def receive(self, max_bytes: int = CHUNK) -> bytes:
        """Receive and count."""
        data = await self._connection.receive(max_bytes)
        self._opened.received += len(data)
        return data

    async def send(self, item: bytes) -> None:
        """Send and count."""
        await self._connection.send(item)
        self._opened.sent += len(item)

    async def send_eof(self) -> None:
        """End the sending direction."""
        await self._connection.send_eof()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._connection.aclose()


async def copy_both(tunnel: ByteStream, target: ByteStream) -> None:
    """Copy bytes in both directions until both have ended, or one breaks. Each side's end is passed on. At most one
    chunk is held in each direction: a side that does not read makes the other wait."""
    async with anyio.create_task_group() as group:

        async def one(source: ByteStream, sink: ByteStream) -> None:
            try:
                while True:
                    try:
                        data = await source.receive(CHUNK)
                    except anyio.EndOfStream:
                        break
                    await sink.send(data)
                await sink.send_eof()
            except (*CLOSED, OSError):
                group.cancel_scope.cancel()  # both end broken off, so neither takes a part for the whole

        group.start_soon(one, tunnel, target)
        await one(target, tunnel)


async def _unless_broken(work: Callable[[], Awaitable[None]], tunnel: LinkStream, scope: anyio.CancelScope) -> None:
    """Work until it ends, until the tunnel is broken off, or until the scope is cancelled."""
    with scope:
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                await tunnel.until_broken()
                scope.cancel()

            group.start_soon(watch)
            await work()
            group.cancel_scope.cancel()


def _note(about: dict[str, str]) -> Note:
    def note(method: str, path: str, outcome: str, why: str) -> None:
        if why:
            log.warning("request_refused", **about, method=method[:20], path=plain(path), why=plain(why))
        else:
            log.info("request_relayed", **about, method=method, path=plain(path), outcome=outcome)

    return note
