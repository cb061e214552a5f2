"""Metrics of gateways."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from postern.api.figures import Collect, Figure, counters, gauges, gauges_by


@dataclass(frozen=True, slots=True)
class GatewayFigures:
    """One gateway as this server process sees it. `outcomes` counts tunnels by how they were opened, and `round_trips`
    has the seconds of the last ping by agent."""

    agents: int
    tunnels: int
    outcomes: Mapping[str, int]
    received: int
    sent: int
    round_trips: Mapping[str, float]


def gateway_metrics(gateways: Callable[[], Mapping[str, GatewayFigures]]) -> Collect:
    """`gateways` returns the figures of each gateway."""

    def collect() -> Iterable[Figure]:
        found = gateways()
        yield gauges(
            "postern_gateway_agents",
            "Agents that are connected to this server process and take tunnels.",
            {gateway: each.agents for gateway, each in found.items()},
            "gateway",
        )
        yield gauges(
            "postern_gateway_tunnels",
            "Tunnels that are open.",
            {gateway: each.tunnels for gateway, each in found.items()},
            "gateway",
        )
        yield counters(
            "postern_gateway_calls",
            "Tunnels by how they were opened: opened, or the reason why not.",
            ("gateway", "outcome"),
            {(gateway, outcome): total for gateway, each in found.items() for outcome, total in each.outcomes.items()},
        )
        yield counters(
            "postern_gateway_bytes",
            "Bytes of links, with their framing.",
            ("gateway", "direction"),
            {
                (gateway, direction): total
                for gateway, each in found.items()
                for direction, total in (("received", each.received), ("sent", each.sent))
            },
        )
        yield gauges_by(
            "postern_gateway_round_trip_seconds",
            "How long the last ping of an agent took.",
            ("gateway", "agent"),
            {(gateway, agent): took for gateway, each in found.items() for agent, took in each.round_trips.items()},
        )

    return collect
