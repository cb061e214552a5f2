"""Verifies the signature of a sender over the raw body, by the sender's own rule. Pure.

What a request claims is read first (`claimed`), which needs no secret. Then the signature is compared (`fits`): every
secret with every signature of the request, in constant time.
"""

import base64
import hmac
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from postern.access import Check, Refused, SenderSignature

REASON = "sender-signature"
"""The check that a request fails whose signature is missing, malformed, too old, or not the sender's."""

MOST_SIGNATURES = 8
"""Signatures in one header that are compared. Stripe sends one for each secret of the endpoint."""

LONGEST_HEADER = 1024
SLACK_TIME = "X-Slack-Request-Timestamp"

_TIME = re.compile(r"[0-9]{1,12}")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})+")
_DIGEST_BYTES = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}

Headers = Iterable[tuple[bytes, bytes]]


class Claim(NamedTuple):
    """What a request claims: what is signed in front of the body, and the signatures as bytes."""

    before_body: bytes
    signatures: tuple[bytes, ...]


def claimed(way: SenderSignature, headers: Headers, now: float) -> Claim:
    """What the request claims. `now` is in Unix seconds. Raises Refused if it cannot be signed by this sender: a header
    that is missing or doubled, a form that the sender never sends, or a time outside of its tolerance."""
    fields = tuple(headers)
    value = _single(fields, way.header)
    if way.sender == "stripe":
        time, texts = _of_stripe(value)
        claim = Claim(f"{time}.".encode(), _decoded(way, texts))
    elif way.sender == "slack":
        time = _single(fields, SLACK_TIME)
        claim = Claim(f"v0:{time}:".encode(), _decoded(way, [value]))
    else:
        return Claim(b"", _decoded(way, [value]))
    _check_time(time, now, way.tolerance)
    return claim


def fits(way: SenderSignature, claim: Claim, body: bytes, secrets: Sequence[str]) -> bool:
    """Whether one of the signatures is that of one of the secrets. All of them are compared, whatever the result."""
    found = False
    for secret in secrets:
        digest = hmac.new(secret.encode(), claim.before_body, way.algorithm)
        digest.update(body)
        expected = digest.digest()
        for signature in claim.signatures:
            found |= hmac.compare_digest(expected, signature)
    return found


def mismatch(way: SenderSignature) -> Refused:
    """The error for a signature that is of no secret."""
    names = " or ".join(way.secrets)
    return _refused(
        f"the HMAC of the body with the secret {names}",
        "another signature",
        "The sender signs with another secret, or something on the way changed the body",
    )


def _single(headers: Headers, name: str) -> str:
    """The value of a header that has to come exactly once."""
    wanted = name.lower().encode()
    values = [value for field, value in headers if field == wanted]
    if len(values) != 1:
        found = "no such header" if not values else f"{len(values)} such headers"
        raise _refused(
            f"the header {name}, once", found, "Set up the sender to sign its requests" if not values else ""
        )
    if len(values[0]) > LONGEST_HEADER:
        raise _refused(f"at most {LONGEST_HEADER} bytes in {name}", f"{len(values[0])} bytes")
    return values[0].decode("latin-1").strip(" \t")


def _of_stripe(value: str) -> tuple[str, list[str]]:
    """The time and the signatures of `t=...,v1=...,v1=...`. Other schemes are ignored, as Stripe asks: `v0` is of test
    events."""
    times, signatures = [], []
    for item in value.split(","):
        name, _, text = item.strip(" ").partition("=")
        if name == "t":
            times.append(text)
        elif name == "v1":
            signatures.append(text)
    if len(times) != 1 or not signatures:
        raise _refused("t=TIME,v1=SIGNATURE in Stripe-Signature", "another form")
    return times[0], signatures


def _decoded(way: SenderSignature, texts: Sequence[str]) -> tuple[bytes, ...]:
    """The signatures as bytes. At least one has to have the form of this sender."""
    found = tuple(signature for text in texts[:MOST_SIGNATURES] if (signature := _bytes_of(way, text)) is not None)
    if not found:
        form = f"{way.prefix}SIGNATURE in {way.encoding}" if way.prefix else f"a signature in {way.encoding}"
        raise _refused(f"{form}, in {way.header}", "another form")
    return found


def _bytes_of(way: SenderSignature, text: str) -> bytes | None:
    """A signature as bytes, None if it has another form or length."""
    if not text.startswith(way.prefix):
        return None
    text = text.removeprefix(way.prefix)
    if way.encoding == "hex":
        found = bytes.fromhex(text) if _HEX.fullmatch(text) else b""
    else:
        try:
            found = base64.b64decode(text, validate=True)
        except ValueError:
            return None
        if base64.b64encode(found).decode() != text:
            return None
    return found if len(found) == _DIGEST_BYTES[way.algorithm] else None


def _check_time(text: str, now: float, tolerance: int) -> None:
    """Raise Refused unless the time that the sender signed is near now, before or after."""
    if not _TIME.fullmatch(text):
        raise _refused("a time in Unix seconds", "another form")
    off = round(now - int(text))
    if abs(now - int(text)) > tolerance:
        found = f"{off} seconds ago" if off > 0 else f"{-off} seconds ahead"
        raise _refused(
            f"a time at most {tolerance} seconds from now",
            found,
            "The request was kept and sent again, or the clock of this server is wrong",
        )


def _refused(expected: str, found: str, hint: str = "") -> Refused:
    return Refused([Check(REASON, False, expected, found, "", hint)])
