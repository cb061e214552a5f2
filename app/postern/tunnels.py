"""What a gateway and those that use it say to each other: how a tunnel is opened, and why it is not."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from anyio.abc import ByteStream


class Reason(StrEnum):
    """Why a request by a gateway failed, as the header `postern-reason` has it."""

    NO_AGENT = "no-agent"
    TARGET_NOT_ALLOWED = "target-not-allowed"
    REQUEST_NOT_ALLOWED = "request-not-allowed"
    ADDRESS_DENIED = "address-denied"
    NAME_NOT_FOUND = "name-not-found"
    TARGET_REFUSED = "target-refused"
    TARGET_TIMEOUT = "target-timeout"
    AGENT_LOST = "agent-lost"


class TunnelRefused(Exception):
    """A tunnel that was not opened, or a request that an agent did not pass on. `agent` is "" if there was none. `text`
    says more, as a sentence without its full stop, and may be ""."""

    def __init__(self, reason: Reason, gateway: str, agent: str, host: str, port: int, text: str = "") -> None:
        super().__init__(f"{reason}: gateway {gateway}, agent {agent or '(none)'}, {host}:{port}. {text}".strip(" ."))
        self.reason = reason
        self.gateway = gateway
        self.agent = agent
        self.host = host
        self.port = port
        self.text = text


class Tunnel(ByteStream):
    """Bytes to and from one address beside an agent. `ended`: the other side, the agent or its link is gone, or going,
    so that no further request goes into it. Receiving and sending raise anyio's EndOfStream and BrokenResourceError."""

    agent: str
    gateway: str

    @property
    def ended(self) -> bool:
        """Whether no further request may use it."""
        raise NotImplementedError


class OpenTunnel(Protocol):
    """Opens a tunnel by an agent of a gateway. `entry` is for the agent's log. With `ends_tls` the agent reads the
    requests in the tunnel. It takes at most `wait` seconds, and waits for an agent only if `for_agent`. Raises
    TunnelRefused."""

    async def __call__(
        self, gateway: str, host: str, port: int, *, entry: str, ends_tls: bool, wait: float, for_agent: bool = True
    ) -> Tunnel: ...


@dataclass(slots=True)
class AgentWait:
    """Whether the attempts of one call have waited for an agent already. `over`: they have, in vain."""

    over: bool = False


AGENT_WAIT: ContextVar[AgentWait | None] = ContextVar("postern-agent-wait", default=None)
"""The wait of the call whose request is sent."""


@contextmanager
def one_agent_wait() -> Generator[None]:
    """All attempts within wait for an agent once, together. Within another one it is part of that."""
    if AGENT_WAIT.get() is not None:
        yield
        return
    token = AGENT_WAIT.set(AgentWait())
    try:
        yield
    finally:
        AGENT_WAIT.reset(token)
