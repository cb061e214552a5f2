"""The national clouds of Microsoft Entra, and where each of them signs in."""

from collections.abc import Mapping

AUTHORITIES: Mapping[str, str] = {
    "public": "https://login.microsoftonline.com",
    "usgov": "https://login.microsoftonline.us",
    "china": "https://login.partner.microsoftonline.cn",
}
"""Where Entra signs in and publishes keys, by cloud (Microsoft, "National clouds")."""
