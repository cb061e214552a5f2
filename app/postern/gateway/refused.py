"""Why there is no tunnel, from what an agent answered, or because there is none. Pure."""

from postern.tunnels import Reason, TunnelRefused

FINAL = frozenset({Reason.TARGET_NOT_ALLOWED, Reason.REQUEST_NOT_ALLOWED, Reason.ADDRESS_DENIED})
"""Decisions of an agent: no other one is tried."""

OF_AGENTS = frozenset(Reason) - {Reason.NO_AGENT, Reason.AGENT_LOST}
"""What an agent can say of a target."""

_OF_STATUS = {"403": Reason.TARGET_NOT_ALLOWED, "502": Reason.TARGET_REFUSED, "504": Reason.TARGET_TIMEOUT}
"""For an agent of a later version, whose reason is not known here."""

SCHEME = 'the row needs scheme = "http" or scheme = "https", because the entry has tls = "gateway"'


def reason_of(status: str, said: str | None) -> Reason:
    """The reason of an agent's answer that is not 200."""
    if said in OF_AGENTS:
        return Reason(said)
    return _OF_STATUS.get(status, Reason.AGENT_LOST)


def more_of(reason: Reason, *, ends_tls: bool) -> str:
    """What the operator must know beside the reason; "" for nothing."""
    return SCHEME if reason is Reason.TARGET_NOT_ALLOWED and ends_tls else ""


def no_agent(gateway: str, host: str, port: int, *, connected: int, last: str) -> TunnelRefused:
    """The error where no agent takes the tunnel. `connected`: how many are, nevertheless. `last` is what is known of
    the last one whose link ended, "" if there was none."""
    if connected:
        text = f"none of the {connected} agents of gateway {gateway} takes another tunnel: add an agent"
    else:
        text = f"no agent of gateway {gateway} is connected; {last or 'none was since this server process started'}"
    return TunnelRefused(Reason.NO_AGENT, gateway, "", host, port, text)
