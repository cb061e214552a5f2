"""Metrics of gateways."""

from collections.abc import Iterable

from prometheus_client import Metric

from postern.api.metrics import Collect, Families
from postern.gateway.state import GatewayStates


def gateway_agent_metrics(states: GatewayStates) -> Collect:
    """How many agents of each gateway of the settings take tunnels of this server process. 0 is a value too."""

    def collect(families: Families) -> Iterable[Metric]:
        found = {state.name: state.ready for state in states()}
        yield families.gauges("postern_gateway_agents", "Connected agents of a gateway.", found, "gateway")

    return collect
