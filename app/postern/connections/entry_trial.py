"""Tests an entry of `postern.toml`, stage by stage: sign in, then reach the other side. `postern connections test` and
the console show the stages.

A connection is tested by a GET of its base address. A trigger gets no request, because any request could run it.
Instead a connection is opened, over TLS with its certificate checked, and closed again. So it is with an entry that
each person connects, unless it is tested for a person of the local tenant: a request with a token of a person is one of
that person. Its tokens are not renewed (`grants/trial.py`). An entry on behalf of the caller is tested with the token
of a caller, if there is one.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from postern.clouds import AUTHORITIES
from postern.connections.auth.sign_in import SignIn
from postern.connections.connections import Connections
from postern.connections.direct_trial import REACHED, WOULD_RUN, connected, not_reached
from postern.connections.faults import ConnectionFault
from postern.connections.gateway_trial import gateway_stages
from postern.connections.grants.entra_addresses import EntraAccounts
from postern.connections.grants.entries import GrantedEntry, granted_entries
from postern.connections.grants.oauth_provider import provider_of
from postern.connections.grants.tokens import Access
from postern.connections.grants.trial import NOBODY, OneToken, Trial, Whose
from postern.connections.on_behalf_of.caller_token import CallerToken
from postern.connections.on_behalf_of.sign_in import OnBehalfOf
from postern.connections.route import route_of
from postern.connections.sealing.vault_keys import GRANTS_KEY, VaultKeys
from postern.connections.stage import Stage
from postern.http_client import AsyncClient, HTTPError
from postern.journal.grants import grant_name
from postern.journal.server_processes import Transaction
from postern.proxy import Proxy
from postern.settings import Connection, GrantedAuth, OnBehalfOfAuth, Settings, Trigger
from postern.tunnels import OpenTunnel

if TYPE_CHECKING:
    from postern.authoring.context import Context


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
    entry: str,
    settings: Settings,
    of: OfPeople | None = None,
    caller: CallerToken | None = None,
    open_tunnel: OpenTunnel | None = None,
) -> AsyncIterator[Stage]:
    """Every stage of the existing entry `connections.NAME` or `triggers.NAME`, up to the first that fails. `of` is for
    entries that people connect, `caller` for those on behalf of a caller, and `open_tunnel` for those by a gateway,
    which only a server has."""
    kind, _, name = entry.partition(".")
    found = settings.connections[name] if kind == "connections" else settings.triggers[name]
    if isinstance(found.auth, GrantedAuth):
        granted = granted_entries(settings)[grant_name(entry)]
        yield Stage("entry", True, f"{entry}, connected by {'each person' if granted.per_user else 'an operator'}")
        if of is None:
            raise ValueError("the grants of an entry that people connect are in the journal")
        async for stage in _granted(granted, settings, of, open_tunnel):
            yield stage
        return
    if isinstance(found.auth, OnBehalfOfAuth):
        yield Stage("entry", True, f"{entry}, on behalf of the caller of a run")
        async for stage in _on_behalf_of(entry, found, found.auth, settings, caller, open_tunnel):
            yield stage
        return
    yield Stage("entry", True, f"{entry}, of type {found.auth.type}")
    try:
        async with _client(entry, found, settings, open_tunnel) as (client, sign_in, way):
            async for stage in stages_with(client, sign_in, entry, found, way):
                yield stage
    except ConnectionFault as fault:
        yield Stage("usable", False, f"{fault.entry} {fault.wrong}", fault.fix)


async def stages_with(
    client: AsyncClient,
    sign_in: SignIn | None,
    entry: str,
    found: Connection | Trigger,
    way: "Way",
) -> AsyncIterator[Stage]:
    """The stages from sign-in onwards, with a client of the entry."""
    if sign_in is not None:
        async for stage in sign_in.try_out():
            yield stage
            if not stage.passed:
                return
    if isinstance(found, Trigger):
        stages = way.without_request(entry, found, WOULD_RUN)
    else:
        stages = way.with_request(entry, found, client)
    async for stage in stages:
        yield stage


@dataclass(frozen=True, slots=True)
class Way:
    """The way to an entry: directly, or by a gateway."""

    ca_bundle: Path | None = None
    proxy: Proxy | None = None
    open_tunnel: OpenTunnel | None = None

    async def with_request(self, entry: str, found: Connection, client: AsyncClient) -> AsyncIterator[Stage]:
        """Reach the base address by a GET, after the way by a gateway has been tested."""
        async for stage in self._by_gateway(entry, found):
            yield stage
            if not stage.passed:
                return
        yield await _requested(client, entry, found)

    async def without_request(self, entry: str, found: Connection | Trigger, why: str) -> AsyncIterator[Stage]:
        """Open a connection, and send no request. `why` says why."""
        key, url = ("url", found.url) if isinstance(found, Trigger) else ("base_url", found.base_url)
        if found.gateway is None:
            bundle = found.ca_bundle or self.ca_bundle
            yield await connected(url, entry, bundle, self.proxy, key=key, why=why)
            return
        async for stage in self._by_gateway(entry, found):
            yield stage
            if not stage.passed:
                return
        yield Stage(REACHED, True, f"{urlsplit(url).hostname}; no request was sent, because {why}")

    async def _by_gateway(self, entry: str, found: Connection | Trigger) -> AsyncIterator[Stage]:
        if found.gateway is not None and self.open_tunnel is not None:
            bundle = found.ca_bundle or self.ca_bundle
            async for stage in gateway_stages(entry, found, self.open_tunnel, bundle):
                yield stage


def _way(connections: Connections, settings: Settings) -> Way:
    return Way(settings.ca_bundle, settings.way_out, connections.tunnels.open)


def _opened(settings: Settings, open_tunnel: OpenTunnel | None) -> Connections:
    connections = Connections(settings, settings.authority or AUTHORITIES[settings.cloud])
    connections.open_tunnel = open_tunnel
    return connections


@asynccontextmanager
async def _client(
    entry: str, found: Connection | Trigger, settings: Settings, open_tunnel: OpenTunnel | None
) -> AsyncIterator[tuple[AsyncClient, SignIn | None, Way]]:
    connections = _opened(settings, open_tunnel)
    try:
        client: AsyncClient
        if isinstance(found, Trigger):
            client = connections.open(
                entry, found.url, found.auth, exact=True, headers=found.headers, route=route_of(found)
            )
        else:
            client = connections.client(entry.partition(".")[2])
        yield client, connections.sign_in(entry), _way(connections, settings)
    finally:
        await connections.aclose()


async def _granted(
    granted: GrantedEntry, settings: Settings, of: OfPeople, open_tunnel: OpenTunnel | None
) -> AsyncIterator[Stage]:
    """The stages of an entry that people connect, after the first."""
    connections = _opened(settings, open_tunnel)
    try:
        keys = VaultKeys(connections.vault, settings.grants_key_name or "", GRANTS_KEY)
        context = connections.context
        if granted.auth.gateway is not None:
            context = replace(context, http=connections.provider_client(granted.entry))
        provider = provider_of(granted.name, granted.auth, context, of.accounts)
        tokens: list[Access] = []
        passed = True
        async for stage in Trial(granted, connections.context, keys, provider, of.read).stages(of.whose, tokens):
            passed = stage.passed
            yield stage
        if passed:
            async for stage in _reached(granted, connections, _way(connections, settings), of.whose, tokens):
                yield stage
    finally:
        await connections.aclose()


async def _reached(
    granted: GrantedEntry, connections: Connections, way: Way, whose: Whose, tokens: list[Access]
) -> AsyncIterator[Stage]:
    """Whether the other side is reached: with a token if that is allowed, else by a connection alone."""
    entry, found = granted.entry, granted.found
    if isinstance(found, Trigger) or not tokens or (granted.per_user and not whose.sends):
        why = WOULD_RUN if isinstance(found, Trigger) else WOULD_BE_THEIRS
        async for stage in way.without_request(entry, found, why):
            yield stage
        return
    domains = granted.auth.preset.domains
    connections.sign_in_of_runs(GrantedAuth, lambda entry, _, __: OneToken(entry, tokens[0], domains))
    client = connections.client(entry.partition(".")[2], cast("Context", _NO_RUN))
    try:
        async for stage in way.with_request(entry, found, client):
            yield stage
    except ConnectionFault as fault:
        yield Stage(REACHED, False, f"{fault.entry} {fault.wrong}", fault.fix)


async def _on_behalf_of(
    entry: str,
    found: Connection | Trigger,
    auth: OnBehalfOfAuth,
    settings: Settings,
    caller: CallerToken | None,
    open_tunnel: OpenTunnel | None,
) -> AsyncIterator[Stage]:
    """The stages of an entry on behalf of a caller, after the first. Without a caller no request is sent."""
    connections = _opened(settings, open_tunnel)
    way = _way(connections, settings)
    shared = OnBehalfOf(entry, auth, connections.context)
    try:
        async for stage in shared.try_out() if caller is None else shared.of_caller(caller).try_out():
            yield stage
            if not stage.passed:
                return
        if isinstance(found, Trigger) or caller is None:
            stages = way.without_request(entry, found, WOULD_RUN if isinstance(found, Trigger) else NO_CALLER)
        else:
            own = shared.of_caller(caller)
            connections.sign_in_of_runs(OnBehalfOfAuth, lambda *_: own)
            client = connections.client(entry.partition(".")[2], cast("Context", _NO_RUN))
            stages = way.with_request(entry, found, client)
        async for stage in stages:
            yield stage
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
        return not_reached(error, entry, "base_url")


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


_NO_RUN = object()
"""In place of a run: the sign-in of a test does not look at it."""
_CREDENTIAL = "what it is for (audience or scopes, key, password) and its identity"
