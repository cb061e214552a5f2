"""Requests by a gateway that failed: what each reason means, and how it is fixed. Pure."""

from postern.connections.faults import ConnectionFault
from postern.http_client import AgentLost, NotOpened, Request
from postern.tunnels import Reason, TunnelRefused

UNKNOWN = "whether the request arrived is unknown"

NOT_ALLOWED = (Reason.TARGET_NOT_ALLOWED, Reason.REQUEST_NOT_ALLOWED)
"""What the file of the agent does not allow: the request fails until that file is changed."""


def by(error: Exception) -> tuple[str, str] | None:
    """The gateway and the agent by which the request of this error was sent; None if it was sent without a gateway."""
    refused = error.refused if isinstance(error, NotOpened | AgentLost) else None
    return (refused.gateway, refused.agent) if refused is not None else None


def of_gateway(error: NotOpened | AgentLost, entry: str, request: Request | None) -> Exception:
    """The error that authors get: a ConnectionFault if the agent does not allow it, which is not retried."""
    refused = error.refused
    if refused is None:
        return error
    if refused.reason in NOT_ALLOWED:
        return ConnectionFault(entry, *_not_allowed(refused, request))
    if isinstance(error, AgentLost):
        said: NotOpened | AgentLost = AgentLost(f"{entry} sent no whole response: {lost(refused)}", request=request)
    else:
        wrong, fix = words(refused)
        said = NotOpened(f"{entry} could not be called: {wrong}. {fix}", request=request)
    said.refused = refused
    return said


def words(refused: TunnelRefused) -> tuple[str, str]:
    """What is wrong, as a clause, and the fix, as a sentence without its full stop. The request was not sent."""
    at, agent = f"{refused.host}:{refused.port}", _agent(refused)
    more = f" ({refused.text})" if refused.text else ""
    match refused.reason:
        case Reason.NO_AGENT:
            wrong = refused.text or f"no agent of gateway {refused.gateway} is connected"
            if refused.gateway not in wrong:
                wrong = f"gateway {refused.gateway} did not open a connection to {at}: {wrong}"
            return (
                wrong,
                "Start an agent with postern gateway run, or look at its log. postern gateways shows all agents",
            )
        case Reason.ADDRESS_DENIED:
            fix = (
                "Check what the name resolves to there: addresses of that machine and of cloud metadata are not allowed"
            )
            return f"{agent} does not connect to an address of {at}{more}", fix
        case Reason.NAME_NOT_FOUND:
            return f"{agent} does not find the name of {at}{more}", f"Check the host, and DNS on the machine of {agent}"
        case Reason.TARGET_REFUSED:
            return (
                f"{agent} gets no connection to {at}{more}",
                f"Check that it listens there, and that a firewall lets {agent} through",
            )
        case Reason.TARGET_TIMEOUT:
            return (
                f"{agent} gets no answer from {at} in time{more}",
                f"Check the address, and the firewalls between {agent} and it",
            )
        case Reason.AGENT_LOST:
            return (
                f"{agent} was lost while it connected to {at}{more}; the request was not sent",
                "Look at the log of the agent, and at proxies on its way",
            )
        case _:
            return _not_allowed(refused, None)


def lost(refused: TunnelRefused) -> str:
    """What became of a request whose tunnel broke off."""
    where = f"the connection to {refused.host}:{refused.port} by {_agent(refused)} broke off"
    return f"{where}: {UNKNOWN}. Look at the log of the agent, and at proxies on its way"


def _not_allowed(refused: TunnelRefused, request: Request | None) -> tuple[str, str]:
    """What the agent's file does not allow, as a predicate, and the row to add."""
    at, agent = f"{refused.host}:{refused.port}", _agent(refused)
    more = f": {refused.text}" if refused.text else ""
    where = f"in gateway.toml of {agent}, and send the agent SIGHUP"
    if refused.reason is Reason.TARGET_NOT_ALLOWED:
        row = f'[[allow]] address = "{at}"'
        return f"is not allowed by {agent}, whose file has no row for {at}{more}", f"Add {row} {where}"
    what = "this method and path"
    if request is not None:
        what = f"{request.method} {request.url.raw_path.partition(b'?')[0].decode('ascii', 'replace')}"
    fix = f'Add the method to methods and the path to paths of the row address = "{at}" {where}'
    return f"may not send {what} to {at} by {agent}{more}", fix


def _agent(refused: TunnelRefused) -> str:
    return f"agent {refused.agent} of gateway {refused.gateway}" if refused.agent else f"gateway {refused.gateway}"
