"""Whose account was connected, as each provider tells it: by an ID token, in the response, or at an address."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from postern.access import Refused
from postern.connections.auth.token_response import OTHER, members
from postern.connections.grants.entra_addresses import EntraAccounts
from postern.connections.grants.id_tokens import Account, account_in, shown_name
from postern.connections.grants.sending import send
from postern.connections.grants.token_answers import TokenAnswer, refused
from postern.errors import Problem
from postern.http_client import AsyncClient
from postern.settings import GrantedAuth

LEEWAY = 60.0
"""Seconds by which the clocks of the provider and of this machine may differ."""

MOST_OF_HOST = 253
"""Characters of a host name (RFC 1035, section 2.3.4)."""
LONGEST_ADDRESS = 2048
"""The longest that a row can have (`journal.grants`)."""

_SALESFORCE_ID = re.compile(r"/id/([0-9A-Za-z]{15,18})/([0-9A-Za-z]{15,18})")
_OF_CHECK: Mapping[str, str] = {"admitted-tenant": "tenant-not-allowed", "personal-account": "personal-account"}
"""The reasons by the check of `identity.accounts` that failed."""


@dataclass(frozen=True, slots=True)
class AccountOf:
    """Finds whose account an entry was connected with. `tenant` is where people sign in, and `entra` verifies ID
    tokens; both are for Entra."""

    auth: GrantedAuth
    http: AsyncClient
    tenant: str = ""
    entra: EntraAccounts | None = None
    now: Callable[[], float] = time.time

    async def find(self, answer: TokenAnswer, issuer: str, nonce: str) -> Account:
        """The account of a response to a code; one without an id if the provider does not say. Raises
        RefusedByProvider."""
        kind = self.auth.preset.account
        if self.auth.is_entra:
            return await self._of_entra(answer.id_token, nonce)
        if kind == "id_token" or (self.auth.issuer and "openid" in self.auth.requested):
            found = account_in(answer.id_token, issuer, self.auth.client_id, nonce, self.now(), LEEWAY)
            if found is None:
                raise refused(OTHER, "id-token" if answer.id_token else "no-account")
            return found
        if kind == "salesforce":
            return self._required(salesforce_account(answer.id, self.auth.preset.domains))
        if kind in ("github", "facebook"):
            return self._required(named_account(await self._profile(answer.access_token)))
        return Account("", "")

    async def _of_entra(self, id_token: str, nonce: str) -> Account:
        if not id_token or self.entra is None:
            raise refused(OTHER, "no-account")
        client_id, tenants = self.auth.client_id, self.auth.tenants
        try:
            person = await self.entra.verify(
                id_token, tenant=self.tenant, tenants=tenants, client_id=client_id, nonce=nonce
            )
        except Refused as error:
            rejected = refused(OTHER, _OF_CHECK.get(error.failed.name, "id-token"))
        except Problem:  # its signing keys cannot be fetched
            rejected = refused("", "provider-unavailable")
        else:
            return Account(person.object_id, person.name, person.tenant_id)
        raise rejected

    async def _profile(self, access_token: str) -> Mapping[str, Any]:
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Authorization": f"Bearer {access_token}",
        }
        received = await send(self.http, "GET", self.auth.preset.account_url, headers)
        return members(received.answer.body) if received.answer.status == 200 else {}

    @staticmethod
    def _required(account: Account | None) -> Account:
        if account is None:
            raise refused(OTHER, "no-account")
        return account


def named_account(profile: Mapping[str, Any]) -> Account | None:
    """The account of a profile of GitHub (`id` is a number, `login` the name) or Facebook (`id` is text). Pure."""
    number = profile.get("id")
    if isinstance(number, bool) or not isinstance(number, int | str) or not re.fullmatch(r"[0-9]{1,40}", str(number)):
        return None
    return Account(str(number), shown_name(profile.get("login") or profile.get("name")))


def salesforce_account(address: str, domains: tuple[str, ...]) -> Account | None:
    """The account of Salesforce's `id`, an address that ends with the ids of organization and user. Pure."""
    found = _SALESFORCE_ID.fullmatch(_path_below(address, domains) or "")
    return Account(f"{found[1]}/{found[2]}", f"{found[1]}/{found[2]}") if found else None


def instance_url(written: str, domains: tuple[str, ...]) -> str | None:
    """The base URL that a response names, as an origin; None if it is not https below one of the domains. Pure."""
    if _path_below(written, domains) not in ("", "/"):
        return None
    return f"https://{urlsplit(written).hostname}"


def _path_below(address: str, domains: tuple[str, ...]) -> str | None:
    """The path of an https address at a host below one of the domains, without anything else in it; None for others.
    The characters are limited, so that every parser reads the same host."""
    if len(address) > LONGEST_ADDRESS:
        return None
    found = re.fullmatch(r"https://([0-9a-z-]+(?:\.[0-9a-z-]+)+)(/[0-9A-Za-z/]*)?", address, re.IGNORECASE)
    if found is None or len(found[1]) > MOST_OF_HOST:
        return None
    return found[2] or "" if any(found[1].lower().endswith(f".{domain}") for domain in domains) else None
