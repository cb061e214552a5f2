"""The project's HTTP client for all calls out: the one place that imports the library.

Certificates are always verified, redirects are never followed by themselves, and neither proxies nor credentials are
taken from the environment (`.netrc`, `HTTPS_PROXY`).
"""

import ssl
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
    HTTPError,
    HTTPStatusError,
    InvalidURL,
    Limits,
    LocalProtocolError,
    PoolTimeout,
    ReadTimeout,
    Request,
    Response,
    Timeout,
    TransportError,
    UnsupportedProtocol,
)

__all__ = [
    "URL",
    "AsyncBaseTransport",
    "AsyncByteStream",
    "AsyncClient",
    "Auth",
    "ByteStream",
    "ConnectError",
    "ConnectTimeout",
    "HTTPError",
    "HTTPStatusError",
    "InvalidURL",
    "LocalProtocolError",
    "PoolTimeout",
    "ReadTimeout",
    "Request",
    "Response",
    "Timeout",
    "TransportError",
    "UnsupportedProtocol",
    "http_client",
    "pool",
    "tls",
]

KEPT_SECONDS = 4.0
"""How long a connection of the pool is kept that nobody uses: less than the 5 seconds after which many servers close
it, which a request that is on its way just then would not survive."""


def http_client(
    ca_bundle: Path | None = None,
    *,
    base_url: str = "",
    timeout: float = 30.0,
    auth: Auth | None = None,
    transport: AsyncBaseTransport | None = None,
) -> AsyncClient:
    """A pooled client. `ca_bundle` is a PEM file that replaces the system's authorities; `timeout`, in seconds, holds
    for connecting, and for each read and write."""
    return AsyncClient(
        base_url=base_url,
        auth=auth,
        verify=tls(ca_bundle),
        follow_redirects=False,
        trust_env=False,
        timeout=Timeout(timeout),
        limits=Limits(max_connections=100, max_keepalive_connections=20),
        transport=transport,
    )


def pool(ca_bundle: Path | None, *, most: int, kept: int) -> AsyncBaseTransport:
    """Connections for many clients: `most` at a time, of which `kept` wait for another request."""
    limits = Limits(max_connections=most, max_keepalive_connections=kept, keepalive_expiry=KEPT_SECONDS)
    return AsyncHTTPTransport(verify=tls(ca_bundle), trust_env=False, limits=limits)


@lru_cache(maxsize=8)
def tls(ca_bundle: Path | None) -> ssl.SSLContext:
    """What verifies certificates, made once for each file of authorities: reading those takes long."""
    context = ssl.create_default_context(cafile=ca_bundle)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
