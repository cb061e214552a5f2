"""Identifies callers: verifies the token of an `Authorization: Bearer` header by Entra's signing keys. People who sign
in with a browser are verified by their ID token."""

from postern.identity.accounts import Accounts
from postern.identity.claimed import Examined, examine
from postern.identity.discovery import Endpoints, fetch_endpoints, fetch_keys
from postern.identity.id_token import Person, Wanted
from postern.identity.identify import Identity
from postern.identity.issuers import CLOUDS, Tenant, tenant

__all__ = [
    "CLOUDS",
    "Accounts",
    "Endpoints",
    "Examined",
    "Identity",
    "Person",
    "Tenant",
    "Wanted",
    "examine",
    "fetch_endpoints",
    "fetch_keys",
    "tenant",
]
