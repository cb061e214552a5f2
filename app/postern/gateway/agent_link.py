"""The link of one agent, as a server process sees it."""

from collections.abc import Callable
from contextlib import suppress

import anyio

from postern.access import Caller
from postern.gateway.hello import HELLO, AgentState, ServerState, agent_state, line, objects
from postern.gateway.link import STREAMS, LinkError
from postern.gateway.link_io import LinkIO
from postern.gateway.streams import LinkStream
from postern.tunnels import Tunnel

HELLO_SECONDS = 9.0
"""How long an agent may take to say its name, or to take a line of ours."""

LAST_CALLS = 600.0
"""Seconds that calls may go on after the agent's token has expired."""


CALLS_EVERY = 5.0
"""Seconds between two looks whether they have ended."""


class LinkTunnel(Tunnel):
    """Bytes to a target and back, over an agent."""

    def __init__(self, stream: LinkStream, link: "AgentLink") -> None:
        self.gateway = link.gateway
        self.agent = link.agent
        self._stream = stream
        self._link = link
        link.tunnels.add(self)

    @property
    def ended(self) -> bool:
        """Whether the target sends no more, or the link is going: a new request needs another tunnel."""
        return self._stream.ended or self._link.going

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """At least one byte, at most `max_bytes`."""
        return await self._stream.receive(max_bytes)

    async def send(self, item: bytes) -> None:
        """Returns when the link has all of it."""
        await self._stream.send(item)

    async def send_eof(self) -> None:
        """The target reads to the end."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """The agent closes its connection to the target."""
        await self._stream.aclose()
        self._link.closed(self)


class AgentLink:
    """One agent's link. `expires_at`: when its token expires, in Unix seconds. `changed` is called when it may be used
    by more or fewer tunnels than before."""

    def __init__(
        self,
        gateway: str,
        caller: Caller,
        expires_at: float,
        io: LinkIO,
        now: Callable[[], float],
        changed: Callable[["AgentLink"], None],
    ) -> None:
        self.gateway = gateway
        self.caller = caller
        self.expires_at = expires_at
        self.io = io
        self.state: AgentState | None = None
        """What the agent said of itself; None before its first line."""
        self.superseded = False
        """Whether the same agent has a newer link."""
        self.tunnels: set[LinkTunnel] = set()
        self.last_used = 0
        self.since = now()
        self._now = now
        self._changed = changed
        self._hello: LinkStream | None = None

    @property
    def agent(self) -> str:
        """The agent's name, or its object id before it said one."""
        return self.state.agent if self.state is not None else self.caller.object_id

    @property
    def going(self) -> bool:
        """Whether its tunnels must end: it has ended, its agent drains, or its token has expired."""
        draining = self.state is not None and self.state.draining
        return self.io.ended is not None or draining or self._now() >= self.expires_at

    @property
    def usable(self) -> bool:
        """Whether a tunnel may be opened on it now."""
        return (
            self.state is not None
            and not (self.going or self.superseded)
            and self.io.answering
            and self.io.streams < STREAMS
        )

    async def run(self, server: ServerState) -> str:
        """Runs until the link ends, and returns why."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._talk, server)
            group.start_soon(self._expect_hello)
            group.start_soon(self._expire)
            reason = await self.io.run()
            group.cancel_scope.cancel()
        return reason

    async def say(self, server: ServerState) -> None:
        """Tell the agent what changed. A link that has ended gets nothing, and one that takes nothing ends."""
        if self._hello is None or self.io.ended is not None:
            return
        with anyio.move_on_after(HELLO_SECONDS), suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._hello.send(line(server))
            return
        self.io.stop("the agent ended the hello")

    def closed(self, tunnel: LinkTunnel) -> None:
        """A tunnel was closed at this end."""
        self.tunnels.discard(tunnel)

    async def _talk(self, server: ServerState) -> None:
        try:
            self._hello = self.io.open(HELLO)
            await self.say(server)
            async for fields in objects(self._hello):
                self.state = agent_state(fields)
                self._changed(self)
            self.io.stop("the agent ended the hello")
        except LinkError as error:
            self.io.stop(error.reason)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            self.io.stop("the agent ended the hello")

    async def _expect_hello(self) -> None:
        await self.io.sleep(HELLO_SECONDS)
        if self.state is None:
            self.io.stop("the agent said nothing")

    async def _expire(self) -> None:
        """Times of day are compared each minute, because a clock may be set."""
        while (rest := self.expires_at - self._now()) > 0:
            await self.io.sleep(min(rest, 60.0))
        self._changed(self)
        until = self.io.clock() + LAST_CALLS
        while self.tunnels and self.io.clock() < until:
            await self.io.sleep(CALLS_EVERY)
        self.io.stop("the token of the agent expired")
