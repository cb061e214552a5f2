"""What a gateway and those that use it say to each other: how a tunnel is opened, and why it is not."""

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
    requests in the tunnel. It waits at most `wait` seconds for an agent. Raises TunnelRefused."""

    async def __call__(
        self, gateway: str, host: str, port: int, *, entry: str, ends_tls: bool, wait: float
    ) -> Tunnel: ...
