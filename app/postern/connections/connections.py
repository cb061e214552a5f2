"""Named connections: HTTP clients with an outside system's address and authentication."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from postern.connections.allowed_urls import AllowedUrls
from postern.connections.auth.auth_types import sign_in
from postern.connections.auth.sign_in_context import SignInContext
from postern.connections.auth.together import Together
from postern.connections.entry_client import EntryClient
from postern.connections.entry_transport import Caps, EntryTransport
from postern.connections.faults import ConnectionFault
from postern.connections.places import TOKEN, Places, most_here
from postern.connections.retry_transport import Retries
from postern.connections.route import DIRECT, Route, route_of, token_route_of
from postern.connections.vault.vault import vault_of
from postern.home_loop import HomeLoop
from postern.http_client import URL, AsyncBaseTransport, AsyncClient, pool
from postern.settings import GrantedAuth, NoAuth, OnBehalfOfAuth
from postern.settings.descriptions import entries
from postern.settings.types import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from postern.authoring.context import Context
    from postern.connections.auth.sign_in import SignIn
    from postern.connections.noted_requests import NotedRequests
    from postern.connections.tunnels import Tunnels
    from postern.connections.vault.secret import Secrets
    from postern.settings import Auth, SecretReference, Settings
    from postern.tunnels import OpenTunnel

MOST_KEPT = 100
"""Idle connections of all entries together."""

OF_RUNS = (GrantedAuth, OnBehalfOfAuth)
"""The types of `auth` that are signed for a run: its sign-in is made anew for each client."""

NONE = Table()
"""No further headers."""

TOKEN_CAPS = Caps(seconds=30.0, response_bytes=1024 * 1024)


class SignInOfRun(Protocol):
    """Makes the sign-in of one run for an entry with such an `auth`. Raises ConnectionFault if the run has none."""

    def __call__(self, entry: str, auth: Any, ctx: "Context", /) -> "SignIn": ...


@dataclass(frozen=True, slots=True)
class _Opened:
    """The values that an entry was opened with."""

    url: str = field(repr=False)
    auth: "Auth"
    exact: bool
    caps: Caps
    headers: "Mapping[str, SecretReference]"
    results_at: tuple[str, ...]
    route: Route


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the clients of an entry share."""

    opened: _Opened
    transport: EntryTransport
    sign_in: "SignIn | None"


class Connections:
    """The vault and the connections of the settings. They sign in at Entra's `authority` and share one connection pool,
    made on first use. Azure is imported on first use too. An object belongs to one event loop, which `home` names for
    those that call it from another one.

    `secrets` replaces the vault of the settings. `retries` is the policy for repeated calls. `in_progress` says
    of a run whether it has not ended; the runner sets it. The server sets `open_tunnel`, which opens tunnels by
    gateways, and `requests`, which notes what runs send in them.
    """

    def __init__(
        self,
        settings: "Settings",
        authority: str,
        *,
        secrets: "Secrets | None" = None,
        retries: Retries | None = None,
        home: HomeLoop | None = None,
    ) -> None:
        self._settings = settings
        self._authority = authority
        self._retries = retries or Retries()
        self.home = home or HomeLoop()
        self.in_progress: Callable[[str], bool] = lambda _: True
        self.open_tunnel: OpenTunnel | None = None
        self.requests: NotedRequests | None = None
        self.vault = vault_of(settings, authority)
        self._secrets = secrets or self.vault
        self._closing = AsyncExitStack()
        self._closing.push_async_callback(self.vault.aclose)
        self._places = Places(most_here())
        self._entries: dict[str, _Entry] = {}
        self._of_runs: dict[type, SignInOfRun] = {}
        self._ways: dict[tuple[str, Auth, Mapping[str, SecretReference], Route], SignIn] = {}
        self._pools: dict[Route, AsyncBaseTransport] = {}

    async def secret(self, name: str) -> str:
        """The value of a secret of the Key Vault. Raises ConnectionFault."""
        return (await self.home.run(self._secrets.read(name))).value

    def of_run(self, ctx: "Context", name: str) -> AsyncClient:
        """A new client of `[connections.NAME]` for a run. Raises ConnectionFault."""
        return self.client(name, ctx)

    def client(self, name: str, ctx: "Context | None" = None) -> AsyncClient:
        """A new client of `[connections.NAME]`, for a run if there is one. Raises ConnectionFault."""
        found = self._settings.connections.get(name)
        if found is None:
            raise _unknown(name, list(self._settings.connections))
        opened = self.open(
            f"connections.{name}",
            found.base_url,
            found.auth,
            seconds=found.timeout,
            response_bytes=found.max_response_bytes,
            headers=found.headers,
            ctx=ctx,
            route=route_of(found),
        )
        if self.requests is not None and found.gateway is not None and ctx is not None and ctx.recorded:
            opened.noting = self.requests.of(ctx, f"connections.{name}", found.gateway)
        return opened

    def sign_in_of_runs(self, auth: type, sign_in: "SignInOfRun") -> None:
        """Entries with this `auth` are signed for each run. They are not ready before."""
        self._of_runs[auth] = sign_in

    def open(
        self,
        entry: str,
        url: str,
        auth: "Auth",
        *,
        exact: bool = False,
        seconds: float = Caps.seconds,
        response_bytes: int = Caps.response_bytes,
        signer: str = "",
        headers: "Mapping[str, SecretReference]" = NONE,
        results_at: tuple[str, ...] = (),
        ctx: "Context | None" = None,
        route: Route = DIRECT,
    ) -> EntryClient:
        """A new client of an entry. What its clients share is opened again only if one of these arguments changes. It
        may use addresses at or below `url`. With `exact` it may use only `url` itself, and poll for results at its
        origin (POLL in `allowed_urls.py`). `seconds` limits a call, and `response_bytes` a reply. Entries of one
        `signer` share a credential; errors of signing in name the signer. `headers` are sent beside the `auth`, and
        results may also be at the origins of `results_at`. `ctx` is the run that the client is for: a sign-in for it is
        made anew and kept nowhere else. `route` is the way there. Raises ConnectionFault."""
        opened = _Opened(url, auth, exact, Caps(seconds, response_bytes), headers, results_at, route)
        known = self._entries.get(entry)
        if known is None or known.opened != opened:
            known = self._entries[entry] = self._open(entry, opened, signer or entry)
        way = known.sign_in
        if isinstance(auth, OF_RUNS):
            own = self._signed_for(signer or entry, auth, ctx)
            way = own if way is None else Together([own, way])
        return EntryClient(known.transport, way, self.home)

    def _signed_for(self, signer: str, auth: "Auth", ctx: "Context | None") -> "SignIn":
        made = self._of_runs.get(type(auth))
        if ctx is None or made is None:
            raise ConnectionFault(signer, "is used by runs only", "Use it in a workflow")
        return made(signer, auth, ctx)

    def sign_in(self, entry: str) -> "SignIn | None":
        """How the requests of an opened entry are signed, beside a sign-in of a run. None if they are not."""
        return self._entries[entry].sign_in

    def divide_by(self, caller_of: Callable[[str], str]) -> None:
        """Divide the connections of each entry among callers. `caller_of` returns the caller of a run, by its id."""
        self._places.caller_of = caller_of

    @cached_property
    def context(self) -> SignInContext:
        """What all authentication types share."""
        settings = self._settings
        return SignInContext(
            secrets=self._secrets,
            http=self._token_client("a token endpoint"),
            authority=self._authority,
            tenant_id=settings.tenant_id,
            client_id=settings.client_id,
            ca_bundle=settings.ca_bundle,
            azure_credential=settings.azure_credential,
            proxy=settings.way_out,
            retries=self._retries,
        )

    def provider_client(self, entry: str) -> AsyncClient:
        """A client for the provider at which people connect an entry. It has places of its own: a provider that does
        not respond takes none from the token requests of other entries."""
        found = entries(self._settings).get(entry)
        route = DIRECT if found is None else token_route_of(found.auth, route_of(found))
        return self._token_client(f"the provider of {entry}", route)

    def _token_client(self, name: str, route: Route = DIRECT) -> AsyncClient:
        pool = self._pool_of(route)
        return EntryClient(EntryTransport(name, None, pool, TOKEN_CAPS, self._retries, self._places, TOKEN))

    def _open(self, entry: str, opened: _Opened, signer: str) -> _Entry:
        by_gateway = opened.route.gateway is not None
        place = AllowedUrls(entry, URL(opened.url), opened.exact, opened.results_at, by_gateway)
        tokens = token_route_of(opened.auth, opened.route)
        key = (signer, opened.auth, opened.headers, tokens)
        way = self._ways.get(key)
        if way is None:
            auth = NoAuth() if isinstance(opened.auth, OF_RUNS) else opened.auth
            context = self.context
            if tokens != DIRECT:
                context = replace(context, http=self._token_client(f"the token endpoint of {signer}", tokens))
            way = sign_in(signer, auth, context, opened.headers)
            if way is not None:
                self._ways[key] = way
                self._closing.push_async_callback(way.aclose)
        transport = EntryTransport(entry, place, self._pool_of(opened.route), opened.caps, self._retries, self._places)
        return _Entry(opened, transport, way)

    async def aclose(self) -> None:
        """Close every connection, even if closing another one fails."""
        await self._closing.aclose()

    @cached_property
    def _pool(self) -> AsyncBaseTransport:
        settings = self._settings
        made = pool(settings.ca_bundle, most=self._places.most, kept=MOST_KEPT, proxy=settings.way_out)
        self._closing.push_async_callback(made.aclose)
        return made

    @cached_property
    def tunnels(self) -> "Tunnels":
        """The tunnels of all entries by gateways."""
        from postern.connections.tunnels import Tunnels

        made = Tunnels(lambda: self.open_tunnel, self._settings.ca_bundle, self._places.most, MOST_KEPT)
        self._closing.push_async_callback(made.aclose)
        return made

    def _pool_of(self, route: Route) -> AsyncBaseTransport:
        if route.gateway is not None:
            return self.tunnels.of(route)
        if route == DIRECT:
            return self._pool
        made = self._pools.get(route)
        if made is None:
            most, proxy = self._places.most, self._settings.way_out
            made = self._pools[route] = pool(route.ca_bundle, most=most, kept=MOST_KEPT, proxy=proxy)
            self._closing.push_async_callback(made.aclose)
        return made


def _unknown(name: str, known: list[str]) -> ConnectionFault:
    near = get_close_matches(name, known, n=1)
    there = ", ".join(sorted(known)) or "none"
    fix = f"Did you mean {near[0]}? " if near else ""
    restart = "The file is read at the start: restart the server after a change"
    return ConnectionFault(f"connections.{name}", "is not in postern.toml", f"{fix}Connections: {there}. {restart}")
