"""What a server process knows of its gateways and their agents, as operators see it. Times are Unix seconds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AgentState:
    """One agent that is connected to this process. `object_id` is that of its token, and `version` that of its program.
    `nodes` are the server processes that it reaches, as it says itself, and `all_nodes` those that there are. `tunnels`
    are open by it now. `error` is the last failure that it reported or that was noticed of it, "" for none."""

    name: str
    object_id: str
    version: str
    since: float
    nodes: tuple[str, ...] = ()
    all_nodes: tuple[str, ...] = ()
    tunnels: int = 0
    draining: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class GatewayState:
    """One gateway of the settings. `last` says which agent was connected last and until when, "" if there was none
    since the process began. `error` is the last failure of a tunnel or of an agent's sign-in, "" for none."""

    name: str
    agents: tuple[AgentState, ...] = ()
    last: str = ""
    error: str = ""

    @property
    def ready(self) -> int:
        """How many agents take new tunnels."""
        return sum(not agent.draining for agent in self.agents)


GatewayStates = Callable[[], Sequence[GatewayState]]
"""Returns all gateways of the settings, by name."""
