"""Gateways: the links of agents in private networks. Imported only where the settings have one."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from postern.access import Guarded, Refused
from postern.api.gateway_metrics import GatewayFigures, gateway_metrics
from postern.api.rejected import Rejections
from postern.assembly.foundation import Foundation
from postern.assembly.installation import authority, own_tenants
from postern.assembly.part import Part
from postern.assembly.refusals import RefusalsPart
from postern.assembly.runs import RunsPart
from postern.errors import Problem, problem
from postern.gateway.endpoint import PATH, Endpoint
from postern.gateway.hub import Hub
from postern.gateway.policy import ORIGIN, policy_of
from postern.gateway.state import GatewayStates
from postern.gateway.states import states_of
from postern.identity.expiry import expires_at
from postern.ids import new_id
from postern.server.link_socket import LINK
from postern.settings.gateways import Gateway
from postern.triggers.reply import Answer, problem_reply
from postern.version import own_version


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaysPart(Part):
    """`hub` opens tunnels. Its `drain` is called when the server begins to stop. `states` is for operators."""

    hub: Hub
    states: GatewayStates


def gateways_part(
    base: Foundation, runs: RunsPart, refusals: RefusalsPart, gateways: Mapping[str, Gateway]
) -> GatewaysPart:
    """The links of an agent end with its access. Connections open their tunnels here."""
    settings = base.settings
    hub = Hub(
        gateways,
        node=base.journal.node,
        nodes=lambda: [process.id for process in runs.processes.known],
        version=own_version(),
        now=base.outside.now,
    )
    policies = {
        name: policy_of(
            name,
            gateway.object_ids(settings.people),
            tenants=own_tenants(settings),
            audiences=settings.audience,
            client_id=settings.client_id or "",
        )
        for name, gateway in gateways.items()
    }
    endpoint = Endpoint(
        hub,
        policies,
        identify=base.identity.identification.identify,
        still=base.identity.still,
        expires_at=expires_at,
        socket=lambda scope: scope.get(LINK),
    )
    connections = base.connections.connections
    connections.open_tunnel = hub.open
    hub.going.append(connections.tunnels.link_is_going)
    base.revocations.on_revoked(hub.end)
    rejections = Rejections(refusals.take, base.log, authority(settings))
    return GatewaysPart(
        hub=hub,
        states=partial(states_of, hub),
        routes=(Route(PATH, LinkRoute(endpoint, rejections), methods=["GET"]),),
        tasks=(hub.run,),
        metrics=(gateway_metrics(lambda: {name: _figures(hub, name) for name in gateways}),),
        state={"links": True},
    )


@dataclass(frozen=True, slots=True)
class LinkRoute:
    """The endpoint as an ASGI application, with its errors as problems."""

    endpoint: Endpoint
    rejections: Rejections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request, or run its link."""
        name, request_id = scope["path_params"]["name"], new_id()
        try:
            admitted = await self.endpoint.admit(name, scope)
        except (Refused, Problem) as error:
            policy = self._examined_by(name, error)
            answer = self.rejections.answer(error, Request(scope, receive), PATH, request_id, policy)
        except Exception:
            self.rejections.log.exception("request-failed", request_id=request_id, page=PATH)
            answer = problem_reply(problem("internal-error"), request_id)
        else:
            await self.endpoint.serve(admitted)
            return
        await _send(answer, scope, send)

    def _examined_by(self, name: str, error: Refused | Problem) -> Guarded | None:
        """By what the token of a rejected request is examined for the record; None if it was not looked at."""
        looked_at = isinstance(error, Refused) and error.failed.name != ORIGIN
        return self.endpoint.policies.get(name) if looked_at else None


async def _send(answer: Answer, scope: Scope, send: Send) -> None:
    await answer.send(send, head=scope["method"] == "HEAD")


def _figures(hub: Hub, gateway: str) -> GatewayFigures:
    links, connected, ended = hub.links[gateway], hub.connected(gateway), hub.figures[gateway]
    return GatewayFigures(
        agents=len(connected),
        tunnels=sum(len(link.tunnels) for link in links),
        outcomes=dict(ended.outcomes),
        received=ended.received + sum(link.io.received for link in links),
        sent=ended.sent + sum(link.io.sent for link in links),
        round_trips={link.agent: link.io.round_trip for link in connected if link.io.round_trip is not None},
    )
