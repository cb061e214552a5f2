"""The addresses of a provider by its issuer: its metadata (OpenID Connect Discovery 1.0, section 4; RFC 8414)."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from postern.connections.auth.token_response import members
from postern.connections.grants.addresses import Addresses
from postern.connections.grants.provider import RefusedByProvider
from postern.connections.grants.sending import send
from postern.connections.grants.token_answers import refused
from postern.http_client import AsyncClient
from postern.settings import GrantedAuth, types

KEPT_FOR = 3600.0
"""Seconds for which metadata is used until it is requested again."""
TRIED_EVERY = 5.0
"""Seconds between two attempts while the provider is unavailable."""
SECONDS = 10.0
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}
_FIX = "An operator compares `issuer` with the provider's page, letter by letter"


class MetadataAddresses:
    """The addresses of one issuer. If the provider is unavailable, those that were found before are used. It belongs to
    one event loop."""

    def __init__(self, auth: GrantedAuth, http: AsyncClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer = auth.issuer or ""
        self._http = http
        self._clock = clock
        self._found: Addresses | None = None
        self._look_at = float("-inf")
        self._last: RefusedByProvider | None = None
        self._looking = asyncio.Lock()

    async def find(self, tenant: str = "") -> Addresses:
        """The addresses. Raises RefusedByProvider."""
        if self._found is not None and (self._clock() < self._look_at or self._looking.locked()):
            return self._found  # also old ones, while somebody looks them up
        async with self._looking:
            if self._clock() >= self._look_at:
                await self._look()
        if self._found is None:
            last = self._last or refused("", "provider-unavailable")
            raise RefusedByProvider(last.wrong, last.fix, last.code, last.reason)
        return self._found

    def check_issuer(self, addresses: Addresses, iss: str | None) -> bool:
        """It must be this issuer. It may be missing, unless the metadata says that it is always there."""
        return iss == self._issuer if iss is not None else not addresses.names_itself

    async def _look(self) -> None:
        try:
            self._found = await self._fetched()
        except RefusedByProvider as error:
            self._last, self._look_at = error, self._clock() + TRIED_EVERY
        else:
            self._last, self._look_at = None, self._clock() + KEPT_FOR

    async def _fetched(self) -> Addresses:
        """The metadata at the first of the addresses that has any."""
        for url in well_known(self._issuer):
            received = await send(self._http, "GET", url, _HEADERS, seconds=SECONDS)
            if received.answer.status == 200:
                return addresses_in(members(received.answer.body), self._issuer)
            if received.answer.status >= 500 or received.answer.status == 429:
                raise refused("", "provider-unavailable", retry_after=received.retry_after)
        raise RefusedByProvider("names an issuer that publishes no metadata", _FIX, "", "provider-rejects")


def well_known(issuer: str) -> tuple[str, ...]:
    """Where the metadata of an issuer may be, in the order of attempts. Both specifications differ if there is a
    path."""
    from authlib.oauth2.rfc8414 import get_well_known_url  # type: ignore[import-untyped]

    base = issuer.rstrip("/")
    return f"{base}/.well-known/openid-configuration", str(get_well_known_url(base, external=True))


def addresses_in(metadata: Mapping[str, Any], issuer: str) -> Addresses:
    """The addresses in the metadata, which must be of exactly this issuer (RFC 8414, section 3.3). Pure. Raises
    RefusedByProvider."""
    if metadata.get("issuer") != issuer:
        raise RefusedByProvider("names an issuer whose metadata is of another one", _FIX, "", "provider-rejects")
    found = {}
    for name in ("authorization_endpoint", "token_endpoint", "revocation_endpoint"):
        address = metadata.get(name)
        if address is None and name == "revocation_endpoint":
            address = ""
        elif not _is_endpoint(address, issuer):
            wrong = f"names an issuer whose metadata has no usable {name}"
            raise RefusedByProvider(wrong, _FIX, "", "provider-rejects")
        found[name] = str(address)
    token = found["token_endpoint"]
    names_itself = metadata.get("authorization_response_iss_parameter_supported") is True
    return Addresses(
        found["authorization_endpoint"], token, token, found["revocation_endpoint"], issuer, names_itself=names_itself
    )


def _is_endpoint(address: object, issuer: str) -> bool:
    """Whether it is an address that secrets may be sent to: https, or http on loopback if the issuer is there too. An
    issuer elsewhere reaches no service of this machine by it."""
    try:
        return isinstance(address, str) and urlsplit(types.trigger_url(address)).scheme in ("https", _scheme(issuer))
    except ValueError:
        return False


def _scheme(issuer: str) -> str:
    return urlsplit(issuer).scheme
