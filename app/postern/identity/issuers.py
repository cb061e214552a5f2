"""The accepted issuers: Entra's clouds as data, and a tenant with the issuers of its tokens.

Source: Microsoft, "Access tokens in the Microsoft identity platform" and "National clouds".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from postern.access import GUID
from postern.clouds import AUTHORITIES
from postern.loopback import is_loopback


class Cloud(NamedTuple):
    """One cloud of Entra. `authority` signs people in and publishes keys; the issuer of v1 tokens begins with `sts`."""

    authority: str
    sts: str


CLOUDS: Mapping[str, Cloud] = {
    "public": Cloud(AUTHORITIES["public"], "https://sts.windows.net"),
    "usgov": Cloud(AUTHORITIES["usgov"], "https://sts.windows.net"),
    "china": Cloud(AUTHORITIES["china"], "https://sts.chinacloudapi.cn"),
}


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant whose tokens are accepted. Issuers are compared as exact text; v1 ones end with a slash, v2 ones with
    `/v2.0`. Make it with `tenant()`."""

    tenant_id: str
    authority: str
    issuers_v1: frozenset[str]
    issuers_v2: frozenset[str]

    @property
    def issuers(self) -> frozenset[str]:
        """The issuers of both token versions."""
        return self.issuers_v1 | self.issuers_v2


TEMPLATE = "{tenantid}"
"""What the issuer has in place of a tenant's id, in the metadata and the keys for several tenants."""

NO_TENANT = Tenant("", "", frozenset(), frozenset())
"""Used when a token names an unknown tenant: it has no issuer."""


def tenant(tenant_id: str, cloud: str = "public", authority: str | None = None) -> Tenant:
    """The tenant of this id in this cloud. An `authority` (a mirror, or the local tenant) publishes the keys in the
    cloud's place. Tokens whose issuer is that authority are accepted as well as the cloud's own.

    Raises ValueError for an id that is not a GUID, an unknown cloud, or an authority that is neither https nor http on
    loopback.
    """
    tenant_id = tenant_id.lower()
    if not GUID.fullmatch(tenant_id):
        raise ValueError("a tenant id is a GUID, like 00000000-0000-0000-0000-000000000000")
    at, bases_v1, bases_v2 = _bases(cloud, authority)
    return Tenant(
        tenant_id,
        at,
        issuers_v1=frozenset(f"{base}/{tenant_id}/" for base in bases_v1),
        issuers_v2=frozenset(f"{base}/{tenant_id}/v2.0" for base in bases_v2),
    )


def any_tenant(cloud: str = "public", authority: str | None = None) -> Tenant:
    """The tenant of any id, as the metadata of `organizations` and `common` writes it: a template, not a tenant whose
    tokens are accepted. Raises ValueError as `tenant` does."""
    at, bases_v1, bases_v2 = _bases(cloud, authority)
    return Tenant(
        TEMPLATE,
        at,
        issuers_v1=frozenset(f"{base}/{TEMPLATE}/" for base in bases_v1),
        issuers_v2=frozenset(f"{base}/{TEMPLATE}/v2.0" for base in bases_v2),
    )


def _bases(cloud: str, authority: str | None) -> tuple[str, set[str], set[str]]:
    """The authority, and what the issuers of both versions begin with."""
    if cloud not in CLOUDS:
        raise ValueError(f"unknown cloud {cloud!r}: choose one of {', '.join(CLOUDS)}")
    known = CLOUDS[cloud]
    if authority is None:
        return known.authority, {known.sts}, {known.authority}
    authority = _checked(authority)
    return authority, {known.sts, authority}, {known.authority, authority}


def origin(url: str) -> str:
    """`scheme://host[:port]` of an authority."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _checked(authority: str) -> str:
    authority = authority.removesuffix("/")
    parts = urlsplit(authority)
    safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
    plain = authority.isascii() and authority.isprintable() and not set(" \\@?#") & set(authority)
    if not safe or not plain or not parts.hostname:
        raise ValueError("an authority is an https URL without user, query or fragment (http on loopback only)")
    return authority
