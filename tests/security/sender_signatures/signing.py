"""How the senders sign, written from their documentation."""

import base64
import hashlib
import hmac

Headers = list[tuple[bytes, bytes]]

NOW = 1_700_000_000


def digest(secret: str, content: bytes, algorithm: str = "sha256") -> bytes:
    """The HMAC."""
    return hmac.new(secret.encode(), content, getattr(hashlib, algorithm)).digest()


def by_github(secret: str, body: bytes) -> Headers:
    """As GitHub sends it."""
    return [(b"x-hub-signature-256", b"sha256=" + digest(secret, body).hex().encode())]


def by_stripe(secret: str, body: bytes, at: int = NOW) -> Headers:
    """As Stripe sends it."""
    signature = digest(secret, f"{at}.".encode() + body).hex()
    return [(b"stripe-signature", f"t={at},v0={'0' * 64},v1={signature}".encode())]


def by_slack(secret: str, body: bytes, at: int = NOW) -> Headers:
    """As Slack sends it."""
    signature = digest(secret, f"v0:{at}:".encode() + body).hex()
    return [(b"x-slack-signature", f"v0={signature}".encode()), (b"x-slack-request-timestamp", str(at).encode())]


def by_header(secret: str, body: bytes, algorithm: str, encoding: str, prefix: str = "") -> Headers:
    """As another sender sends it in X-Sig."""
    made = digest(secret, body, algorithm)
    text = made.hex() if encoding == "hex" else base64.b64encode(made).decode()
    return [(b"x-sig", (prefix + text).encode())]
