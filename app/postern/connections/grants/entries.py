"""The entries of `postern.toml` that people connect. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from postern.journal.grants import SHARED, grant_name
from postern.settings import Connection, GrantedAuth, Settings, Trigger
from postern.settings.descriptions import entries

_WORDS: Mapping[str, str] = {
    "entra": "Microsoft Entra",
    "github": "GitHub",
    "google": "Google",
    "salesforce": "Salesforce",
    "facebook": "Facebook",
}


@dataclass(frozen=True, slots=True)
class GrantedEntry:
    """An entry that a person connects. `name` is the one of its grants and of its URLs."""

    name: str
    entry: str
    found: Connection | Trigger
    auth: GrantedAuth

    @property
    def per_user(self) -> bool:
        """Whether each person has a grant of their own."""
        return self.auth.per_user

    @property
    def provider(self) -> str:
        """The provider in words: its name, or the host where people sign in."""
        auth = self.auth
        known = _WORDS.get(auth.identity_provider or "")
        address = auth.issuer or auth.authorization_url or auth.token_url or ""
        return known or urlsplit(address).hostname or auth.identity_provider or "its provider"

    def owner(self, person: str) -> str:
        """The owner of the grant that this person connects, "tenant/object"."""
        return person if self.per_user else SHARED


def granted_entries(settings: Settings) -> dict[str, GrantedEntry]:
    """The entries that people connect, by the names of their grants."""
    return {
        grant_name(entry): GrantedEntry(grant_name(entry), entry, found, found.auth)
        for entry, found in entries(settings).items()
        if isinstance(found.auth, GrantedAuth)
    }
