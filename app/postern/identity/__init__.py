"""Identifies callers: verifies the token of an `Authorization: Bearer` header by Entra's signing keys."""

from postern.identity.claimed import Examined, examine
from postern.identity.discovery import fetch_keys
from postern.identity.identify import Identity
from postern.identity.issuers import CLOUDS, Tenant, tenant

__all__ = ["CLOUDS", "Examined", "Identity", "Tenant", "examine", "fetch_keys", "tenant"]
