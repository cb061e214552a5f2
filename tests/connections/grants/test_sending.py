"""What a provider has responded is not lost by a stop of the whole process (SIGSTOP, a paused virtual machine)."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from postern.connections.entry_client import EntryClient
from postern.connections.entry_transport import Caps, EntryTransport
from postern.connections.grants.provider import RefusedByProvider
from postern.connections.grants.sending import send
from postern.http_client import AsyncBaseTransport, AsyncByteStream, ReadTimeout, Request, Response

pytestmark = pytest.mark.anyio

CAPS = Caps(seconds=0.02, response_bytes=1000)
URL = "https://id.example/token"


async def stopped() -> None:
    """The process is stopped for longer than its ordinary time limit, and then goes on."""
    time.sleep(0.03)  # noqa: ASYNC251 - nothing of this process runs meanwhile
    await asyncio.sleep(0)


class Tokens(AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"new "
        await stopped()
        yield b"tokens"


class Provider(AsyncBaseTransport):
    async def handle_async_request(self, request: Request) -> Response:
        await stopped()
        return Response(200, stream=Tokens())


def client() -> EntryClient:
    return EntryClient(EntryTransport("a token endpoint", None, Provider(), CAPS))


async def test_a_response_that_arrives_during_a_stop_is_read():
    received = await send(client(), "POST", URL, {}, "grant_type=refresh_token")
    assert received.answer.body == b"new tokens"


async def test_requests_without_a_limit_of_their_own_have_that_of_the_client():
    with pytest.raises(ReadTimeout):
        await client().get(URL)


async def test_a_provider_that_does_not_respond_is_given_up():
    class Silent(AsyncBaseTransport):
        async def handle_async_request(self, request: Request) -> Response:
            await asyncio.Event().wait()
            raise AssertionError

    silent = EntryClient(EntryTransport("a token endpoint", None, Silent(), CAPS))
    with pytest.raises(RefusedByProvider, match=r"within 0\.01 s"):
        await send(silent, "POST", URL, {}, seconds=0.01)
