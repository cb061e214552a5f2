"""The project's HTTP client for all outgoing calls: the one place that imports the library.

Certificates are always verified. Redirects are not followed automatically. Neither proxies nor credentials are taken
from the environment (`.netrc`, `HTTPS_PROXY`): a proxy is a setting (`proxy.py`).
"""

import ssl
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from httpx2 import (
    URL,
    AsyncBaseTransport,
    AsyncByteStream,
    AsyncClient,
    AsyncHTTPTransport,
    Auth,
    ByteStream,
    ConnectError,
    ConnectTimeout,
    Headers,
    HTTPError,
    HTTPStatusError,
    InvalidURL,
    Limits,
    LocalProtocolError,
    PoolTimeout,
    ProxyError,
    ReadError,
    ReadTimeout,
    Request,
    Response,
    ResponseNotRead,
    Timeout,
    TransportError,
    UnsupportedProtocol,
    WriteTimeout,
)
from httpx2 import Proxy as HttpProxy

from postern.proxy import Proxy
from postern.tunnels import TunnelRefused
from postern.version import user_agent

__all__ = [
    "BY",
    "ENTRY",
    "URL",
    "USER_AGENT",
    "AgentLost",
    "AsyncBaseTransport",
    "AsyncByteStream",
    "AsyncClient",
    "Auth",
    "ByteStream",
    "ConnectError",
    "ConnectTimeout",
    "HTTPError",
    "HTTPStatusError",
    "Headers",
    "InvalidURL",
    "LocalProtocolError",
    "NotOpened",
    "PoolTimeout",
    "ReadError",
    "ReadTimeout",
    "Request",
    "Response",
    "ResponseNotRead",
    "SentBy",
    "Timeout",
    "TransportError",
    "UnsupportedProtocol",
    "WriteTimeout",
    "http_client",
    "pool",
    "tls",
]

USER_AGENT = user_agent()

KEEPALIVE_SECONDS = 4.0
"""How long the pool keeps an idle connection. Many servers close it after 5 seconds, and a request sent at that moment
would fail."""

ENTRY: ContextVar[str] = ContextVar("postern-entry", default="")
"""The entry whose request is sent, for the agent's log."""

BY = "postern.by"
"""The extension of a request with a SentBy, and of a response with the gateway and the agent by which it came."""


@dataclass(slots=True)
class SentBy:
    """By which gateway and agent a request was sent last; "" if by none, or none that is known."""

    gateway: str = ""
    agent: str = ""


class NotOpened(ConnectError):
    """A request that was not sent, because no tunnel was opened, or because the agent did not pass it on."""

    refused: TunnelRefused | None = None


class AgentLost(ReadError):
    """A request without a whole response, because its tunnel broke off: whether it arrived is not known."""

    refused: TunnelRefused | None = None


def http_client(
    ca_bundle: Path | None = None,
    *,
    proxy: Proxy | None = None,
    base_url: str = "",
    timeout: float = 30.0,
    auth: Auth | None = None,
    transport: AsyncBaseTransport | None = None,
) -> AsyncClient:
    """A pooled client. `ca_bundle` is a PEM file that replaces the system's authorities. `timeout`, in seconds, applies
    to connecting, and to each read and write."""
    if proxy is not None and transport is None:
        transport = pool(ca_bundle, most=100, kept=20, proxy=proxy)
    return AsyncClient(
        base_url=base_url,
        auth=auth,
        headers={"User-Agent": USER_AGENT},
        verify=tls(ca_bundle),
        follow_redirects=False,
        trust_env=False,
        timeout=Timeout(timeout),
        limits=Limits(max_connections=100, max_keepalive_connections=20),
        transport=transport,
    )


def pool(ca_bundle: Path | None, *, most: int, kept: int, proxy: Proxy | None = None) -> AsyncBaseTransport:
    """Connections for many clients: `most` at a time, of which `kept` stay open for further requests."""
    limits = Limits(max_connections=most, max_keepalive_connections=kept, keepalive_expiry=KEEPALIVE_SECONDS)
    direct = AsyncHTTPTransport(verify=tls(ca_bundle), trust_env=False, limits=limits)
    if proxy is None:
        return direct
    at = HttpProxy(proxy.url, ssl_context=tls(ca_bundle) if proxy.url.startswith("https://") else None)
    through = AsyncHTTPTransport(verify=tls(ca_bundle), trust_env=False, limits=limits, proxy=at)
    return _Routed(proxy, direct, through)


class _Routed(AsyncBaseTransport):
    """Sends requests through the proxy, except to the hosts that it does not carry. What fails before the other side
    gets the request is a ConnectError, as it is without a proxy."""

    def __init__(self, proxy: Proxy, direct: AsyncBaseTransport, through: AsyncBaseTransport) -> None:
        self._proxy = proxy
        self._direct = direct
        self._through = through

    async def handle_async_request(self, request: Request) -> Response:
        """Send one request. The HTTP client calls this."""
        if not self._proxy.carries(request.url.host):
            return await self._direct.handle_async_request(request)
        try:
            return await self._through.handle_async_request(request)
        except ProxyError as error:
            status = str(error).partition(" ")[0]  # the rest is the proxy's own text
            said = f" ({status})" if status.isdigit() else ""
            text = f"the proxy of POSTERN_PROXY rejected the connection{said}"
        except (ConnectError, ConnectTimeout) as error:
            text = f"through the proxy of POSTERN_PROXY, {str(error) or 'no connection in time'}"
        raise ConnectError(text, request=request)

    async def aclose(self) -> None:
        """Close both."""
        try:
            await self._through.aclose()
        finally:
            await self._direct.aclose()


@lru_cache(maxsize=64)
def tls(ca_bundle: Path | None) -> ssl.SSLContext:
    """The TLS context that verifies certificates, made once for each file of authorities, because reading it takes
    long."""
    context = ssl.create_default_context(cafile=ca_bundle)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
