"""Connects to the server: a WebSocket, through the proxy of gateway.toml if there is one, never one of the environment.

Reference: RFC 6455; RFC 9110, section 9.3.6 (CONNECT). Redirects are not followed, because the request has a token.
"""

import json
import logging
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import anyio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidProxyStatus,
    InvalidStatus,
    NegotiationError,
    ProxyError,
    WebSocketException,
)

from postern.gateway.agent.settings import AgentSettings
from postern.gateway.agent.sign_in import SKEW, Token, clock_ahead, clock_words
from postern.http_client import tls
from postern.plain_text import plain
from postern.version import user_agent

SUBPROTOCOL = "postern-gateway.1"
MESSAGE_BYTES = 1024 * 1024
OPEN_SECONDS = 10.0
CLOSE_SECONDS = 2.0
MOST_DETAIL = 300

UNAUTHORIZED = 401

_NOT_YET, _EXPIRED = 9, 10
"""X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED (openssl-verification-options(1))."""
_OTHER_NAME = (62, 64)

_log = logging.getLogger(__name__ + ".websockets")
_log.setLevel(logging.CRITICAL)


class DialFault(Exception):
    """There is no link. `rejected`: the server rejects the token."""

    def __init__(self, wrong: str, fix: str, *, rejected: bool = False) -> None:
        super().__init__(f"{wrong}. {fix}")
        self.wrong = wrong
        self.fix = fix
        self.rejected = rejected


@dataclass(slots=True)
class Dialled:
    """The messages of one WebSocket. Errors are those of anyio. `ahead` is by how many seconds this machine's clock is
    ahead of the server's, None if that is not known."""

    socket: ClientConnection
    ahead: float | None = None

    async def send(self, message: bytes) -> None:
        """Send one message. It waits while much is unwritten."""
        try:
            await self.socket.send(message)
        except ConnectionClosed:
            raise anyio.BrokenResourceError from None

    async def receive(self) -> bytes:
        """The next message."""
        try:
            message = await self.socket.recv()
        except ConnectionClosed:
            raise anyio.EndOfStream from None
        if isinstance(message, str):
            raise anyio.BrokenResourceError
        return message

    async def aclose(self) -> None:
        """Close the connection."""
        await self.socket.close()

    @property
    def close_reason(self) -> str:
        """What the server wrote into the end of the WebSocket, "" if it wrote nothing."""
        return plain((self.socket.close_reason or "")[:MOST_DETAIL])


class _Straight(connect):
    """A connection that follows no redirect."""

    def process_redirect(self, exc: Exception) -> Exception:
        """Every redirect is an error."""
        return exc


async def dial(settings: AgentSettings, url: str, token: Token, *, clock: Callable[[], float] = time.time) -> Dialled:
    """A WebSocket to the server at `url`. Raises DialFault."""
    host = _host_of(url)
    way = settings.way_out
    proxy = way.url if way is not None and way.carries(host) else None
    encrypted: dict[str, Any] = {}
    if url.startswith("https"):
        encrypted["ssl"] = tls(settings.ca_bundle)
    if proxy and proxy.startswith("https"):
        encrypted["proxy_ssl"] = tls(settings.ca_bundle)
    began = clock()
    try:
        opened = await _Straight(
            f"ws{url.removeprefix('http')}/gateways/{settings.name}/link",
            proxy=proxy,
            **encrypted,
            additional_headers={"Authorization": f"Bearer {token.value}"},
            user_agent_header=user_agent(),
            subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]  # a NewType of str
            compression=None,
            max_size=MESSAGE_BYTES,
            max_queue=4,
            ping_interval=None,  # the link has its own
            open_timeout=OPEN_SECONDS,
            close_timeout=CLOSE_SECONDS,
            logger=_log,
        )
    except (WebSocketException, OSError, EOFError) as error:
        fault = fault_of(error, settings, host, began=began, now=clock(), proxied=proxy is not None)
    else:
        if opened.subprotocol == SUBPROTOCOL:
            response = opened.response
            date = response.headers.get("Date") if response else None
            return Dialled(opened, clock_ahead(date, began, clock()))
        await opened.close()
        fault = DialFault(f"{host} does not speak {SUBPROTOCOL}", "Update the server, or correct its address")
    raise fault


def fault_of(
    error: Exception, settings: AgentSettings, host: str, *, began: float, now: float, proxied: bool
) -> DialFault:
    """What an error of connecting means. Pure. The server's own text is shown for a rejected token only, and short."""
    at = settings.proxy if proxied else host
    if isinstance(error, InvalidStatus):
        return _of_status(error.response, settings.name, host, began, now)
    if isinstance(error, InvalidProxyStatus):
        return _of_proxy(error.response.status_code, settings)
    if isinstance(error, ProxyError):
        return DialFault(f"{settings.proxy} is not an HTTP proxy", "Correct proxy")
    if isinstance(error, NegotiationError):
        return DialFault(f"{host} does not speak {SUBPROTOCOL}", "Update the server, or correct its address")
    if isinstance(error, ssl.SSLCertVerificationError):
        return certificate_fault(error, host)
    if isinstance(error, socket.gaierror):
        return DialFault(f"DNS has no address of {at}", "Correct its name, or the name servers of this machine")
    if isinstance(error, TimeoutError):
        return DialFault(f"{at} gave no answer in time", "See that a firewall lets this machine connect there")
    if isinstance(error, ConnectionRefusedError):
        return DialFault(f"{at} refuses connections", "See that it runs, and its port")
    if isinstance(error, WebSocketException | EOFError | ConnectionResetError | ssl.SSLError):
        fix = "See that no proxy or balancer on the way cuts WebSockets"
        return DialFault(f"the connection to {host} was cut before the link was open ({type(error).__name__})", fix)
    return DialFault(f"{at} cannot be reached ({type(error).__name__})", "See the network of this machine")


def _of_status(response: Any, name: str, host: str, began: float, now: float) -> DialFault:
    status = response.status_code
    if status == UNAUTHORIZED:
        ahead = clock_ahead(response.headers.get("Date"), began, now)
        if ahead is not None and abs(ahead) > SKEW:
            wrong = f"{host} rejects the token (401), and {clock_words(ahead, 'the server')}"
            return DialFault(wrong, "Set the clock of this machine (NTP)", rejected=True)
        detail = _detail_of(response.body)
        return DialFault(
            f"{host} rejects the token (401){f': {detail}' if detail else ''}",
            f"Give the agent's application the role Postern.Gateway, and add its object id to agents in "
            f"[gateways.{name}] of the server; `postern refusals` there shows the reason",
            rejected=True,
        )
    if status == 404:
        fix = f"Write [gateways.{name}] into the server's postern.toml, or correct server and name here"
        return DialFault(f"{host} has no gateway {name} (404)", fix)
    if 300 <= status < 400:
        return DialFault(f"{host} redirects ({status})", "Write the address that it redirects to as server")
    fix = "See whether the server runs, and that each proxy and balancer before it passes WebSockets (Upgrade)"
    return DialFault(f"{host} answered {status}", fix)


def _of_proxy(status: int, settings: AgentSettings) -> DialFault:
    if status == 407:
        return DialFault(
            f"the proxy {settings.proxy} asks for a sign-in (407)",
            "Let it accept this machine by its address, or name a proxy on this machine that signs in there",
        )
    return DialFault(f"the proxy {settings.proxy} does not connect ({status})", "Let it allow CONNECT to the server")


def certificate_fault(error: ssl.SSLCertVerificationError, host: str) -> DialFault:
    """Why a certificate could not be verified. A wrong clock is named."""
    wrong = f"the certificate of {host} could not be verified"
    if error.verify_code in (_NOT_YET, _EXPIRED):
        state = "is not valid yet" if error.verify_code == _NOT_YET else "has expired"
        return DialFault(f"{wrong}: it {state}", "See the clock of this machine, and the certificate's dates")
    if error.verify_code in _OTHER_NAME:
        return DialFault(f"{wrong}: it is for another name", "Correct server")
    return DialFault(
        f"{wrong}: its authority is unknown",
        "Set ca_bundle to a PEM file with the authority: a private one, or that of an inspecting proxy",
    )


def issuer_of(certificate: Mapping[str, Any]) -> str:
    """Who issued a certificate, as `getpeercert` has it: an inspecting proxy shows itself here."""
    names = {key: value for part in certificate.get("issuer", ()) for key, value in part}
    return plain(", ".join(names[key] for key in ("commonName", "organizationName") if key in names))


def _detail_of(body: bytes | None) -> str:
    try:
        found = json.loads(body or b"")["detail"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return plain(found[:MOST_DETAIL]) if isinstance(found, str) else ""


def _host_of(url: str) -> str:
    return urlsplit(url).hostname or ""
