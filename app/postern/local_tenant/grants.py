"""What people granted to applications: authorization codes and refresh tokens, and what of them is remembered.

Both are sealed by a key of the state folder, so that they outlive a restart and say nothing to those who hold them.
"""

import json
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from postern.local_tenant.state import TenantFault, create_file

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

CODE_SECONDS = 600.0
REFRESH_SECONDS = 90 * 86400.0
KEY_FILE = "sign-in-key"

Kind = Literal["code", "refresh"]


@dataclass(frozen=True, slots=True)
class Grant:
    """A person's grant to an application. `scope` is the text of the request; times are in seconds since 1970. A code
    has the redirect URI, the PKCE challenge and the nonce of its request, and the tenant in its address. `contexts` are
    the authentication contexts that the sign-in met, `capabilities` those that the client named then; both are texts
    with spaces."""

    kind: Kind
    person: str
    client_id: str
    scope: str
    at: float
    redirect_uri: str = ""
    challenge: str = ""
    nonce: str = ""
    tenant: str = ""
    contexts: str = ""
    capabilities: str = ""
    id: str = field(default_factory=lambda: secrets.token_hex(16))

    def has_expired(self, now: float) -> bool:
        """Whether it is too old."""
        return now - self.at >= (CODE_SECONDS if self.kind == "code" else REFRESH_SECONDS)


@dataclass(slots=True)
class SignIns:
    """What a served tenant remembers: which codes were used, whose refresh tokens were revoked and when, and redirect
    URIs of Postern's registration besides those of the directory."""

    used: dict[str, float] = field(default_factory=dict)
    revoked: dict[str, float] = field(default_factory=dict)
    redirect_uris: set[str] = field(default_factory=set)

    def use(self, code: Grant, now: float) -> bool:
        """Use a code; False if it was used before."""
        self.used = {id_: at for id_, at in self.used.items() if now - at < CODE_SECONDS}
        first = code.id not in self.used
        self.used[code.id] = code.at
        return first

    def revoke(self, object_id: str, now: float) -> None:
        """Revoke all refresh tokens of a person, as an administrator can."""
        self.revoked[object_id] = now

    def is_revoked(self, grant: Grant) -> bool:
        """Whether the person's refresh tokens were revoked after this one was issued."""
        return grant.at <= self.revoked.get(grant.person, float("-inf"))


def sealed(grant: Grant, folder: Path) -> str:
    """The grant as the text of a code or refresh token."""
    return _cipher(folder).encrypt(json.dumps(asdict(grant)).encode()).decode()


def opened(text: str, kind: Kind, folder: Path) -> Grant | None:
    """The grant in a text that `sealed` made; None for any other text, or another kind."""
    from cryptography.fernet import InvalidToken

    try:
        grant = Grant(**json.loads(_cipher(folder).decrypt(text.encode())))
    except InvalidToken:
        return None
    return grant if grant.kind == kind else None


def _cipher(folder: Path) -> "Fernet":
    from cryptography.fernet import Fernet  # what a command that makes a token does not need

    path = folder / KEY_FILE
    try:
        return Fernet(create_file(path, Fernet.generate_key))
    except (OSError, ValueError):
        raise TenantFault(f"{path} cannot be read: delete it; a new key is made at the next sign-in") from None
