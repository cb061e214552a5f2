"""The text and the signature of a signed URL. Pure.

`/triggers/NAME[/path]?sp=...&sv=1.0&se=...&id=...[&name=value ...]&sig=...` has the shape of a URL of Logic Apps. The
query up to `sig` is signed. It comes byte for byte as it was printed, so that no two programs on the way can read it
differently. A sender may append parameters after it. They are not signed, and none has a name of the signed part.
"""

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

VERSION = "1.0"
NEVER = "never"
"""The expiry of a URL that does not expire."""

PURPOSE = "postern signed URL 1.0"
"""The first item of what is signed: a key that signs something else too makes no signature of a URL."""

RESERVED = ("sp", "sv", "se", "id", "sig")
"""The parameters that every signed URL has."""

LONGEST_QUERY = 4096
"""Bytes of the part of a query that is signed."""

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ANY_PATH, _ONE_PATH = "run", "run-at"
_SIGNED = re.compile(
    rb"sp=(?P<sp>[^&=]+)&sv=1\.0&se=(?P<se>[^&=]+)&id=(?P<id>[^&=]+)(?P<fixed>(?:&[^&=]+=[^&=]*)*?)"
    rb"&sig=(?P<sig>[A-Za-z0-9_-]{43})(?P<rest>&.*)?",
    re.DOTALL,
)
_SP = re.compile(r"/triggers/(?P<workflow>[a-z0-9-]+)/(?P<how>run|run-at)/(?P<methods>[A-Z]+(?:,[A-Z]+)*)")
_SE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


@dataclass(frozen=True, slots=True)
class Terms:
    """What a signed URL allows. `path` is the only relative path that it is for, as it is written in the URL ("" for
    the trigger's own URL), None for any path of the workflow. `expires_at` is in Unix seconds, None for never. `fixed`
    are query parameters that the sender cannot change."""

    workflow: str
    methods: tuple[str, ...]
    id: str
    path: str | None = None
    expires_at: int | None = None
    fixed: tuple[tuple[str, str], ...] = ()


class Presented(NamedTuple):
    """A signed URL as a request has it. Its signature is not verified yet."""

    terms: Terms
    signature: str

    def __repr__(self) -> str:
        return f"Presented({self.terms!r})"


@dataclass(frozen=True, slots=True)
class Signed:
    """A URL that was signed: the path and the query, which has the signature."""

    path: str
    query: str = field(repr=False)


def canonical(terms: Terms) -> bytes:
    """What is signed: a list of texts, each with its length before it, so that no two lists have the same bytes."""
    how = _ANY_PATH if terms.path is None else _ONE_PATH
    items = [PURPOSE, terms.workflow, ",".join(terms.methods), how, terms.path or "", expiry(terms), terms.id]
    items += [text for pair in terms.fixed for text in pair]
    content = [item.encode() for item in items]
    return len(content).to_bytes(4, "big") + b"".join(len(each).to_bytes(4, "big") + each for each in content)


def signature(key: bytes, terms: Terms) -> str:
    """HMAC-SHA256 in base64url without padding."""
    return urlsafe_b64encode(hmac.digest(key, canonical(terms), "sha256")).rstrip(b"=").decode("ascii")


def sign(key: bytes, terms: Terms, path: str = "") -> Signed:
    """The URL, with its path and its query. `path` is the relative path that is printed if the terms allow any."""
    relative = path if terms.path is None else terms.path
    return Signed(f"/triggers/{terms.workflow}{relative}", f"{_written(terms)}&sig={signature(key, terms)}")


def expiry(terms: Terms) -> str:
    """When it expires, as it is written in the URL."""
    if terms.expires_at is None:
        return NEVER
    return datetime.fromtimestamp(terms.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def presented(query: bytes, workflow: str, path: str) -> Presented | None:
    """The signed URL of a request to this workflow at this relative path (both as they were sent). None if the query is
    not exactly as one that `sign` makes, with further parameters after it at most."""
    found = _SIGNED.fullmatch(query) if query.isascii() else None  # programs read other bytes in different ways
    if found is None or found.start("rest") > LONGEST_QUERY or found.end("sig") > LONGEST_QUERY:
        return None
    terms = _terms(found, workflow, path)
    signed = query[: found.end("sig")].rpartition(b"&sig=")[0]
    if terms is None or _written(terms).encode() != signed:
        return None
    taken = {*RESERVED, *(name for name, _ in terms.fixed)}
    appended = (found["rest"] or b"")[1:]
    if any(name.decode("utf-8", "replace") in taken for name, _ in _parameters(appended)):
        return None
    return Presented(terms, found["sig"].decode("ascii"))


def has_signature(query: bytes) -> bool:
    """Whether a query has a parameter `sig`, however its name is written."""
    return b"sig" in (name for name, _ in _parameters(query))


def withheld(query: bytes) -> bytes:
    """The query as a workflow and a record get it: without the parameters that every signed URL has."""
    reserved = {name.encode() for name in RESERVED}
    return b"&".join(part for name, part in _parameters(query) if name not in reserved)


def fixable(name: str) -> bool:
    """Whether a parameter of this name can be fixed."""
    return bool(name) and name not in RESERVED


def _terms(found: re.Match[bytes], workflow: str, path: str) -> Terms | None:
    texts = [_text(found[name]) for name in ("sp", "se", "id")]
    pairs = [tuple(map(_text, part.split(b"="))) for part in found["fixed"].split(b"&")[1:]]
    permission, until, link = texts
    if permission is None or until is None or link is None or not ID.fullmatch(link):
        return None
    allowed, expires_at = _SP.fullmatch(permission), _moment(until)
    if allowed is None or allowed["workflow"] != workflow or (expires_at is None and until != NEVER):
        return None
    fixed = []
    for name, value in pairs:
        if name is None or value is None or not fixable(name):
            return None
        fixed.append((name, value))
    if len({name for name, _ in fixed}) < len(fixed):
        return None
    one = path if allowed["how"] == _ONE_PATH else None
    return Terms(workflow, tuple(allowed["methods"].split(",")), link, one, expires_at, tuple(fixed))


def _written(terms: Terms) -> str:
    """The query without the signature."""
    how = _ANY_PATH if terms.path is None else _ONE_PATH
    permission = f"/triggers/{terms.workflow}/{how}/{','.join(terms.methods)}"
    pairs = [("sp", permission), ("sv", VERSION), ("se", expiry(terms)), ("id", terms.id), *terms.fixed]
    return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)


def _parameters(query: bytes) -> Iterable[tuple[bytes, bytes]]:
    """The parts of a query, each with the name that a program reads in it."""
    for part in query.split(b"&") if query else ():
        yield unquote_to_bytes(part.partition(b"=")[0].replace(b"+", b" ")), part


def _text(written: bytes) -> str | None:
    try:
        return unquote_to_bytes(written).decode("utf-8")
    except UnicodeDecodeError:
        return None


def _moment(text: str) -> int | None:
    """The Unix seconds of a time in UTC, to the second; None if it is not one."""
    if not _SE.fullmatch(text):
        return None
    try:
        return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())
    except ValueError:
        return None
