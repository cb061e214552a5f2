"""The secrets of the local vault, in one file. They are generated at random on first use. The source has no secret."""

import hmac
import json
import re
import secrets
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from postern.local_tenant.state import TenantFault, create_file, write_file
from postern.security.audit.signing_key import new_pem

VAULT_FILE = "vault.json"
AUDIT_KEY_NAME = "audit-key"
"""The secret with the key that signs the audit log."""
GRANTS_KEY_NAME = "grants-key"
"""The secret with the key that seals the tokens of connections that people grant."""
DURABLE_KEY_NAME = "durable-key"
"""The secret with the key that seals what durable runs keep."""

_NAME = re.compile(r"[0-9a-zA-Z-]{1,127}")  # what Key Vault allows


@dataclass(frozen=True, slots=True)
class SecretVersion:
    """One version of a secret. Times are seconds since 1970. The reader has to check `expires`: like Key Vault, this
    vault returns expired secrets. `content_type` is the format of a certificate."""

    version: str
    value: str = field(repr=False)
    created: int
    updated: int
    enabled: bool = True
    expires: int | None = None
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class Vault:
    """The secrets of a state folder. Each name has its versions, oldest first. Names ignore case, as in Key Vault."""

    path: Path

    @classmethod
    def open(cls, folder: Path, names: Iterable[str], now: int) -> "Vault":
        """The folder's vault, with a random secret for each of `names` that has none, and a key for the audit log."""
        vault = cls(folder / VAULT_FILE)
        create_file(vault.path, lambda: _document({name: [_new(_random(), now)] for name in names}))
        for name in names:
            vault.make(name, now)
        if not vault.versions(AUDIT_KEY_NAME):
            vault.put(AUDIT_KEY_NAME, new_pem(), now)
        return vault

    def make(self, name: str, now: int) -> None:
        """Make a random secret of 32 bytes of this name, if there is none."""
        if not self.versions(name):
            self.put(name, _random(), now)

    def versions(self, name: str) -> list[SecretVersion]:
        """Every version of a secret, oldest first; empty if there is no such secret."""
        return self._read().get(name.lower(), [])

    def put(
        self,
        name: str,
        value: str,
        now: int,
        *,
        enabled: bool = True,
        expires: int | None = None,
        content_type: str = "",
    ) -> None:
        """Add a version, which becomes the current one."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot be a secret's name: Key Vault accepts letters, digits and hyphens")
        content = self._read()
        added = replace(_new(value, now), enabled=enabled, expires=expires, content_type=content_type)
        content.setdefault(name.lower(), []).append(added)
        write_file(self.path, _document(content))

    def replace(
        self, name: str, now: int, *, former_expires: int | None, value: str | None = None, content_type: str = ""
    ) -> str:
        """Add a version with this value or a random one, and return the value. The former versions are disabled, or
        expire at `former_expires`."""
        content = self._read()
        former = [_retired(version, now, former_expires) for version in content.get(name.lower(), [])]
        added = replace(_new(_random() if value is None else value, now), content_type=content_type)
        content[name.lower()] = [*former, added]
        write_file(self.path, _document(content))
        return added.value

    def _read(self) -> dict[str, list[SecretVersion]]:
        try:
            document = json.loads(self.path.read_bytes())
            return {name: [SecretVersion(**version) for version in versions] for name, versions in document.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            # Without its cause: a JSON error contains the document with the secrets.
            raise TenantFault(
                f"{self.path} cannot be read: delete it; new secrets are made at the next start"
            ) from None


def judge(versions: Iterable[SecretVersion], presented: str, now: float) -> Literal["good", "expired", "wrong"]:
    """Whether the presented text is one of the application's client secrets, and has not expired."""
    verdict: Literal["expired", "wrong"] = "wrong"
    for version in versions:
        if version.enabled and hmac.compare_digest(version.value.encode(), presented.encode()):
            if version.expires is None or now < version.expires:
                return "good"
            verdict = "expired"
    return verdict


def _retired(former: SecretVersion, now: int, expires: int | None) -> SecretVersion:
    """A former version, disabled or with an earlier expiry date."""
    if expires is None:
        return replace(former, updated=now, enabled=False)
    return replace(former, updated=now, expires=min(expires, former.expires or expires))


def _random() -> str:
    return secrets.token_urlsafe(32)  # as long as a key


def _new(value: str, now: int) -> SecretVersion:
    return SecretVersion(uuid.uuid4().hex, value, created=now, updated=now)


def _document(content: dict[str, list[SecretVersion]]) -> bytes:
    return json.dumps(
        {name: [asdict(version) for version in versions] for name, versions in content.items()}, indent=2
    ).encode()
