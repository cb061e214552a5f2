"""Gateways: what operators see of them, and the tests of entries that are reached by them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from postern.api.departure import Page
from postern.api.gateway_handlers import GatewayHandlers
from postern.api.operators import Operators
from postern.assembly.foundation import Foundation
from postern.assembly.identity import installation_of
from postern.assembly.part import Part
from postern.connections.stage import Stage
from postern.gateway.state import GatewayStates
from postern.settings import GrantedAuth
from postern.settings.descriptions import entries


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayPagesPart(Part):
    """`states` are the gateways of the settings, and `pages` endpoints of the API by method and path."""

    states: GatewayStates
    pages: tuple[tuple[str, str, Page], ...]


def gateway_pages_part(base: Foundation, states: GatewayStates = tuple) -> GatewayPagesPart:
    """`states` returns the gateways of the settings, with what is known of them."""
    settings, connections = base.settings, base.connections.connections
    operators = Operators(installation_of(settings), base.identity.identification.identify, base.catalog.snapshot)

    def known(entry: str) -> bool:
        """Those that people connect are tested in the console, with their grants."""
        there = entries(settings).get(entry)
        return there is not None and not isinstance(there.auth, GrantedAuth)

    def stages(entry: str) -> AsyncIterator[Stage]:
        from postern.connections.entry_trial import stages_of  # with much that a server needs for tests only

        return stages_of(entry, settings, open_tunnel=connections.tunnels.open)

    handlers = GatewayHandlers(operators, states, base.journal.node, known, stages, base.log)
    return GatewayPagesPart(states=states, pages=handlers.pages)
