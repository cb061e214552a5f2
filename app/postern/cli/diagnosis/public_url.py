"""Checks of POSTERN_PUBLIC_URL, as callers use it: its name, its certificate, what a proxy passes on, and whether it
leads to this installation.

To see that, a request with a made-up token is sent there. It is rejected, and the rejection is recorded under the id in
its response: it leads here if that id is in the database of the settings. The record has the client's address, and the
code of the response says whether https was reported.
"""

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

import anyio.to_thread
from sqlalchemy.exc import DBAPIError

from postern.cli.diagnosis.finding import Finding, failed, ok, warning
from postern.cli.open_database import opened
from postern.connections.unreached import of_certificate, remedy
from postern.errors import DatabaseFault
from postern.http_client import HTTPError, Response, http_client, tls
from postern.ids import is_id
from postern.journal.reading.filters import RefusalFilter
from postern.journal.reading.queries import list_refusals
from postern.loopback import is_loopback
from postern.settings import Settings
from postern.triggers.secure_transport import CODE as INSECURE
from postern.triggers.secure_transport import FIX

NOT_SET = (
    "POSTERN_PUBLIC_URL is not set: documents have no address, and the console is off",
    "Set it to the address at which callers reach this server",
)
MADE_UP_TOKEN = "postern-doctor"  # noqa: S105 - no token: it is sent to be rejected
SOON_DAYS = 14
SECONDS = 8.0
LOOKS, BETWEEN = 12, 0.5
"""How often the record of a rejection is looked for, and the seconds between. It is written about a second later."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of the request: the problem code of the response, and the address that the record names (None if
    there is no record here)."""

    code: str
    recorded_address: str | None


async def check_certificate(settings: Settings, url: str | None, now: Callable[[], float] = time.time) -> list[Finding]:
    """Whether the name of `url` resolves, and the certificate is for it, trusted, and valid for some time."""
    if url is None:
        return warning(*NOT_SET)
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https":
        return _without_tls(host)
    if settings.way_out is not None and settings.way_out.carries(host):
        return warning(
            f"the certificate of {host} was not looked at: calls go through POSTERN_PROXY",
            "Name the host in POSTERN_NO_PROXY if it can be reached directly",
        )
    try:
        ends = await _certificate_end(host, parts.port or 443, tls(settings.ca_bundle))
    except socket.gaierror:
        return failed(f"the name {host} does not resolve", "Add it to the DNS, or correct POSTERN_PUBLIC_URL")
    except ssl.SSLError as error:
        fix = of_certificate(error) or "Install a certificate of an authority that callers trust, with its chain"
        return failed(f"the certificate of {host} is not accepted ({error.reason or type(error).__name__})", fix)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return failed(f"{host} cannot be reached ({reason})", "Let the proxy listen there, and firewalls pass it")
    return certificate_finding(host, ends, now())


async def _certificate_end(host: str, port: int, context: ssl.SSLContext) -> float:
    async with asyncio.timeout(SECONDS):
        _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    try:
        found = writer.get_extra_info("ssl_object").getpeercert()
        return float(ssl.cert_time_to_seconds(found["notAfter"]))
    finally:
        writer.transport.abort()


def certificate_finding(host: str, ends: float, now: float) -> list[Finding]:
    """What the end of a certificate means. Pure."""
    days = int((ends - now) // 86400)
    if days < SOON_DAYS:
        return warning(
            f"the certificate of {host} expires in {days} days", "Renew it, and see that this happens by itself"
        )
    return ok(f"the certificate of {host} is trusted, and valid for {days} days")


def _without_tls(host: str) -> list[Finding]:
    if is_loopback(host):
        return ok("no certificate is needed: the address is this machine's own")
    return failed(
        f"POSTERN_PUBLIC_URL of {host} is plain http: access tokens are accepted over https only",
        FIX[0].upper() + FIX[1:],
    )


async def check_public_url(settings: Settings, url: str | None) -> list[Finding]:
    """Send the request to `url`, and see what became of it."""
    if url is None:
        return warning(*NOT_SET)
    async with http_client(settings.ca_bundle, proxy=settings.way_out, timeout=SECONDS) as client:
        try:
            response = await client.get(f"{url}/runs", headers={"Authorization": f"Bearer {MADE_UP_TOKEN}"})
            metrics = await client.get(f"{url}/metrics")
        except HTTPError as error:
            fix = remedy(error) or "Start the server, and let the proxy pass requests on to it"
            return failed(f"{url} cannot be reached ({type(error).__name__})", fix)
        code, request_id = problem_of(response)
        if not request_id:
            return failed(
                f"{url}/runs answers {response.status_code}, and not as Postern does",
                "Let the proxy pass all paths on to Postern, or correct POSTERN_PUBLIC_URL",
            )
        try:
            address = await _recorded_address(settings.database_url, request_id)
        except (DatabaseFault, DBAPIError, OSError):
            return warning(f"{url} is a Postern; its database cannot be read here", "See the check of the database")
    parts = urlsplit(url)
    near = await _is_near(parts.hostname or "")
    return [
        *arrival_findings(url, Seen(code, address), settings.trusted_proxies, near=near),
        *(metrics_finding(metrics.status_code) if parts.scheme == "https" or not near else []),
    ]


async def _is_near(host: str) -> bool:
    """Whether the name leads to loopback: then this machine's requests come from loopback, as those of a proxy do."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None)
    except OSError:
        return False
    return all(is_loopback(str(address[0])) for *_, address in found)


def problem_of(response: Response) -> tuple[str, str]:
    """The code and the request id of a problem of Postern's; two empty texts if it is none. Pure."""
    try:
        document = response.json()
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(document, dict):
        return "", ""
    code, request_id = document.get("code"), document.get("request_id")
    if isinstance(code, str) and isinstance(request_id, str) and is_id(request_id):
        return code, request_id
    return "", ""


def arrival_findings(url: str, seen: Seen, trusted: Iterable[str], *, near: bool) -> list[Finding]:
    """What the response and its record mean. Pure."""
    if seen.recorded_address is None:
        return failed(
            f"{url} leads to another installation, or to one with another database",
            "Correct POSTERN_PUBLIC_URL, DNS or the proxy; give all server processes one POSTERN_DATABASE_URL",
        )
    found = ok(f"{url} leads to this installation")
    if seen.code == INSECURE:
        return [
            *found,
            *failed("requests there do not arrive as https, so tokens are rejected", FIX[0].upper() + FIX[1:]),
        ]
    if not near and _is_proxy(seen.recorded_address, trusted):
        return [
            *found,
            *warning(
                f"requests there arrive from the proxy's address {seen.recorded_address}: callers share one address in "
                "limits, findings and records",
                "Have the proxy send X-Forwarded-For, and name it in POSTERN_TRUSTED_PROXIES",
            ),
        ]
    said = "requests there may carry tokens"
    return [*found, *ok(f"{said}; this machine's address arrives as {seen.recorded_address or 'none'}")]


def metrics_finding(status: int) -> list[Finding]:
    """Whether others can read the metrics. Pure."""
    if status != 200:
        return []
    return failed(
        "/metrics can be read there, with the names of workflows and tenants",
        "Have the proxy send X-Forwarded-For, by which Postern knows it, or reject the path",
    )


def _is_proxy(address: str, trusted: Iterable[str]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return found.is_loopback or any(found in ipaddress.ip_network(each, strict=False) for each in trusted)


async def _recorded_address(url: str, request_id: str) -> str | None:
    """The client's address in the record of this request, None if there is none after some seconds."""
    for left in reversed(range(LOOKS)):
        try:
            found = await anyio.to_thread.run_sync(_look, url, request_id, abandon_on_cancel=True)
        except DBAPIError:  # a server that has just started may not have made its tables yet
            if not left:
                raise
            found = None
        if found is not None:
            return found
        await asyncio.sleep(BETWEEN)
    return None


def _look(url: str, request_id: str) -> str | None:
    with opened(url) as engine, engine.begin() as connection:
        page = list_refusals(connection, RefusalFilter(request_id=request_id), None, 1)
        return page.items[0].client_address if page.items else None
