"""The national clouds of Microsoft Entra, the sign-in address of each, and the names of several tenants."""

from collections.abc import Mapping

AUTHORITIES: Mapping[str, str] = {
    "public": "https://login.microsoftonline.com",
    "usgov": "https://login.microsoftonline.us",
    "china": "https://login.partner.microsoftonline.cn",
}
"""Where people sign in and Entra publishes keys, by cloud (Microsoft, "National clouds")."""

SHARED_TENANTS = ("organizations", "common")
"""The names under which people of several tenants sign in: of any organization, or with personal accounts too."""

CONSUMERS = "9188040d-6c67-4c5b-b112-36a304b66dad"
"""The tenant of all personal accounts (Microsoft, "ID token claims reference")."""
