"""Tests the direct way to an entry: a connection, over TLS with its certificate checked, also through the proxy."""

import asyncio
import re
import ssl
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from postern.connections.stage import Stage
from postern.connections.unreached import PROXY_SIGNS_IN, by_proxy, is_untrusted, of_certificate
from postern.proxy import Proxy

REACHED = "reached"
CONNECT_SECONDS = 10.0
WOULD_RUN = "it would run the trigger"
_HTTPS_PORT, _HTTP_PORT = 443, 80


async def connected(
    url: str, entry: str, ca_bundle: Path | None, proxy: Proxy | None = None, *, key: str = "url", why: str = WOULD_RUN
) -> Stage:
    """Whether a connection to the host of a URL can be opened. No request is sent, and `why` says why. `key` is the key
    of the URL in the entry."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (_HTTPS_PORT if secure else _HTTP_PORT)
    context = ssl.create_default_context(cafile=ca_bundle) if secure else None
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            if context is not None and proxy is not None and proxy.carries(host):
                writer = await _through(proxy, host, port, context)
            else:
                _, writer = await asyncio.open_connection(host, port, ssl=context)
    except _ProxyRefused as error:
        allow = f"Let the proxy of POSTERN_PROXY connect to {host}:{port}, or name the host in POSTERN_NO_PROXY"
        fix = PROXY_SIGNS_IN if str(error) == "407" else allow
        return Stage(REACHED, False, f"no connection: the proxy of POSTERN_PROXY answered {error}", fix)
    except (OSError, TimeoutError) as error:
        return not_reached(error, entry, key)
    version = writer.get_extra_info("ssl_object").version() if secure else "no TLS"
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()
    return Stage(REACHED, True, f"{parts.hostname}:{port} by {version}; no request was sent, because {why}")


class _ProxyRefused(Exception):
    """The proxy does not connect. The text is its status."""


async def _through(proxy: Proxy, host: str, port: int, context: ssl.SSLContext) -> asyncio.StreamWriter:
    """A connection through the proxy (RFC 9110, section 9.3.6), over TLS with the host."""
    at = urlsplit(proxy.url)
    to_proxy = context if at.scheme == "https" else None
    at_port = at.port or (_HTTPS_PORT if to_proxy else _HTTP_PORT)
    reader, writer = await asyncio.open_connection(at.hostname, at_port, ssl=to_proxy)
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    try:
        status = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1][:3].decode("ascii", "replace")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, IndexError):
        status = "nothing that is HTTP"
    if not re.fullmatch("2[0-9][0-9]", status):
        writer.transport.abort()
        raise _ProxyRefused(status if status.isdigit() else "nothing that is HTTP")
    await writer.start_tls(context, server_hostname=host)
    return writer


def not_reached(error: Exception, entry: str, key: str) -> Stage:
    """The stage for a connection that cannot be opened."""
    reasons = [each for each in (error, error.__cause__, error.__context__) if each is not None]
    untrusted = next(filter(is_untrusted, reasons), None)
    if untrusted is not None:
        fix = of_certificate(untrusted) or "If a private authority signed it, add that authority to POSTERN_CA_BUNDLE"
        return Stage(REACHED, False, "its certificate is not trusted", fix)
    fix = (
        by_proxy(error) or f"Check the address in {entry}, {key}, and whether this machine can reach it (DNS, firewall)"
    )
    return Stage(REACHED, False, f"no connection: {type(error).__name__}", fix)
