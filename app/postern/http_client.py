"""The project's HTTP client for all outgoing calls: the one place that imports the library.

Certificates are always verified. Redirects are not followed automatically. Neither proxies nor credentials are taken
from the environment (`.netrc`, `HTTPS_PROXY`).
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
    Headers,
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

from postern.version import own_version

__all__ = [
    "URL",
    "USER_AGENT",
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

USER_AGENT = f"Postern/{own_version()}"
"""Names the product, as RFC 9110, section 10.1.5 wants it. Firewalls often reject the names of libraries."""

KEEPALIVE_SECONDS = 4.0
"""How long the pool keeps an idle connection. Many servers close it after 5 seconds, and a request sent at that moment
would fail."""


def http_client(
    ca_bundle: Path | None = None,
    *,
    base_url: str = "",
    timeout: float = 30.0,
    auth: Auth | None = None,
    transport: AsyncBaseTransport | None = None,
) -> AsyncClient:
    """A pooled client. `ca_bundle` is a PEM file that replaces the system's authorities. `timeout`, in seconds, applies
    to connecting, and to each read and write."""
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


def pool(ca_bundle: Path | None, *, most: int, kept: int) -> AsyncBaseTransport:
    """Connections for many clients: `most` at a time, of which `kept` stay open for further requests."""
    limits = Limits(max_connections=most, max_keepalive_connections=kept, keepalive_expiry=KEEPALIVE_SECONDS)
    return AsyncHTTPTransport(verify=tls(ca_bundle), trust_env=False, limits=limits)


@lru_cache(maxsize=8)
def tls(ca_bundle: Path | None) -> ssl.SSLContext:
    """The TLS context that verifies certificates, made once for each file of authorities, because reading it takes
    long."""
    context = ssl.create_default_context(cafile=ca_bundle)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
