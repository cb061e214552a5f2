"""A provider that does not respond takes no connections from the token requests of other entries."""

import asyncio

import pytest

from postern.connections import Connections
from postern.connections.places import MOST_OF_ENTRY
from postern.http_client import AsyncBaseTransport, ByteStream, Request, Response
from postern.settings import load_settings

pytestmark = pytest.mark.anyio


class Network(AsyncBaseTransport):
    """One host never responds, and the others do at once."""

    def __init__(self) -> None:
        self.waiting = 0

    async def handle_async_request(self, request: Request) -> Response:
        if request.url.host == "slow.example":
            self.waiting += 1
            await asyncio.Event().wait()
        return Response(200, stream=ByteStream(b"{}"))


async def test_a_provider_that_does_not_respond_holds_up_no_other_entry():
    network = Network()
    connections = Connections(load_settings({}), "https://login.example")
    vars(connections)["_pool"] = network  # in place of the network's own
    slow = connections.provider_client("connections.tickets")
    requests = [asyncio.ensure_future(slow.post("https://slow.example/token")) for _ in range(2 * MOST_OF_ENTRY)]
    while network.waiting < MOST_OF_ENTRY:
        await asyncio.sleep(0)
    try:
        async with asyncio.timeout(10):
            for other in (connections.provider_client("connections.notes"), connections.context.http):
                assert (await other.post("https://quick.example/token")).status_code == 200
        assert network.waiting == MOST_OF_ENTRY
    finally:
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)
