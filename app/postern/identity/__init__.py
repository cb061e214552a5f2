"""Who is asking: an `Authorization: Bearer` header becomes a verified Caller, by the signing keys of Entra."""

from postern.identity.claimed import Examined, examine
from postern.identity.discovery import fetch_keys
from postern.identity.identify import Identity
from postern.identity.issuers import CLOUDS, Tenant, tenant

__all__ = ["CLOUDS", "Examined", "Identity", "Tenant", "examine", "fetch_keys", "tenant"]
