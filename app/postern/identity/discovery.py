"""Entra over the network: discovery, then the key set it names (OpenID Connect Discovery 1.0, RFC 8414)."""

import asyncio
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from postern.http_client import AsyncClient
from postern.identity.documents import json_object
from postern.identity.issuers import Tenant, origin
from postern.loopback import is_loopback

MAX_DOCUMENT_BYTES = 4_000_000
"""Twice what a key set of 1,000 keys with their certificates has."""
FETCH_SECONDS = 5.0
_ISSUER = re.compile(r"https://[0-9A-Za-z.:-]{1,100}(/[0-9A-Za-z._-]{1,40}){0,3}/?")


_LOOPBACK_PAGE = re.compile(r"http://(localhost|127(?:\.[0-9]{1,3}){3})(?::[0-9]{1,5})?/[0-9A-Za-z._~/-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a tenant signs people in, exchanges codes and tokens, and signs people out ("" if it does not say)."""

    authorization: str
    token: str
    end_session: str


class EntraFault(Exception):
    """An unusable response of the authority. The message holds nothing of the response's body but an issuer that has
    the form of one."""


async def fetch_keys(client: AsyncClient, tenant: Tenant, *, seconds: float = FETCH_SECONDS) -> bytes:
    """The JWK Set of a tenant, as received; both requests together take at most `seconds`.

    The metadata must be of this tenant (RFC 8414, section 3.3), and its keys at the authority itself. Raises
    EntraFault, TimeoutError, ValueError or the client's HTTPError.
    """
    async with asyncio.timeout(seconds):
        keys_url = (await _metadata(client, tenant)).get("jwks_uri")
        if not isinstance(keys_url, str) or not _is_below(origin(tenant.authority), keys_url):
            raise EntraFault("the metadata names keys that are not at the authority")
        return await _get(client, keys_url)


async def fetch_endpoints(client: AsyncClient, tenant: Tenant, *, seconds: float = FETCH_SECONDS) -> Endpoints:
    """The addresses of a tenant for signing people in, within `seconds`. Raises what `fetch_keys` does."""
    async with asyncio.timeout(seconds):
        return endpoints(await _metadata(client, tenant), tenant.authority)


async def fetch_shared_endpoints(
    client: AsyncClient, authority: str, issuers: Collection[str], shared: str, *, seconds: float = FETCH_SECONDS
) -> Endpoints:
    """The addresses at which people of several tenants sign in: `shared` is `organizations` or `common`. The issuer in
    that metadata is a template, which must be one of `issuers` literally. Raises what `fetch_keys` does."""
    async with asyncio.timeout(seconds):
        metadata = json_object(await _get(client, f"{authority}/{shared}/v2.0/.well-known/openid-configuration"))
        issuer = metadata.get("issuer")
        if not isinstance(issuer, str) or issuer not in issuers:
            raise EntraFault(f"the metadata of {shared} is of another issuer than {authority}/{{tenantid}}/v2.0")
        return endpoints(metadata, authority)


def endpoints(metadata: Mapping[str, Any], authority: str) -> Endpoints:
    """The addresses in the metadata of this authority, which must all be its own. The pages for people may be over http
    if both they and the authority are on loopback: browsers do not trust the local tenant's certificate. Pure. Raises
    EntraFault."""
    base = origin(authority)
    token = metadata.get("token_endpoint")
    if not isinstance(token, str) or not _is_below(base, token):
        raise EntraFault("the metadata names a token endpoint that is not at the authority")
    pages = []
    for name in ("authorization_endpoint", "end_session_endpoint"):
        page = metadata.get(name)
        if page is None and name == "end_session_endpoint":
            page = ""
        elif not isinstance(page, str) or not (_is_below(base, page) or _are_on_loopback(authority, page)):
            raise EntraFault(f"the metadata names an {name} that is not at the authority")
        elif "#" in page:
            raise EntraFault(f"the metadata names an {name} with a fragment")
        pages.append(page)
    return Endpoints(pages[0], token, pages[1])


async def _metadata(client: AsyncClient, tenant: Tenant) -> dict[str, Any]:
    """The tenant's metadata. Raises EntraFault if it is of another issuer (RFC 8414, section 3.3)."""
    url = f"{tenant.authority}/{tenant.tenant_id}/v2.0/.well-known/openid-configuration"
    metadata = json_object(await _get(client, url))
    issuer = metadata.get("issuer")
    if not isinstance(issuer, str) or issuer not in tenant.issuers_v2:
        raise EntraFault(_other_issuer(tenant, issuer))
    return metadata


def _are_on_loopback(authority: str, page: str) -> bool:
    """Whether both are on this machine, and the page has the plain form that every parser reads alike."""
    found = _LOOPBACK_PAGE.fullmatch(page)
    return found is not None and is_loopback(found[1]) and is_loopback(urlsplit(authority).hostname or "")


def _other_issuer(tenant: Tenant, issuer: object) -> str:
    """Both issuers, and the authority whose metadata has that one: Entra External ID signs people in at the name of a
    tenant, and issues tokens as `https://ID.ciamlogin.com`."""
    expected = f"{tenant.authority}/{tenant.tenant_id}/v2.0"
    if not isinstance(issuer, str) or not _ISSUER.fullmatch(issuer):
        return f"the metadata is of another issuer than {expected}"
    base = issuer.removesuffix(f"/{tenant.tenant_id}/v2.0")
    fix = f"; set POSTERN_AUTHORITY to {base}" if base != issuer and base == origin(base) else ""
    return f"the metadata is of the issuer {issuer}, not of {expected}{fix}"


def _is_below(base: str, url: str) -> bool:
    """Whether the URL is of this origin. Compared as text: with the slash, every parser reads the same host."""
    return url.startswith(f"{base}/") and url.isascii() and url.isprintable() and " " not in url


async def _get(client: AsyncClient, url: str) -> bytes:
    """The body of a 200 response of at most MAX_DOCUMENT_BYTES. Nothing is decompressed and no redirect followed."""
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    async with client.stream("GET", url, headers=headers, follow_redirects=False) as response:
        if response.status_code != 200:
            raise EntraFault(f"the authority answered {response.status_code}")
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise EntraFault("the authority answered with a content encoding")
        body = bytearray()
        async for part in response.aiter_raw():
            body += part
            if len(body) > MAX_DOCUMENT_BYTES:
                raise EntraFault(f"the authority answered with more than {MAX_DOCUMENT_BYTES} bytes")
        return bytes(body)
