"""Connects to a target: its name is resolved here, every address is checked, and a checked one is connected to without
a second look-up. So the name's zone cannot change the address in between (DNS rebinding)."""

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSStream

from postern.gateway.agent.addresses import first_refused
from postern.gateway.agent.allowed import Denied, Target
from postern.gateway.agent.rows import is_literal
from postern.gateway.reasons import Reason
from postern.http_client import tls

SECONDS = 2.7
"""For the name, the connection and TLS together: the server tries another agent after 3 s."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
Connect = Callable[[str, int], Awaitable[ByteStream]]


class Unreached(Exception):
    """There is no connection to the target, and why."""

    def __init__(self, denied: Denied) -> None:
        super().__init__(denied.text)
        self.denied = denied


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, in the system's order."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


async def connect_address(address: str, port: int) -> ByteStream:
    """A connection to an address, never to a name."""
    stream = await anyio.connect_tcp(address, port)
    opened: socket.socket = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - anyio's, not Django's
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return stream


class Targets:
    """Connects to targets."""

    def __init__(self, *, resolve: Resolve = resolve, connect: Connect = connect_address) -> None:
        self._resolve = resolve
        self._connect = connect

    async def addresses(self, target: Target) -> Sequence[str]:
        """The target's addresses, all of which may be connected to. Raises Unreached."""
        try:
            found = [target.host] if is_literal(target.host) else await self._resolve(target.host, target.port)
        except (OSError, UnicodeError):
            found = []
        if not found:
            raise _unreached(Reason.NAME_NOT_FOUND, "DNS at the agent has no address of it")
        if bad := first_refused(found, loopback=target.loopback):
            raise _unreached(Reason.ADDRESS_DENIED, f"its address {bad[0]} {bad[1]}, and is not connected to")
        return found

    async def connect(self, target: Target) -> ByteStream:
        """A connection, with TLS if the agent speaks https there. Raises Unreached."""
        until = time.monotonic() + SECONDS
        stream = None
        try:
            async with asyncio.timeout(SECONDS):
                addresses = await self.addresses(target)
                stream = await self._first(addresses, target.port, until)
                if target.scheme != "https":
                    return stream
                context = tls(target.rows[0].ca_bundle)
                return await TLSStream.wrap(
                    stream, hostname=target.host, ssl_context=context, standard_compatible=False
                )
        except TimeoutError:
            fault = _unreached(Reason.TARGET_TIMEOUT, "it gave no answer in time")
        except ssl.SSLCertVerificationError as error:
            why = f"its certificate could not be verified ({error.verify_message})"
            fault = _unreached(Reason.TARGET_REFUSED, f"{why}: set ca_bundle in its row to a file with its authority")
        except (OSError, anyio.EndOfStream, anyio.BrokenResourceError) as error:
            cause = error.__cause__ or error
            why = "it refuses connections" if isinstance(cause, ConnectionRefusedError) else "it cannot be reached"
            fault = _unreached(Reason.TARGET_REFUSED, f"{why} ({type(cause).__name__})")
        if stream is not None:
            await anyio.aclose_forcefully(stream)
        raise fault

    async def _first(self, addresses: Sequence[str], port: int, until: float) -> ByteStream:
        """The first address that answers. Each gets its share of the time that is left."""
        fault: OSError = OSError("no address")
        for number, address in enumerate(addresses):
            share = (until - time.monotonic()) / (len(addresses) - number)
            try:
                async with asyncio.timeout(share):
                    return await self._connect(address, port)
            except OSError as error:  # TimeoutError is one
                fault = error
        raise fault


def _unreached(reason: Reason, text: str) -> Unreached:
    return Unreached(Denied(reason, text))
