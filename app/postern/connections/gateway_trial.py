"""Tests the way to an entry by a gateway, stage by stage: an agent, the tunnel, and TLS with the other side."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import anyio
from anyio.streams.tls import TLSAttribute, TLSStream

from postern.connections.by_gateway import NOT_ALLOWED, words
from postern.connections.stage import Stage
from postern.connections.unreached import of_certificate
from postern.http_client import tls
from postern.settings import Connection, Trigger
from postern.tunnels import OpenTunnel, Reason, Tunnel, TunnelRefused

GATEWAY, TUNNEL, TLS = "gateway", "tunnel", "tls"
SECONDS = 10.0
_PORTS = {"http": 80, "https": 443}


async def gateway_stages(
    entry: str, found: Connection | Trigger, open_tunnel: OpenTunnel, ca_bundle: Path | None
) -> AsyncIterator[Stage]:
    """Every stage of opening a connection to the entry's address, up to the first that fails. No request is sent."""
    parts = urlsplit(found.url if isinstance(found, Trigger) else found.base_url)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    at_agent = found.tls == "gateway"
    try:
        async with asyncio.timeout(2 * SECONDS):
            tunnel = await open_tunnel(found.gateway or "", host, port, entry=entry, ends_tls=at_agent, wait=SECONDS)
    except TunnelRefused as refused:
        for stage in refused_stages(refused):
            yield stage
        return
    except TimeoutError:
        yield Stage(GATEWAY, False, f"{found.gateway} opened no tunnel within {2 * SECONDS:g} s", "Look at its agents")
        return
    try:
        yield Stage(GATEWAY, True, f"{tunnel.gateway}, by agent {tunnel.agent}")
        if at_agent:
            yield Stage(TUNNEL, True, f"{host}:{port}, whose requests the agent reads")
            yield Stage(TLS, True, "ends at the agent, which connects to the other side for each request")
            return
        yield Stage(TUNNEL, True, f"{host}:{port}")
        yield await _tls(tunnel, host, port, ca_bundle)
    finally:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await tunnel.aclose()


def refused_stages(refused: TunnelRefused) -> list[Stage]:
    """The stages of a tunnel that was not opened. Only without an agent it is the gateway's."""
    wrong, fix = words(refused)
    if refused.reason is Reason.NO_AGENT:
        return [Stage(GATEWAY, False, wrong, fix)]
    if refused.reason in NOT_ALLOWED:
        wrong = f"{refused.host}:{refused.port} {wrong}"
    passed = Stage(GATEWAY, True, f"{refused.gateway}, by agent {refused.agent}")
    return [passed, Stage(TUNNEL, False, wrong, fix)]


async def _tls(tunnel: Tunnel, host: str, port: int, ca_bundle: Path | None) -> Stage:
    at = f"{host}:{port}"
    try:
        async with asyncio.timeout(SECONDS):
            over = await TLSStream.wrap(tunnel, hostname=host, ssl_context=tls(ca_bundle), standard_compatible=False)
    except ssl.SSLError as error:
        fix = of_certificate(error) or "If a private authority signed it, set ca_bundle of the entry to that authority"
        return Stage(TLS, False, f"{at}: its certificate is not trusted", fix)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, TimeoutError) as error:
        return Stage(TLS, False, f"{at} did not begin TLS ({type(error).__name__})", f"Check that {at} speaks https")
    version = over.extra(TLSAttribute.tls_version)  # noqa: S610 not Django's
    return Stage(TLS, True, f"{at} by {version}")
