"""The project's HTTP client for all calls out: the one place that imports the library.

Certificates are always verified, redirects are never followed by themselves, and neither proxies nor credentials are
taken from the environment (`.netrc`, `HTTPS_PROXY`).
"""

import ssl
from pathlib import Path

from httpx2 import (
    AsyncBaseTransport,
    AsyncClient,
    Auth,
    ConnectError,
    ConnectTimeout,
    HTTPError,
    HTTPStatusError,
    Limits,
    LocalProtocolError,
    PoolTimeout,
    Request,
    Response,
    Timeout,
    TransportError,
    UnsupportedProtocol,
)

__all__ = [
    "AsyncClient",
    "Auth",
    "ConnectError",
    "ConnectTimeout",
    "HTTPError",
    "HTTPStatusError",
    "LocalProtocolError",
    "PoolTimeout",
    "Request",
    "Response",
    "TransportError",
    "UnsupportedProtocol",
    "http_client",
]


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
        verify=_tls(ca_bundle),
        follow_redirects=False,
        trust_env=False,
        timeout=Timeout(timeout),
        limits=Limits(max_connections=100, max_keepalive_connections=20),
        transport=transport,
    )


def _tls(ca_bundle: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_bundle)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
