"""Connections by a gateway, as a transport of `http_client.py`: the one place that imports what is under that library.

Each connection of the pool is a tunnel. TLS is in it, between this server and the other side, unless the agent reads
the requests. What fails until the tunnel is open and TLS is done is a ConnectError: nothing was sent. What fails
afterwards is a ReadError or a WriteError, and the request may have arrived.
"""

import ssl
from collections.abc import AsyncIterable, AsyncIterator, Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import httpcore2
import httpx2
from anyio.abc import ByteStream
from anyio.streams.tls import TLSAttribute, TLSStream

from postern.http_client import (
    BY,
    ENTRY,
    KEEPALIVE_SECONDS,
    AgentLost,
    AsyncBaseTransport,
    AsyncByteStream,
    ConnectError,
    NotOpened,
    Request,
    Response,
    tls,
)
from postern.tunnels import AGENT_WAIT, AgentWait, OpenTunnel, Reason, Tunnel, TunnelRefused

REASON = "postern-reason"
"""The header in which an agent that reads requests says why it did not pass one on."""

WAIT_SECONDS = 10.0
"""How long the attempts of a call wait for an agent together, if its own limit is not shorter."""
SPARE_SECONDS = 5.0
"""How much longer opening a tunnel may take: the first agent may be silent, and another one is tried."""
PART_OF_LIMIT = 0.8
"""Of a shorter limit, how much a request waits for an agent: so its error says that there is none."""

_OF_ONE_AGENT = (Reason.AGENT_LOST, Reason.NAME_NOT_FOUND, Reason.TARGET_REFUSED, Reason.TARGET_TIMEOUT)
"""What may succeed by another agent."""
_PORTS = {"http": 80, "https": 443}


class _Refused(httpcore2.NetworkError):
    """No tunnel, and another attempt at once is of no use."""

    def __init__(self, refused: TunnelRefused) -> None:
        super().__init__(str(refused))
        self.refused = refused


class _RefusedOnce(httpcore2.ConnectError):
    """No tunnel. The pool tries again at once, which may be by another agent."""

    def __init__(self, refused: TunnelRefused) -> None:
        super().__init__(str(refused))
        self.refused = refused


class _Untrusted(httpcore2.NetworkError):
    """TLS failed, for example because of the certificate. OpenSSL's text says why."""


class _BrokenOff(httpcore2.ReadError):
    def __init__(self, refused: TunnelRefused) -> None:
        super().__init__(str(refused))
        self.refused = refused


class TunnelPool(AsyncBaseTransport):
    """Tunnels by the agents of one gateway: `most` at a time, of which `kept` stay open for further requests. With
    `ends_tls` the agent reads the requests, which are in the clear in the tunnel."""

    def __init__(
        self, gateway: str, open_tunnel: OpenTunnel, ca_bundle: Path | None, *, ends_tls: bool, most: int, kept: int
    ) -> None:
        self._gateway = gateway
        self._ends_tls = ends_tls
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls(ca_bundle),
            max_connections=most,
            max_keepalive_connections=kept,
            keepalive_expiry=KEEPALIVE_SECONDS,
            retries=1,
            network_backend=_Backend(gateway, open_tunnel, ends_tls=ends_tls),
        )

    async def handle_async_request(self, request: Request) -> Response:
        """Send one request. The HTTP client calls this."""
        url = request.url
        port = url.port or _PORTS[url.scheme]
        scheme = b"http" if self._ends_tls else url.raw_scheme
        sent = httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(scheme=scheme, host=url.raw_host, port=port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _as_of_client():
            found = await self._pool.handle_async_request(sent)
        agent = found.extensions["network_stream"].get_extra_info("agent")
        response = Response(
            found.status,
            headers=found.headers,
            stream=_Body(found.stream),
            extensions={**found.extensions, BY: (self._gateway, agent)},
        )
        if self._ends_tls and REASON in response.headers:
            await response.aclose()
            raise self._not_passed_on(response.headers[REASON], agent, url.host, port)
        return response

    async def close_ended(self) -> None:
        """Close the tunnels that wait for a request and have ended, or whose agent is going: it waits for them."""
        for connection in list(self._pool.connections):
            if connection.is_idle() and connection.has_expired():
                await connection.aclose()

    async def aclose(self) -> None:
        """Close all tunnels."""
        with _as_of_client():
            await self._pool.aclose()

    def _not_passed_on(self, written: str, agent: str, host: str, port: int) -> Exception:
        """The error for the agent's own answer. An unknown reason is of a newer agent: the request may have arrived."""
        known = written in list(Reason)
        refused = TunnelRefused(Reason(written) if known else Reason.AGENT_LOST, self._gateway, agent, host, port)
        return _lost(refused) if refused.reason is Reason.AGENT_LOST else _not_opened(refused)


class _Backend(httpcore2.AsyncNetworkBackend):
    def __init__(self, gateway: str, open_tunnel: OpenTunnel, *, ends_tls: bool) -> None:
        self._gateway = gateway
        self._open = open_tunnel
        self._ends_tls = ends_tls

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """A tunnel to this address. The pool calls this."""
        del local_address, socket_options
        limit = WAIT_SECONDS if timeout is None else timeout
        wait = WAIT_SECONDS if limit >= WAIT_SECONDS else limit * PART_OF_LIMIT
        waited = AGENT_WAIT.get() or AgentWait()
        how: dict[str, Any] = {"entry": ENTRY.get(), "ends_tls": self._ends_tls, "for_agent": not waited.over}
        try:
            with anyio.fail_after(limit + SPARE_SECONDS):
                tunnel = await self._open(self._gateway, host, port, wait=wait, **how)
        except TunnelRefused as refused:
            waited.over |= refused.reason is Reason.NO_AGENT
            raise _refusal(refused) from None
        except TimeoutError:
            waited.over = True
            text = "no agent answered in time"
            raise _Refused(TunnelRefused(Reason.NO_AGENT, self._gateway, "", host, port, text)) from None
        return _Stream(tunnel, tunnel, host, port)

    async def sleep(self, seconds: float) -> None:
        """Wait before another attempt."""
        await anyio.sleep(seconds)


class _Stream(httpcore2.AsyncNetworkStream):
    """A tunnel, or TLS `over` it."""

    def __init__(self, tunnel: Tunnel, over: ByteStream, host: str, port: int) -> None:
        self._tunnel = tunnel
        self._over = over
        self._host = host
        self._port = port

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - the library's
        """The next bytes, none at the end."""
        try:
            with anyio.fail_after(timeout):
                return await self._over.receive(max_bytes)
        except anyio.EndOfStream:
            return b""
        except TimeoutError as error:
            raise httpcore2.ReadTimeout from error
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, ssl.SSLError) as error:
            raise _BrokenOff(self._refused(Reason.AGENT_LOST)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the library's
        """Send bytes."""
        if not buffer:
            return
        try:
            with anyio.fail_after(timeout):
                await self._over.send(buffer)
        except TimeoutError as error:
            raise httpcore2.WriteTimeout from error
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, ssl.SSLError) as error:
            raise httpcore2.WriteError from error

    async def aclose(self) -> None:
        """Close the tunnel. One that ended is closed already."""
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._over.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's
    ) -> httpcore2.AsyncNetworkStream:
        """TLS with the other side, in the tunnel. Its certificate is checked here."""
        try:
            with anyio.fail_after(timeout):
                over = await TLSStream.wrap(
                    self._over, ssl_context=ssl_context, hostname=server_hostname, standard_compatible=False
                )
        except ssl.SSLError as error:  # the certificate, for example: its text says what is wrong
            await self.aclose()
            by = f"by agent {self._tunnel.agent} of gateway {self._tunnel.gateway}"
            raise _Untrusted(f"{error}, at {self._host}:{self._port} {by}") from error
        except TimeoutError as error:
            await self.aclose()
            raise _refusal(self._refused(Reason.TARGET_TIMEOUT, "TLS did not begin in time")) from error
        except anyio.EndOfStream as error:
            await self.aclose()
            raise _refusal(self._refused(Reason.TARGET_REFUSED, "it closed the connection before TLS began")) from error
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            await self.aclose()
            raise _refusal(self._refused(Reason.AGENT_LOST)) from error
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.aclose()
            raise
        return _Stream(self._tunnel, over, self._host, self._port)

    def get_extra_info(self, info: str) -> Any:
        """What the pool looks at, and the name of the agent."""
        if info == "is_readable":  # between two requests: then there is nothing to read but an end
            return self._tunnel.ended
        if info == "agent":
            return self._tunnel.agent
        if info == "ssl_object":
            return self._over.extra(TLSAttribute.ssl_object, None)  # noqa: S610 not Django's
        return None

    def _refused(self, reason: Reason, text: str = "") -> TunnelRefused:
        return TunnelRefused(reason, self._tunnel.gateway, self._tunnel.agent, self._host, self._port, text)


class _Body(AsyncByteStream):
    """The body of a reply, whose errors are the client's."""

    def __init__(self, stream: Any) -> None:
        self._stream: AsyncIterable[bytes] = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The body in pieces."""
        with _as_of_client():
            async for part in self._stream:
                yield part

    async def aclose(self) -> None:
        """Give the tunnel back to the pool, or close it."""
        await self._stream.aclose()  # type: ignore[attr-defined]  # the pool's own stream


def _refusal(refused: TunnelRefused) -> _Refused | _RefusedOnce:
    return _RefusedOnce(refused) if refused.reason in _OF_ONE_AGENT else _Refused(refused)


def _not_opened(refused: TunnelRefused) -> NotOpened:
    error = NotOpened(str(refused))
    error.refused = refused
    return error


def _lost(refused: TunnelRefused) -> AgentLost:
    error = AgentLost(str(refused))
    error.refused = refused
    return error


@contextmanager
def _as_of_client() -> Generator[None]:
    """Errors of the pool as those of the client, which have the same names."""
    try:
        yield
    except (_Refused, _RefusedOnce) as error:
        raise _not_opened(error.refused) from error
    except _Untrusted as error:
        raise ConnectError(str(error)) from error
    except _BrokenOff as error:
        raise _lost(error.refused) from error
    except (
        httpcore2.TimeoutException,
        httpcore2.NetworkError,
        httpcore2.ProtocolError,
        httpcore2.UnsupportedProtocol,
    ) as error:
        raise getattr(httpx2, type(error).__name__)(str(error)) from error
