"""The signatures of senders that can send no access token: which one a trigger asks for, as its author writes it."""

from dataclasses import dataclass
from typing import Literal

_NAMES = {"github": "GitHub", "stripe": "Stripe", "slack": "Slack"}


@dataclass(frozen=True, slots=True)
class SenderSignature:
    """A signature over the raw body, as one kind of sender makes it. `secrets` are names in Key Vault: the signature
    fits one of them, so that a secret can be replaced without a failure. `tolerance` is in seconds, 0 where the sender
    signs no time."""

    sender: Literal["github", "stripe", "slack", "hmac"]
    secrets: tuple[str, ...]
    header: str
    algorithm: str = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""
    tolerance: int = 0

    @property
    def named(self) -> str:
        """The sender in words."""
        return _NAMES.get(self.sender, f"the sender that signs in {self.header}")
