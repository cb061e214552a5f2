"""Whether the settings have what the console needs. Pure."""

from urllib.parse import urlsplit

from postern.loopback import is_loopback
from postern.settings.settings import Settings

FEDERATED = ("managed_identity", "workload_identity")
"""The Azure credentials that have a federated identity, by which the application can authenticate without a secret."""

NOT_IN_REDIRECT_URIS = frozenset("!$'(),;")
"""Source: learn.microsoft.com/entra/identity-platform/reply-url. In the policy of a page, two of them would end the
address of the assets."""


def missing_for_console(settings: Settings, address: str = "") -> tuple[str, ...]:
    """What the console lacks, each as a text for the operator; nothing if it is on. `address` is where browsers reach
    it, if that is not the public URL."""
    if settings.console == "off":
        return ("POSTERN_CONSOLE is off",)
    given = {
        "POSTERN_PUBLIC_URL": address or settings.public_url,
        "POSTERN_TENANT_ID": settings.tenant_id,
        "POSTERN_CLIENT_ID": settings.client_id,
    }
    found = [f"{name} is not set" for name, value in given.items() if not value]
    if not settings.client_secret_name and settings.azure_credential not in FEDERATED:
        found.append(
            "neither POSTERN_CLIENT_SECRET_NAME is set nor POSTERN_AZURE_CREDENTIAL to "
            "managed_identity or workload_identity"
        )
    if settings.client_secret_name and not settings.key_vault_url:
        found.append("POSTERN_KEY_VAULT_URL is not set, where POSTERN_CLIENT_SECRET_NAME is read")
    url = given["POSTERN_PUBLIC_URL"] or ""
    if unusable := sorted(set(url) & NOT_IN_REDIRECT_URIS):
        found.append(f"POSTERN_PUBLIC_URL has {' '.join(unusable)}, which Entra takes in no redirect URI")
    parts = urlsplit(url)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        found.append("POSTERN_PUBLIC_URL is not https, and cookies of a session are sent over https only")
    return tuple(found)
