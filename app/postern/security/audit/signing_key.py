"""The key that signs checkpoints of the audit log: an Ed25519 private key in PEM, from Key Vault."""

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SETTING = "POSTERN_AUDIT_KEY_NAME"
MAKES_A_KEY = "openssl genpkey -algorithm ed25519"
"""A command that prints the value of such a secret."""

HOW_TO_MAKE = f"Make one with `{MAKES_A_KEY}`, and put it into the Key Vault with all its lines"


class KeyFault(ValueError):
    """A private key that cannot sign. The message is a predicate and contains no part of the key."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key. `id` finds its public key, and `public_pem` is it."""

    id: str
    public_pem: str
    key: "Ed25519PrivateKey" = field(repr=False)

    def sign(self, text: str) -> str:
        """The signature of an ASCII text, in base64url."""
        return urlsafe_b64encode(self.key.sign(text.encode("ascii"))).decode("ascii").rstrip("=")


def signing_key(pem: str) -> SigningKey:
    """The key in a PEM text. Raises KeyFault."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    if "PRIVATE KEY-----" not in pem:
        raise KeyFault("is not a private key in PEM")
    try:
        key = load_pem_private_key(pem.encode(), None)
    except TypeError:
        raise KeyFault("is encrypted with a password") from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyFault("is not a private key in PEM, or lost its line ends") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFault("is not an Ed25519 key")
    public = key.public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pem_of_public = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")
    return SigningKey(hashlib.sha256(der).hexdigest(), pem_of_public, key)


def new_pem() -> str:
    """A new private key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    made = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.decode("ascii")


class VaultKey:
    """The newest version of the key in the vault. `read` gives the secret's value, as the vault caches it. It belongs
    to one event loop."""

    def __init__(self, name: str, read: Callable[[str], Awaitable[str]]) -> None:
        self._name = name
        self._read = read
        self._known: tuple[str, SigningKey] | None = None

    async def __call__(self) -> SigningKey:
        """The key that signs now. Raises KeyFault, or what `read` raises."""
        pem = await self._read(self._name)
        if self._known is None or self._known[0] != pem:
            try:
                self._known = pem, signing_key(pem)
            except KeyFault as fault:
                raise KeyFault(f"{SETTING} names the secret {self._name}, which {fault}. {HOW_TO_MAKE}") from None
        return self._known[1]
