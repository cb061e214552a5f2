"""The links of agents to this server process, and tunnels over them."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import anyio
import structlog

from postern.access import Caller
from postern.gateway.agent_link import AgentLink, LinkTunnel
from postern.gateway.hello import ServerState
from postern.gateway.link import LinkError, LinkFull
from postern.gateway.link_io import LinkIO
from postern.gateway.reasons import ENTRY_HEADER, REASON_HEADER, TLS_HEADER
from postern.gateway.refused import FINAL, more_of, no_agent, reason_of
from postern.gateway.streams import LinkStream
from postern.tunnels import Reason, Tunnel, TunnelRefused

MOST_AGENTS = 16
"""Agents of one gateway."""

MOST_LINKS = 2 * MOST_AGENTS
"""Links of one gateway: each agent may renew its own."""

AGENT_WAIT = 10.0
"""Seconds that a call waits for an agent where none is connected."""

ANSWER_WAIT = 3.0
"""Seconds after which a tunnel that was not answered is tried at another agent."""

LOOK_AGAIN = 0.25
"""Seconds."""

NODES_EVERY = 1.0
"""Seconds between two looks at the list of server processes."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Figures:
    """What metrics show of one gateway: tunnels by their outcome, and bytes of links that have ended. `error` is the
    last failure of a tunnel."""

    outcomes: dict[str, int] = field(default_factory=dict)
    received: int = 0
    sent: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class LastAgent:
    """The agent whose link ended last. `at` is in Unix seconds."""

    agent: str
    at: float
    reason: str

    def __str__(self) -> str:
        at = datetime.fromtimestamp(self.at, UTC)
        return f"{self.agent} was until {at:%H:%M:%S} UTC ({self.reason})"


@dataclass(frozen=True, slots=True)
class _Target:
    """What is to be opened."""

    host: str
    port: int
    entry: str
    ends_tls: bool

    @property
    def head(self) -> Iterable[tuple[str, str]]:
        authority = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        yield ":method", "CONNECT"
        yield ":authority", authority
        yield ENTRY_HEADER, self.entry
        if self.ends_tls:
            yield TLS_HEADER, "gateway"

    def refused(self, reason: Reason, link: AgentLink) -> TunnelRefused:
        more = more_of(reason, ends_tls=self.ends_tls)
        return TunnelRefused(reason, link.gateway, link.agent, self.host, self.port, more)


class Hub:
    """Knows the links of the gateways of `names`, and opens tunnels. `nodes` returns the ids of the live server
    processes, and `node` is this one's. It belongs to one event loop. `clock` of the links is monotonic, `now` is the
    time of day."""

    def __init__(
        self,
        names: Iterable[str],
        *,
        node: str = "",
        nodes: Callable[[], Sequence[str]] = tuple,
        version: str = "",
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.links: Mapping[str, list[AgentLink]] = {name: [] for name in names}
        self.last: dict[str, LastAgent] = {}
        self.figures: Mapping[str, Figures] = {name: Figures() for name in self.links}
        self.going: list[Callable[[str], None]] = []
        """Called with a gateway's name when one of its links is going, to close the tunnels that no request uses: their
        agent waits for that."""
        self._nodes = nodes
        self._now = now
        self._clock = clock
        self._state = ServerState(node, (), version)
        self._changed = anyio.Event()
        self._news = anyio.Event()
        self._used = 0

    # links

    def has_room(self, gateway: str) -> bool:
        """Whether one more link of the gateway may begin."""
        return len(self.links[gateway]) < MOST_LINKS

    async def serve(self, gateway: str, caller: Caller, expires_at: float, io: LinkIO) -> str:
        """Run the link of an agent that was admitted until it ends. Returns why it ended."""
        link = AgentLink(gateway, caller, expires_at, io, self._now, self._link_changed)
        links = self.links[gateway]
        links.append(link)
        reason = ""
        try:
            reason = await link.run(self._server_state())
        finally:
            links.remove(link)
            self._ended(link, reason or "stopped")
        return reason

    def end(self, which: Callable[[Caller], bool]) -> None:
        """End the links of these agents at once, because their access has ended."""
        for link in self._all():
            if which(link.caller):
                link.io.stop("the access of the agent was revoked")

    def drain(self) -> None:
        """Tell the agents that this server process stops. Their links stay for the runs that still go on."""
        self._state = replace(self._state, draining=True)
        self._news.set()

    async def run(self) -> None:
        """Tell the agents what changes: which server processes there are, and that this one stops. Runs until
        cancelled."""
        told = self._state
        while True:
            with anyio.move_on_after(NODES_EVERY):
                await self._news.wait()
            self._news = anyio.Event()
            self._state = self._server_state()
            if self._state != told:
                told = self._state
                async with anyio.create_task_group() as group:
                    for link in self._all():
                        group.start_soon(link.say, told)

    def connected(self, gateway: str) -> list[AgentLink]:
        """The newest link of each agent that takes tunnels, answers pings or not."""
        return [link for link in self.links[gateway] if link.state is not None and not (link.going or link.superseded)]

    def tunnels_of(self, link: AgentLink) -> int:
        """Open tunnels of an agent, over all its links."""
        return sum(len(each.tunnels) for each in self.links[link.gateway] if _same_agent(each, link))

    @property
    def nodes(self) -> tuple[str, ...]:
        """The live server processes, this one included."""
        return self._server_state().nodes

    # tunnels

    async def open(
        self, gateway: str, host: str, port: int, *, entry: str, ends_tls: bool, wait: float, for_agent: bool = True
    ) -> Tunnel:
        """A tunnel to the target, for this entry of the settings. `wait`: seconds for all attempts; an agent that comes
        late has its time to answer beside them. `for_agent`: whether it waits for one. `ends_tls`: the agent ends TLS
        and reads the requests. Raises TunnelRefused; nothing was sent to the target then."""
        target = _Target(host, port, entry, ends_tls)
        try:
            tunnel = await self._open(gateway, target, wait, for_agent=for_agent)
        except TunnelRefused as error:
            self._count(gateway, error.reason)
            self.figures[gateway].error = str(error)
            raise
        self._count(gateway, "opened")
        return tunnel

    async def _open(self, gateway: str, target: _Target, wait: float, *, for_agent: bool) -> Tunnel:
        tried: set[AgentLink] = set()
        failed: TunnelRefused | None = None
        now = self._clock()
        until, agent_until = now + wait, now + (min(wait, AGENT_WAIT) if for_agent else 0.0)
        while True:
            link = self._choose(gateway, tried)
            if link is not None:
                tried.add(link)
                patience = max(until - self._clock(), min(ANSWER_WAIT, wait))
                try:
                    return await self._connect(link, target, patience, alone=self._choose(gateway, tried) is None)
                except TunnelRefused as error:
                    if error.reason in FINAL:
                        raise
                    failed = error if link.io.ended is None else failed
            elif failed is not None:
                raise failed
            elif not await self._change(agent_until):
                raise self._no_agent(gateway, target)

    def _choose(self, gateway: str, tried: set[AgentLink]) -> AgentLink | None:
        usable = [link for link in self.links[gateway] if link.usable and link not in tried]
        return min(usable, key=lambda link: (len(link.tunnels), link.last_used), default=None)

    async def _connect(self, link: AgentLink, target: _Target, patience: float, *, alone: bool) -> Tunnel:
        """`alone`: no other agent can be tried, so this one has all the time."""
        self._used += 1
        link.last_used = self._used
        lost = target.refused(Reason.AGENT_LOST, link)
        try:
            stream = link.io.open(target.head)
        except (LinkError, LinkFull):
            raise lost from None
        tunnel = LinkTunnel(stream, link)
        opened = False
        try:
            with anyio.move_on_after(patience if alone else min(patience, ANSWER_WAIT)):
                await self._answered(stream, link, target)
                opened = True
        except anyio.BrokenResourceError:
            raise lost from None
        finally:
            if not opened:
                await tunnel.aclose()
        if not opened:
            raise target.refused(Reason.TARGET_TIMEOUT, link)
        return tunnel

    @staticmethod
    async def _answered(stream: LinkStream, link: AgentLink, target: _Target) -> None:
        reply = await stream.reply()
        if (status := reply.get(":status", "")) != "200":
            raise target.refused(reason_of(status, reply.get(REASON_HEADER)), link)

    async def _change(self, until: float) -> bool:
        """Waits until a link changes, or a moment, since a ping may be answered. Returns False when it is too late."""
        with anyio.move_on_after(min(LOOK_AGAIN, until - self._clock())):
            await self._changed.wait()
        return self._clock() < until

    def _no_agent(self, gateway: str, target: _Target) -> TunnelRefused:
        known = len(self.connected(gateway))
        last = self.last.get(gateway)
        return no_agent(gateway, target.host, target.port, connected=known, last=str(last) if last is not None else "")

    # within

    def _all(self) -> list[AgentLink]:
        return [link for links in self.links.values() for link in links]

    def _server_state(self) -> ServerState:
        nodes = tuple(sorted({*self._nodes(), self._state.node}))
        return self._state if nodes == self._state.nodes else replace(self._state, nodes=nodes)

    def _link_changed(self, link: AgentLink) -> None:
        self._supersede(link)
        if len(self.connected(link.gateway)) > MOST_AGENTS:
            link.io.stop(f"gateway {link.gateway} has {MOST_AGENTS} agents already")
        if link.going:
            self._tell_going(link.gateway)
        self._wake()

    def _supersede(self, link: AgentLink) -> None:
        """The newest link of an agent is used, so that one whose connection broke unseen is not tried first."""
        same = [each for each in self.links[link.gateway] if _same_agent(each, link)]
        live = [each for each in same if each.io.ended is None and not (each.state and each.state.draining)]
        for each in live:
            each.superseded = each is not live[-1]

    def _ended(self, link: AgentLink, reason: str) -> None:
        figures = self.figures[link.gateway]
        figures.received += link.io.received
        figures.sent += link.io.sent
        if link.state is not None:
            self.last[link.gateway] = LastAgent(link.agent, self._now(), reason)
            self._supersede(link)
        self._tell_going(link.gateway)
        self._wake()
        log.info("gateway-link-ended", gateway=link.gateway, agent=link.agent, reason=reason)

    def _tell_going(self, gateway: str) -> None:
        for listener in self.going:
            listener(gateway)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _count(self, gateway: str, outcome: str) -> None:
        outcomes = self.figures[gateway].outcomes
        outcomes[outcome] = outcomes.get(outcome, 0) + 1


def _same_agent(one: AgentLink, other: AgentLink) -> bool:
    return one.state is not None and (one.caller.object_id, one.agent) == (other.caller.object_id, other.agent)
