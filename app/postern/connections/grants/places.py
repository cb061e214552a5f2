"""Where the tokens of an entry go: its provider, its client and its API.

Tokens are sealed together with it. If the entry is written for another provider, client or API later, tokens that
people gave for the former one are not sent there.
"""

import json
from hashlib import sha256
from urllib.parse import urlsplit

from postern.connections.grants.addresses import origin
from postern.connections.grants.entries import GrantedEntry
from postern.settings import Connection, GrantedAuth


def place_of(entry: GrantedEntry, authority: str) -> str:
    """A digest of where the tokens of an entry go. `authority` is Entra's address. Scopes, secrets, the path of the API
    and the revocation endpoint may change: the tokens stay with those who have them. `per_user` may not: no run has a
    grant that was given for the other kind, so it is not renewed either."""
    address = entry.found.base_url if isinstance(entry.found, Connection) else entry.found.url
    where = [*_provider(entry.auth, authority), entry.auth.client_id, origin(address), entry.per_user]
    return sha256(json.dumps(where).encode()).hexdigest()


def _provider(auth: GrantedAuth, authority: str) -> tuple[str, ...]:
    """Who issues and renews the tokens. Endpoints that a provider publishes are its own business."""
    if auth.is_entra:
        return ("entra", urlsplit(authority).netloc.lower())
    if auth.issuer is not None:
        return ("issuer", auth.issuer)
    token = auth.token_url or auth.preset.token_url
    return ("endpoints", token, auth.refresh_url or token)
