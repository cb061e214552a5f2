"""Who is asking: an `Authorization: Bearer` header becomes a verified Caller, by the signing keys of Entra."""

from app.identity.claimed import Examined, examine
from app.identity.entra import fetch_keys
from app.identity.identify import Identity
from app.identity.issuers import CLOUDS, Tenant, tenant

__all__ = ["CLOUDS", "Examined", "Identity", "Tenant", "examine", "fetch_keys", "tenant"]
