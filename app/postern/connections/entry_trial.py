"""Tests an entry of `postern.toml`, stage by stage: sign in, then reach the other side. `postern connections test` and
the console show the stages.

A connection is tested by a GET of its base address. A trigger gets no request, because any request could run it.
Instead a connection is opened, over TLS with its certificate checked, and closed again.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from postern.clouds import AUTHORITIES
from postern.connections.auth.sign_in import SignIn
from postern.connections.connections import Connections
from postern.connections.faults import ConnectionFault
from postern.connections.stage import Stage
from postern.connections.unreached import PROXY_SIGNS_IN, by_proxy, is_untrusted, of_certificate
from postern.http_client import AsyncClient, HTTPError
from postern.proxy import Proxy
from postern.settings import Connection, Settings, Trigger

REACHED = "reached"
CONNECT_SECONDS = 10.0
_HTTPS_PORT, _HTTP_PORT = 443, 80


async def stages_of(entry: str, settings: Settings) -> AsyncIterator[Stage]:
    """Every stage of the existing entry `connections.NAME` or `triggers.NAME`, up to the first that fails."""
    kind, _, name = entry.partition(".")
    found = settings.connections[name] if kind == "connections" else settings.triggers[name]
    yield Stage("entry", True, f"{entry}, of type {found.auth.type}")
    try:
        async with _client(entry, found, settings) as (client, sign_in):
            async for stage in stages_with(client, sign_in, entry, found, settings.ca_bundle, settings.way_out):
                yield stage
    except ConnectionFault as fault:
        yield Stage("usable", False, f"{fault.entry} {fault.wrong}", fault.fix)


async def stages_with(
    client: AsyncClient,
    sign_in: SignIn | None,
    entry: str,
    found: Connection | Trigger,
    ca_bundle: Path | None,
    proxy: Proxy | None = None,
) -> AsyncIterator[Stage]:
    """The stages from sign-in onwards, with a client of the entry."""
    if sign_in is not None:
        async for stage in sign_in.try_out():
            yield stage
            if not stage.passed:
                return
    if isinstance(found, Trigger):
        yield await connected(found.url, entry, ca_bundle, proxy)
    else:
        yield await _requested(client, entry, found)


@asynccontextmanager
async def _client(
    entry: str, found: Connection | Trigger, settings: Settings
) -> AsyncIterator[tuple[AsyncClient, SignIn | None]]:
    connections = Connections(settings, settings.authority or AUTHORITIES[settings.cloud])
    try:
        if isinstance(found, Trigger):
            client = connections.open(entry, found.url, found.auth, exact=True, headers=found.headers)
        else:
            client = connections.client(entry.partition(".")[2])
        yield client, connections.sign_in(entry)
    finally:
        await connections.aclose()


async def _requested(client: AsyncClient, entry: str, found: Connection) -> Stage:
    """Whether the base address answers. Of the response only the status is read."""
    try:
        async with client.stream("GET", "") as response:
            return judged(response.status_code, entry, found)
    except HTTPError as error:
        return _not_reached(error, entry, "base_url")


def judged(status: int, entry: str, found: Connection) -> Stage:
    """The stage for the status of the base address. 404 and the like are usual there: it was reached."""
    detail = f"GET {found.base_url} answered {status}"
    if status == 401 and found.auth.type == "none" and not found.headers:
        return Stage(REACHED, False, detail, f"It requires authentication: give {entry} an auth other than none")
    if status == 401:
        what = "its headers, and the secrets that they name" if found.auth.type == "none" else _CREDENTIAL
        fix = f"Check the credential of {entry}: {what}"
        return Stage(REACHED, False, f"{detail}: the credential was rejected", fix)
    if status == 403:
        detail += (
            ": reached, but not permitted at this address. If your calls get 403 too, grant the permission there, or "
            "let requests of this machine through the firewall in front of it"
        )
    elif 300 <= status < 400:
        detail += ", a redirect, which is not followed"
    elif status >= 500:
        detail += ": it was reached, but has an error"
    return Stage(REACHED, True, detail)


async def connected(url: str, entry: str, ca_bundle: Path | None, proxy: Proxy | None = None) -> Stage:
    """Whether a connection to a trigger's host can be opened. No request is sent."""
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
        return _not_reached(error, entry, "url")
    version = writer.get_extra_info("ssl_object").version() if secure else "no TLS"
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()
    return Stage(
        REACHED, True, f"{parts.hostname}:{port} by {version}; no request was sent, because it would run the trigger"
    )


_CREDENTIAL = "what it is for (audience or scopes, key, password) and its identity"


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


def _not_reached(error: Exception, entry: str, key: str) -> Stage:
    reasons = [each for each in (error, error.__cause__, error.__context__) if each is not None]
    untrusted = next(filter(is_untrusted, reasons), None)
    if untrusted is not None:
        fix = of_certificate(untrusted) or "If a private authority signed it, add that authority to POSTERN_CA_BUNDLE"
        return Stage(REACHED, False, "its certificate is not trusted", fix)
    fix = (
        by_proxy(error) or f"Check the address in {entry}, {key}, and whether this machine can reach it (DNS, firewall)"
    )
    return Stage(REACHED, False, f"no connection: {type(error).__name__}", fix)
