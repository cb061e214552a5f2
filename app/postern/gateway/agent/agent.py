"""The agent: links to all server processes, and the tunnels on them."""

import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import structlog

from postern.gateway.agent.counts import Counts
from postern.gateway.agent.dial import DialFault, dial
from postern.gateway.agent.plan import Plan, Reached
from postern.gateway.agent.serve import Tunnels
from postern.gateway.agent.session import Session, Socket
from postern.gateway.agent.settings import AgentSettings
from postern.gateway.agent.sign_in import SignInFault, Token, Tokens, TokenSource
from postern.gateway.hello import AgentState, ServerState
from postern.http_client import tls
from postern.logs import Coalesced
from postern.settings import SettingsFault
from postern.version import own_version

STOP_SECONDS = 30.0

log = structlog.get_logger(__name__)

Dial = Callable[[AgentSettings, str, Token], Awaitable[Socket]]
Load = Callable[[], AgentSettings]


class Agent:
    """One agent process. `load` reads gateway.toml again."""

    def __init__(
        self,
        settings: AgentSettings,
        load: Load,
        *,
        tokens: TokenSource | None = None,
        dial: Dial = dial,
        tunnels: Tunnels | None = None,
        counts: Counts | None = None,
        plan: Plan | None = None,
    ) -> None:
        self.counts = counts or Counts()
        self.tunnels = tunnels or Tunnels(settings.allow, self.counts)
        self.sessions: list[Session] = []
        self._settings = settings
        self._load = load
        self._tokens: TokenSource = tokens or Tokens(settings)
        self._dial = dial
        self._plan = plan or Plan(settings.addresses)
        self._own = AgentState(settings.agent or agent_name(), own_version())
        self._live: tuple[str, ...] = ()
        self._changed = anyio.Event()
        self._stopping = anyio.Event()
        self._dialling: set[object] = set()
        self._trouble = ""
        self._no_link = Coalesced("gateway_no_link", seconds=30.0)

    async def run(self) -> None:
        """Run until `stop`, and then until the tunnels have ended, at most STOP_SECONDS."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._keep_links, group)
            await self._stopping.wait()
            log.info("gateway_draining", tunnels=len(self.tunnels), at_most_seconds=STOP_SECONDS)
            with anyio.move_on_after(STOP_SECONDS):
                async with anyio.create_task_group() as ends:
                    for session in self.sessions:
                        ends.start_soon(session.drain, STOP_SECONDS)
                while self.sessions:
                    await self._changed.wait()
            group.cancel_scope.cancel()
        log.info("gateway_stopped", tunnels=len(self.tunnels))

    def stop(self) -> None:
        """Take no new tunnels, and end when those that are open have ended."""
        self._stopping.set()

    def reload(self) -> None:
        """Read the rows of gateway.toml again. A faulty file changes nothing."""
        try:
            settings = self._load()
        except SettingsFault as fault:
            self.counts.rejected_files.inc()
            kept = "the rows that were read before"
            log.error("gateway_file_faulty", still_valid=kept, why=str(fault))  # noqa: TRY400 - the text says all
            return
        tls.cache_clear()  # the files of authorities may be new, too
        closed = self.tunnels.allow(settings.allow)
        fields = [name for name in AgentSettings.model_fields if name != "allow"]
        later = [name for name in fields if getattr(settings, name) != getattr(self._settings, name)]
        more: dict[str, Any] = {"after_a_restart": later} if later else {}
        log.info("gateway_file_read", rows=len(settings.allow), tunnels_closed=closed, **more)

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether there is a link, and what /healthz shows."""
        reached = self._reached()
        nodes = {each.node for each in reached}
        return bool(reached), {
            "status": "ok" if reached else "no link",
            "gateway": self._settings.name,
            "agent": self._own.agent,
            "version": self._own.version,
            "links": len(reached),
            "nodes": sorted(nodes),
            "nodes_missing": sorted(set(self._live) - nodes),
            "tunnels": len(self.tunnels),
            "draining": self._stopping.is_set(),
            "last_error": self._trouble,
        }

    def metrics(self) -> bytes:
        """All metrics as text."""
        reached = self._reached()
        self.counts.links.set(len(reached))
        self.counts.nodes.set(len(self._live) if reached else 0)
        return self.counts.text()

    # links

    def _reached(self) -> list[Reached]:
        now = time.time()
        return [each for session in self.sessions if (each := session.reached(now)) is not None]

    async def _keep_links(self, group: anyio.abc.TaskGroup) -> None:
        """Dial whenever the plan says so. Links that become due for renewal are noticed within a second."""
        while not self._stopping.is_set():
            now, reached = time.monotonic(), self._reached()
            if (found := self._plan.sticky(now, reached, self._live)) is not None:
                log.warning(
                    "gateway_reaches_some_nodes",
                    why=f"reaches {found[0]} of {found[1]} nodes: sticky balancer",
                    fix="Let the balancer distribute connections at random, or write each node's address into servers",
                )
            dial = self._plan.next_dial(now, reached, self._live)
            most = self._plan.at_a_time(reached, self._live)
            changed = self._changed
            if dial is not None and dial[1] <= now and len(self._dialling) < most:
                self._plan.dialled(dial[0], now)
                attempt = object()
                self._dialling.add(attempt)
                group.start_soon(self._link, dial[0], attempt)
                continue
            wait = 1.0 if dial is None or dial[1] <= now else min(1.0, dial[1] - now)
            with anyio.move_on_after(wait):
                await changed.wait()

    async def _link(self, url: str, attempt: object) -> None:
        """One attempt, and the link if it succeeds."""
        try:
            token = await self._tokens.get()
            socket = await self._connected(url, token)
            if self._stopping.is_set():
                await socket.aclose()
                return
            session = Session(
                url,
                socket,
                token,
                self._own,
                connect=self.tunnels.serve,
                changed=lambda changed: self._heard(changed, attempt),
                now=time.time(),
            )
            self.sessions.append(session)
            try:
                why = await session.run()
            finally:
                self.sessions.remove(session)
            self._ended(session, why)
        except (SignInFault, DialFault) as fault:
            self._failed(url, str(fault))
        except Exception as error:  # the agent goes on with its other links
            log.exception("gateway_link_failed", server=url)
            self._failed(url, type(error).__name__)
        finally:
            self._dialling.discard(attempt)
            self._notify()

    async def _connected(self, url: str, token: Token) -> Socket:
        try:
            return await self._dial(self._settings, url, token)
        except DialFault as fault:
            if fault.rejected:
                self._tokens.forget(token)
            raise

    def _heard(self, session: Session, attempt: object) -> None:
        """The server said something. A second link to a server process is ended; one that has to be renewed is replaced
        by it. A server process that began lately may be in the list of some only."""
        state = session.state
        assert state is not None  # noqa: S101 - it is called after a line
        self._live = tuple(sorted({node for each in self.sessions if each.state for node in each.state.nodes}))
        if attempt in self._dialling:
            self._dialling.discard(attempt)
            self._linked(session, state)
        self._notify()

    def _linked(self, session: Session, state: ServerState) -> None:
        others = [
            each
            for each in self.sessions
            if each is not session and each.state is not None and each.state.node == state.node and not each.draining
        ]
        self._plan.succeeded(session.url)
        self._trouble = ""
        session.duplicate = any(time.time() < each.renew_at for each in others)
        if session.duplicate:
            session.io.stop("the server process is reached already")
            return
        self.counts.dials.labels("ok").inc()
        log.info("gateway_linked", node=state.node, server=session.url, version=state.version, nodes=len(state.nodes))
        for each in others:
            each.replace()

    def _ended(self, session: Session, why: str) -> None:
        if session.duplicate:
            return
        if session.state is None:
            self._failed(session.url, f"the link ended: {why}")
            return
        log.info("gateway_link_ended", node=session.state.node, server=session.url, why=why)
        now = time.monotonic()
        if not session.draining and (wait := self._plan.ended(session.url, now, now - session.began)):
            self._no_lasting_link(session.url, f"the link ended: {why}", wait)

    def _failed(self, url: str, why: str) -> None:
        self._no_lasting_link(url, why, self._plan.failed(url, time.monotonic()))

    def _no_lasting_link(self, url: str, why: str, wait: float) -> None:
        self._trouble = why
        self.counts.dials.labels("failed").inc()
        self._no_link.add(log.warning, server=url, why=why, again_in_seconds=round(wait, 1))

    def _notify(self) -> None:
        nodes = tuple(sorted({each.node for each in self._reached()}))
        for session in self.sessions:
            session.tell(nodes, self._trouble)
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


def agent_name() -> str:
    """The name of this machine, as agents are shown by."""
    return (socket.gethostname().partition(".")[0] or "agent")[:200]
