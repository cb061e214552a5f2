"""The senders whose signatures Postern checks, as authors write them: `anonymous(signed_by=github("github-hook"))`.

A secret is a name in Key Vault. While it is being replaced there are two: `github(("new-hook", "old-hook"))`.
"""

import re
from collections.abc import Iterable
from typing import Literal, cast

from postern.access.modes import AccessFault
from postern.access.sender import SenderSignature

TOLERANCE = 300
"""Seconds between the time that a sender signs and the server's clock (the default of Stripe's and Slack's own
libraries)."""

MOST_SECRETS = 2
LONGEST_PREFIX = 32
ALGORITHMS = ("sha256", "sha384", "sha512", "sha1")
ENCODINGS = ("hex", "base64")
NEVER_SIGNATURES = frozenset({"authorization", "cookie", "content-length", "content-type", "host", "transfer-encoding"})

_SECRET_NAME = re.compile(r"[0-9A-Za-z-]{1,127}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_PREFIX = re.compile(r"[\x21-\x7e]*")

Secrets = str | Iterable[str]


def github(secret: Secrets) -> SenderSignature:
    """GitHub's signature of a webhook: HMAC-SHA256 in the header X-Hub-Signature-256.

    Source: docs.github.com, "Validating webhook deliveries". GitHub signs no time.
    """
    return SenderSignature("github", _secrets("github", secret), "X-Hub-Signature-256", prefix="sha256=")


def stripe(secret: Secrets) -> SenderSignature:
    """Stripe's signature of a webhook: the header Stripe-Signature, with the time in it.

    Source: docs.stripe.com, "Resolve webhook signature verification errors" and "Receive events in your webhook
    endpoint".
    """
    return SenderSignature("stripe", _secrets("stripe", secret), "Stripe-Signature", tolerance=TOLERANCE)


def slack(secret: Secrets) -> SenderSignature:
    """Slack's signature of events, commands and interactions: the headers X-Slack-Signature and
    X-Slack-Request-Timestamp. The secret is the app's signing secret.

    Source: docs.slack.dev, "Verifying requests from Slack".
    """
    return SenderSignature("slack", _secrets("slack", secret), "X-Slack-Signature", prefix="v0=", tolerance=TOLERANCE)


def hmac_header(
    *, header: str, secret: Secrets, algorithm: str = "sha256", encoding: str = "hex", prefix: str = ""
) -> SenderSignature:
    """The signature of another sender: an HMAC over the raw body in a header of its own.

    `algorithm` is sha256, sha384, sha512, or sha1 for old senders; `encoding` is hex or base64; `prefix` is what comes
    before the signature, such as `sha256=`. Such a signature has no time in it.
    """
    if not isinstance(header, str) or not _HEADER.fullmatch(header):
        raise AccessFault(f"hmac_header(header={header!r}): give the name of the sender's header, such as X-Signature")
    if header.lower() in NEVER_SIGNATURES:
        raise AccessFault(f"hmac_header(header={header!r}): this header has another meaning, so it has no signature")
    if algorithm not in ALGORITHMS:
        raise AccessFault(f"hmac_header(algorithm={algorithm!r}): choose one of {', '.join(ALGORITHMS)}")
    if encoding not in ENCODINGS:
        raise AccessFault(f"hmac_header(encoding={encoding!r}): choose one of {', '.join(ENCODINGS)}")
    if not isinstance(prefix, str) or len(prefix) > LONGEST_PREFIX or not _PREFIX.fullmatch(prefix):
        raise AccessFault(
            f"hmac_header(prefix={prefix!r}): give at most {LONGEST_PREFIX} visible characters without spaces, such as "
            "sha256="
        )
    way = cast("Literal['hex', 'base64']", encoding)
    return SenderSignature("hmac", _secrets("hmac_header", secret), header, algorithm, way, prefix)


def _secrets(sender: str, given: Secrets) -> tuple[str, ...]:
    """The names of the secrets. A text that is no name is not repeated: it may be the secret itself."""
    names = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else ()
    if not names:
        raise AccessFault(f'{sender}() needs the name of a secret in Key Vault: write {sender}("NAME")')
    if len(names) > MOST_SECRETS:
        raise AccessFault(f"{sender}() takes at most {MOST_SECRETS} secrets: the new one and the old one")
    for name in names:
        if not isinstance(name, str) or not _SECRET_NAME.fullmatch(name):
            raise AccessFault(
                f"{sender}() takes the name of a secret in Key Vault, never the secret itself: a name has letters, "
                "digits and hyphens, at most 127"
            )
    if len({name.lower() for name in names}) < len(names):
        raise AccessFault(f"{sender}() has the secret {names[0]} twice: names in Key Vault ignore case")
    return names
