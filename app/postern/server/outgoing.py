"""What the connections of one server have to send, and those whose clients do not read it.

TCP sets no limit to how long a client may leave its window closed (RFC 9293, section 3.8.6.1: probes go on for ever).
So a client that reads nothing would keep its connection and its reply for as long as it likes.
"""

import asyncio
import struct
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from contextvars import Context
from typing import NamedTuple, Protocol
from weakref import WeakKeyDictionary

import structlog
from uvicorn.server import ServerState

from postern.journal.shares import ANONYMOUS, holder_of
from postern.logs import Coalesced

MOST_BYTES = 64 * 1024 * 1024
"""Unread bytes of all connections together beyond which connections whose clients do not read, or next to nothing, are
closed early."""

LOOK_SECONDS = 0.5
"""Between two looks at the connections whose clients do not read. There are none without such connections."""

_SIOCOUTQ = 0x5411
"""Linux, tcp(7): the bytes that were sent and not acknowledged."""

log = structlog.get_logger("postern.http")


class Sender(Protocol):
    """A connection. `write_seconds`: how long its client may take nothing of what waits for it."""

    transport: asyncio.Transport
    client: tuple[str, int] | None
    write_seconds: float


class Stall(NamedTuple):
    """A connection with unread bytes: `left` when its client took some last, which was at `since`. It is watched since
    `began`, and its client has taken so many bytes from then on."""

    sender: Sender
    left: int
    since: float
    began: float
    taken: int = 0

    def moves(self, now: float) -> bool:
        """Whether the client takes its bytes: at this rate it has all in the time in which others have to take some. A
        few bytes now and then would keep a connection for hours."""
        watched = now - self.began
        new = watched <= LOOK_SECONDS
        return new or (
            now - self.since < LOOK_SECONDS and self.taken * self.sender.write_seconds >= self.left * watched
        )


class Held(NamedTuple):
    """What a connection holds in this process, and whether its client takes some of it."""

    sender: Sender
    size: int
    address: str
    moves: bool


class Outgoing:
    """The unsent bytes of one server. It belongs to one event loop.

    `waiting` has the responses that are written together, in order. Connections call `watch` when bytes are left that
    the socket did not take, and `leave` when there are none or the connection is lost.
    """

    def __init__(self) -> None:
        self.waiting: list[tuple[asyncio.Transport, bytes]] = []
        self._stalls: dict[Sender, Stall] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._closed = Coalesced("reply-not-read")

    def watch(self, sender: Sender, loop: asyncio.AbstractEventLoop) -> None:
        """Limit the time of a connection from now on."""
        if sender not in self._stalls:
            now = loop.time()
            self._stalls[sender] = Stall(sender, unread(sender.transport), now, now)
        if self._timer is None:
            self._timer = loop.call_later(LOOK_SECONDS, self._look, loop, context=Context())

    def leave(self, sender: Sender) -> None:
        """Watch a connection no longer."""
        self._stalls.pop(sender, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        late: list[Sender] = []
        held: list[Held] = []
        for stall in list(self._stalls.values()):
            sender = stall.sender
            size, left = unsent(sender.transport), unread(sender.transport)
            waited = 0.0 if left < stall.left else now - stall.since
            taken = stall.taken + max(0, stall.left - left)  # `left` also grows: more was written
            stall = self._stalls[sender] = Stall(sender, left, now - waited, stall.began, taken)  # noqa: PLW2901
            if waited >= sender.write_seconds:
                late.append(sender)
            else:
                held.append(Held(sender, size, _network_of(sender), stall.moves(now)))
        for sender in [*late, *beyond(held, MOST_BYTES)]:
            self._close(sender)
        self._timer = loop.call_later(LOOK_SECONDS, self._look, loop, context=Context()) if self._stalls else None

    def _close(self, sender: Sender) -> None:
        self.leave(sender)
        self._closed.add(
            log.warning,
            client_address=sender.client[0] if sender.client else "",
            bytes=unsent(sender.transport),
        )
        sender.transport.abort()


def _network_of(sender: Sender) -> str:
    """The address of a client; of version 6 its network, all of whose addresses one client may use."""
    return holder_of(ANONYMOUS, "", "", sender.client[0] if sender.client else "")[1]


def beyond(held: Iterable[Held], most: int) -> list[Sender]:
    """The connections to close so that the others hold at most `most` bytes: first those of the address that holds the
    most, and of these the oldest. A client that reads (see `Stall.moves`) keeps its connection. `held` begins with the
    oldest."""
    every = list(held)
    total = sum(each.size for each in every)
    if total <= most:
        return []
    of_address: Counter[str] = Counter()
    for each in every:
        of_address[each.address] += each.size
    chosen = []
    for each in sorted(every, key=lambda each: -of_address[each.address]):
        if total <= most:
            break
        if not each.moves:
            chosen.append(each.sender)
            total -= each.size
    return chosen


def unsent(transport: asyncio.Transport) -> int:
    """The bytes that wait in this process. asyncio's transports for TLS can no longer tell when they are closed."""
    try:
        return transport.get_write_buffer_size()
    except AttributeError:
        return 0


def unread(transport: asyncio.Transport) -> int:
    """The bytes that the client has not taken: in this process, and on Linux in the kernel too, whose buffer may take
    nothing for minutes although a slow client reads."""
    size = unsent(transport)
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError, AttributeError):  # closed, or no TCP socket
            found = fcntl.ioctl(transport.get_extra_info("socket").fileno(), _SIOCOUTQ, bytes(4))
            size += struct.unpack("i", found)[0]
    return size


_of_server: "WeakKeyDictionary[ServerState, Outgoing]" = WeakKeyDictionary()


def outgoing_of(server: ServerState) -> Outgoing:
    """What this server has to send: one object for all its connections."""
    found = _of_server.get(server)
    if found is None:
        found = _of_server[server] = Outgoing()
    return found
