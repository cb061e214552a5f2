"""`/console/gateways`: the gateways of the settings, with the agents that are connected to this server process. And
what the home page says of gateways without enough agents."""

from collections.abc import Sequence
from dataclasses import dataclass

from postern.console.needs import Need, bounded, sentences
from postern.console.page import PageRoute, Shown, Visit
from postern.console.services import Services
from postern.gateway.state import AgentState, GatewayState
from postern.plain_text import plain
from postern.settings.descriptions import entries

HERE = "connections"


@dataclass(frozen=True, slots=True)
class AgentRow:
    """An agent. `reach` says how many of the server processes it reaches, and `few` that it is not all of them."""

    name: str
    object_id: str
    version: str
    since: float
    reach: str
    few: bool
    tunnels: int
    draining: bool
    error: str


@dataclass(frozen=True, slots=True)
class GatewayRow:
    """A gateway. `state` is one of `none`, `one` and `ready`. `entries` are those that go by it."""

    name: str
    state: str
    agents: tuple[AgentRow, ...]
    last: str
    error: str
    entries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Gateways:
    """The page."""

    services: Services

    @property
    def routes(self) -> tuple[PageRoute, ...]:
        """Where it is."""
        return (PageRoute("GET", "/console/gateways", self.index, operators_only=True),)

    async def index(self, _: Visit) -> Shown:
        """All gateways: those without an agent first."""
        by_gateway: dict[str, list[str]] = {}
        for entry, found in entries(self.services.settings).items():
            for name in {found.gateway, getattr(found.auth, "gateway", None)} - {None}:
                by_gateway.setdefault(str(name), []).append(entry)
        rows = [gateway_row(state, by_gateway.get(state.name, ())) for state in self.services.gateways()]
        rows.sort(key=lambda row: (("none", "one", "ready").index(row.state), row.name))
        return Shown("gateways.html", {"rows": rows}, HERE)


def gateway_row(state: GatewayState, used_by: Sequence[str] = ()) -> GatewayRow:
    """A gateway as the page shows it."""
    kind = ("none", "one")[state.ready] if state.ready < 2 else "ready"
    agents = tuple(map(_agent_row, state.agents))
    return GatewayRow(plain(state.name), kind, agents, plain(state.last), plain(state.error), tuple(used_by))


def of_gateways(states: Sequence[GatewayState]) -> list[Need]:
    """Gateways without an agent, and with one only: while its machine is down, nothing goes by it."""
    few = sorted((state for state in states if state.ready < 2), key=lambda state: state.ready)
    return bounded("Gateway", few, _need, "gateways without two agents", "/gateways")


def _need(state: GatewayState) -> Need:
    name = plain(state.name)
    if state.ready:
        agent = plain(next(each.name for each in state.agents if not each.draining))
        more = sentences(
            f"It is {agent}",
            "While its machine is down, no request reaches the systems behind it",
            "Start another agent",
        )
        return Need("Gateway", f"The gateway {name} has one agent only", "/gateways", more, urgent=False)
    more = sentences(
        state.last, state.error, "No request reaches the systems behind it", "Start an agent, or look at its log"
    )
    return Need("Gateway", f"The gateway {name} has no agent", "/gateways", more)


def _agent_row(agent: AgentState) -> AgentRow:
    reached, there = len(set(agent.nodes)), len(set(agent.all_nodes))
    return AgentRow(
        plain(agent.name),
        plain(agent.object_id),
        plain(agent.version),
        agent.since,
        f"{reached} of {there}" if there else "not known",
        reached < there,
        agent.tunnels,
        agent.draining,
        plain(agent.error),
    )
