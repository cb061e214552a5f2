"""Gateways: what operators see of them, and the tests of entries that are reached by them. It is loaded for the first
request for one of the API's pages."""

from collections.abc import AsyncIterator

from postern.api.gateway_handlers import GatewayHandlers
from postern.api.operators import Operators
from postern.assembly.foundation import Foundation
from postern.connections.entry_trial import stages_of
from postern.connections.stage import Stage
from postern.gateway.state import GatewayStates
from postern.settings import GrantedAuth
from postern.settings.descriptions import entries


def gateway_handlers(base: Foundation, operators: Operators, states: GatewayStates) -> GatewayHandlers:
    """`states` returns the gateways of the settings, with what is known of them."""
    settings, connections = base.settings, base.connections.connections

    def known(entry: str) -> bool:
        """Those that people connect are tested in the console, with their grants."""
        there = entries(settings).get(entry)
        return there is not None and not isinstance(there.auth, GrantedAuth)

    def stages(entry: str) -> AsyncIterator[Stage]:
        return stages_of(entry, settings, open_tunnel=connections.tunnels.open)

    return GatewayHandlers(operators, states, base.journal.node, known, stages, base.log)
