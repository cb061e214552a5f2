"""The gateways as operators see them, from a hub."""

from postern.gateway.agent_link import AgentLink
from postern.gateway.hub import Hub
from postern.gateway.state import AgentState, GatewayState


def states_of(hub: Hub) -> tuple[GatewayState, ...]:
    """All gateways of the settings, by name."""
    return tuple(_state(hub, name) for name in sorted(hub.links))


def _state(hub: Hub, gateway: str) -> GatewayState:
    last = hub.last.get(gateway)
    newest = [link for link in hub.links[gateway] if link.state is not None and not link.superseded]
    return GatewayState(
        gateway,
        tuple(_agent(hub, link) for link in sorted(newest, key=lambda link: link.agent)),
        last=str(last) if last is not None else "",
        error=hub.figures[gateway].error,
    )


def _agent(hub: Hub, link: AgentLink) -> AgentState:
    said = link.state
    return AgentState(
        link.agent,
        link.caller.object_id,
        said.version if said is not None else "",
        link.since,
        nodes=said.nodes if said is not None else (),
        all_nodes=hub.nodes,
        tunnels=hub.tunnels_of(link),
        draining=link.going,
        error=said.error if said is not None else "",
    )
