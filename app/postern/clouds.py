"""The national clouds of Microsoft Entra, and the sign-in address of each."""

from collections.abc import Mapping

AUTHORITIES: Mapping[str, str] = {
    "public": "https://login.microsoftonline.com",
    "usgov": "https://login.microsoftonline.us",
    "china": "https://login.partner.microsoftonline.cn",
}
"""Where people sign in and Entra publishes keys, by cloud (Microsoft, "National clouds")."""
