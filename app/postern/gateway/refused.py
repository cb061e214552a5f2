"""Why there is no tunnel, for the author and the operator."""

from postern.gateway.reasons import Reason

FINAL = frozenset({Reason.TARGET_NOT_ALLOWED, Reason.REQUEST_NOT_ALLOWED, Reason.ADDRESS_DENIED})
"""Decisions of an agent. The same request fails again, so no retry helps."""

_OF_STATUS = {"403": Reason.TARGET_NOT_ALLOWED, "502": Reason.TARGET_REFUSED, "504": Reason.TARGET_TIMEOUT}
"""For an agent of a later version, whose reason is not known here."""


class TunnelRefused(Exception):
    """There is no tunnel, and nothing was sent to the target. `text` says why and how to fix it. `agent` is "" if no
    agent was reached."""

    def __init__(self, reason: Reason, gateway: str, agent: str, host: str, port: int, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.gateway = gateway
        self.agent = agent
        self.host = host
        self.port = port
        self.text = text

    @property
    def final(self) -> bool:
        """Whether the same request would be refused again."""
        return self.reason in FINAL


def reason_of(status: str, said: str | None) -> Reason:
    """The reason of an agent's answer that is not 200."""
    if said in _TEXTS:
        return Reason(said)
    return _OF_STATUS.get(status, Reason.AGENT_LOST)


def refused(reason: Reason, gateway: str, agent: str, host: str, port: int, *, ends_tls: bool = False) -> TunnelRefused:
    """The error for a reason that an agent gave, or for an agent that was lost."""
    text = _TEXTS[reason].format(
        gateway=gateway, agent=agent, host=host, port=port, row=_row(host, port, ends_tls=ends_tls)
    )
    return TunnelRefused(reason, gateway, agent, host, port, text)


def no_agent(gateway: str, host: str, port: int, *, connected: int, last: str) -> TunnelRefused:
    """The error where no agent takes the tunnel. `connected`: how many are, nevertheless. `last` is what is known of
    the last one whose link ended, "" if there was none."""
    if connected:
        text = f"none of the {connected} agents of gateway {gateway} takes another tunnel: add an agent"
    else:
        text = f"no agent of gateway {gateway} is connected; {last or 'none was since this server process started'}"
    return TunnelRefused(Reason.NO_AGENT, gateway, "", host, port, text)


def _row(host: str, port: int, *, ends_tls: bool) -> str:
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    scheme = ', scheme = "http" or "https"' if ends_tls else ""
    return f'[[allow]] address = "{address}"{scheme}'


_TEXTS = {
    Reason.TARGET_NOT_ALLOWED: (
        "agent {agent} of gateway {gateway} does not allow {host}:{port}: add to the gateway.toml of each agent  {row}"
    ),
    Reason.REQUEST_NOT_ALLOWED: (
        "agent {agent} of gateway {gateway} does not allow this method or path at {host}:{port}: add it to methods or "
        "paths of the row of this address in the gateway.toml of each agent"
    ),
    Reason.ADDRESS_DENIED: (
        "agent {agent} of gateway {gateway} found an address of {host} that no agent connects to (link-local, "
        "metadata, loopback or multicast): correct the name in the DNS that the agent uses"
    ),
    Reason.NAME_NOT_FOUND: (
        "agent {agent} of gateway {gateway} found no address of {host}: check the name and the DNS that the agent uses"
    ),
    Reason.TARGET_REFUSED: (
        "agent {agent} of gateway {gateway} could not connect to {host}:{port}: check that the target runs and that "
        "its firewall lets the agent in"
    ),
    Reason.TARGET_TIMEOUT: (
        "agent {agent} of gateway {gateway} got no connection to {host}:{port} in time: check the route and the "
        "firewall between them"
    ),
    Reason.AGENT_LOST: (
        "agent {agent} of gateway {gateway} was lost while it connected to {host}:{port}: nothing was sent to the "
        "target"
    ),
}
