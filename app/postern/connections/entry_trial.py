"""Tests an entry of `postern.toml`, stage by stage: sign in, then reach the other side. `postern connections test` and
the console show the stages.

A connection is tested by a GET of its base address. A trigger gets no request, because any request could run it.
Instead a connection is opened, over TLS with its certificate checked, and closed again. So it is with an entry that
each person connects, unless it is tested for a person of the local tenant: a request with a token of a person is one of
that person. Its tokens are not renewed (`grants/trial.py`). An entry on behalf of the caller is tested with the token
of a caller, if there is one.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from postern.clouds import AUTHORITIES
from postern.connections.auth.sign_in import SignIn
from postern.connections.connections import Connections
from postern.connections.faults import ConnectionFault
from postern.connections.grants.entra_addresses import EntraAccounts
from postern.connections.grants.entries import GrantedEntry, granted_entries
from postern.connections.grants.oauth_provider import provider_of
from postern.connections.grants.tokens import Access
from postern.connections.grants.trial import NOBODY, OneToken, Trial, Whose
from postern.connections.on_behalf_of.caller_token import CallerToken
from postern.connections.on_behalf_of.sign_in import OnBehalfOf
from postern.connections.sealing.vault_keys import GRANTS_KEY, VaultKeys
from postern.connections.stage import Stage
from postern.connections.unreached import PROXY_SIGNS_IN, by_proxy, is_untrusted, of_certificate
from postern.http_client import AsyncClient, HTTPError
from postern.journal.grants import grant_name
from postern.journal.server_processes import Transaction
from postern.proxy import Proxy
from postern.settings import Connection, GrantedAuth, OnBehalfOfAuth, Settings, Trigger

if TYPE_CHECKING:
    from postern.authoring.context import Context

REACHED = "reached"
CONNECT_SECONDS = 10.0
_HTTPS_PORT, _HTTP_PORT = 443, 80


WOULD_RUN = "it would run the trigger"
WOULD_BE_THEIRS = "it would be sent as a person"
NO_CALLER = "it would be sent on behalf of a caller"


@dataclass(frozen=True, slots=True)
class OfPeople:
    """What the test of an entry that people connect needs beside the settings: reads of the journal, Entra's accounts,
    and whose grant it is."""

    read: Transaction
    accounts: EntraAccounts
    whose: Whose = NOBODY


async def stages_of(
    entry: str, settings: Settings, of: OfPeople | None = None, caller: CallerToken | None = None
) -> AsyncIterator[Stage]:
    """Every stage of the existing entry `connections.NAME` or `triggers.NAME`, up to the first that fails. `of` is for
    entries that people connect, and `caller` for those on behalf of a caller."""
    kind, _, name = entry.partition(".")
    found = settings.connections[name] if kind == "connections" else settings.triggers[name]
    if isinstance(found.auth, GrantedAuth):
        granted = granted_entries(settings)[grant_name(entry)]
        yield Stage("entry", True, f"{entry}, connected by {'each person' if granted.per_user else 'an operator'}")
        if of is None:
            raise ValueError("the grants of an entry that people connect are in the journal")
        async for stage in _granted(granted, settings, of):
            yield stage
        return
    if isinstance(found.auth, OnBehalfOfAuth):
        yield Stage("entry", True, f"{entry}, on behalf of the caller of a run")
        async for stage in _on_behalf_of(entry, found, found.auth, settings, caller):
            yield stage
        return
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
        client: AsyncClient
        if isinstance(found, Trigger):
            client = connections.open(entry, found.url, found.auth, exact=True, headers=found.headers)
        else:
            client = connections.client(entry.partition(".")[2])
        yield client, connections.sign_in(entry)
    finally:
        await connections.aclose()


async def _granted(granted: GrantedEntry, settings: Settings, of: OfPeople) -> AsyncIterator[Stage]:
    """The stages of an entry that people connect, after the first."""
    connections = Connections(settings, settings.authority or AUTHORITIES[settings.cloud])
    try:
        keys = VaultKeys(connections.vault, settings.grants_key_name or "", GRANTS_KEY)
        provider = provider_of(granted.name, granted.auth, connections.context, of.accounts)
        tokens: list[Access] = []
        passed = True
        async for stage in Trial(granted, connections.context, keys, provider, of.read).stages(of.whose, tokens):
            passed = stage.passed
            yield stage
        if passed:
            yield await _reached(granted, connections, settings, of.whose, tokens)
    finally:
        await connections.aclose()


async def _reached(
    granted: GrantedEntry, connections: Connections, settings: Settings, whose: Whose, tokens: list[Access]
) -> Stage:
    """Whether the other side is reached: with a token if that is allowed, else by a connection alone."""
    entry, found = granted.entry, granted.found
    if isinstance(found, Trigger):
        return await connected(found.url, entry, settings.ca_bundle, settings.way_out)
    if not tokens or (granted.per_user and not whose.sends):
        proxy, why = settings.way_out, WOULD_BE_THEIRS
        return await connected(found.base_url, entry, settings.ca_bundle, proxy, key="base_url", why=why)
    domains = granted.auth.preset.domains
    connections.sign_in_of_runs(GrantedAuth, lambda entry, _, __: OneToken(entry, tokens[0], domains))
    client = connections.client(entry.partition(".")[2], cast("Context", _NO_RUN))
    try:
        return await _requested(client, entry, found)
    except ConnectionFault as fault:
        return Stage(REACHED, False, f"{fault.entry} {fault.wrong}", fault.fix)


async def _on_behalf_of(
    entry: str, found: Connection | Trigger, auth: OnBehalfOfAuth, settings: Settings, caller: CallerToken | None
) -> AsyncIterator[Stage]:
    """The stages of an entry on behalf of a caller, after the first. Without a caller no request is sent."""
    connections = Connections(settings, settings.authority or AUTHORITIES[settings.cloud])
    shared = OnBehalfOf(entry, auth, connections.context)
    try:
        async for stage in shared.try_out() if caller is None else shared.of_caller(caller).try_out():
            yield stage
            if not stage.passed:
                return
        bundle, proxy = settings.ca_bundle, settings.way_out
        if isinstance(found, Trigger):
            yield await connected(found.url, entry, bundle, proxy)
        elif caller is None:
            yield await connected(found.base_url, entry, bundle, proxy, key="base_url", why=NO_CALLER)
        else:
            own = shared.of_caller(caller)
            connections.sign_in_of_runs(OnBehalfOfAuth, lambda *_: own)
            yield await _requested(connections.client(entry.partition(".")[2], cast("Context", _NO_RUN)), entry, found)
    except ConnectionFault as fault:
        yield Stage("usable", False, f"{fault.entry} {fault.wrong}", fault.fix)
    finally:
        await shared.aclose()
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
    if status == 401 and isinstance(found.auth, GrantedAuth):
        fix = "Let its owner connect it again, and compare its scopes with what the other side requires"
        return Stage(REACHED, False, f"{detail}: the token was rejected", fix)
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
        return _not_reached(error, entry, key)
    version = writer.get_extra_info("ssl_object").version() if secure else "no TLS"
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()
    return Stage(REACHED, True, f"{parts.hostname}:{port} by {version}; no request was sent, because {why}")


_NO_RUN = object()
"""In place of a run: the sign-in of a test does not look at it."""
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
