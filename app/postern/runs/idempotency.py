"""Idempotency-Key: a repeated request does not run again (draft-ietf-httpapi-idempotency-key-header-07).

The order of events: `scope_of` and `fingerprint` are made from the request. One `journal.write` then claims the key. If
the claim is `Claimed`, the same write inserts the run's row as Running, so a key always has a run. The workflow starts
when that is committed; `undo` of that write is `forget`. Any other claim goes to `replay`, and no run starts. The batch
that records the run's end also has `settle`. A run that did not start has `forget` instead. `free` releases the keys of
runs that became Interrupted. If one batch claims several keys, PostgreSQL may detect a deadlock of two processes and
abort one batch (SQLSTATE 40P01). That batch has to be repeated, as after a lost connection.
"""

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from hmac import HMAC
from typing import NamedTuple

from postern.access import Caller
from postern.authoring.request import Request
from postern.authoring.workflow import Workflow
from postern.elements import has_more_elements
from postern.errors import problem
from postern.journal.body_form import Form
from postern.journal.idempotency_keys import Ended, Headers, Kept, Mismatch, ReplyNotKept, Running
from postern.redaction import body_without_secrets, is_secret_name, without_secret_values

MAX_KEY = 255

MAX_REPLY_BYTES = 1024 * 1024
"""A longer reply is not kept. A repeated request with its key then gets a problem."""

MAX_REPLY_ELEMENTS = 20_000
"""Nor is one with more values in its arrays and objects: secrets are looked for in all of them, while no other request
is served."""

HEADER = b"idempotency-key"

HMAC_MARK = "hmac-sha256:"

REPLAYED = (b"idempotent-replayed", b"true")

_BARE = re.compile(r"[!#-~][!-~]*")

_QUOTED = re.compile(r'"((?:[!#-\[\]-~]|\\["\\])*)"')  # sf-string (RFC 9651, section 3.3.3) without spaces

_ESCAPED = re.compile(r"\\(.)")


def check_key(values: Sequence[bytes]) -> str:
    """The key in a request's Idempotency-Key fields: 1 to 255 visible ASCII characters in exactly one field.

    The draft requires a string in quotes, but many clients send it without. Both are accepted, and "abc" in quotes is
    the same key as abc. A value that begins with a quote must be a complete string. Raises Problem 400
    `bad-idempotency-key`."""
    if len(values) != 1:
        raise problem("bad-idempotency-key", reason=f"{len(values)} fields")
    text = values[0].decode("latin-1").strip(" \t")  # white space around a value is not part of it (RFC 9110, 5.5)
    if quoted := _QUOTED.fullmatch(text):
        text = _ESCAPED.sub(r"\1", quoted[1])
    elif not _BARE.fullmatch(text):
        raise problem("bad-idempotency-key", reason="not a string of visible characters")
    if not 1 <= len(text) <= MAX_KEY:
        raise problem("bad-idempotency-key", reason=f"{len(text)} characters")
    return text


def scope_of(workflow: str, caller: Caller, key: str) -> str:
    """The scope under which the key is kept, in hexadecimal: one workflow and one caller. All anonymous callers share
    one scope, but those with a signed URL have one for each URL."""
    who: tuple[str, ...] = ("caller", caller.tenant_id, caller.object_id)
    if caller.kind == "anonymous":
        who = ("signed", caller.name) if caller.name else ("anonymous",)
    return _digest(workflow, *who, key)


class Key(NamedTuple):
    """An idempotency key as it is kept: see `scope_of` and `fingerprint`."""

    scope: str
    fingerprint: str
    before: str = ""
    """The fingerprint that a release before 0.2 gave the same request. It is compared and never stored."""


def key_of(workflow: Workflow, caller: Caller, request: Request, values: Sequence[bytes]) -> Key:
    """The key of a request with these Idempotency-Key fields. Raises Problem 400 `bad-idempotency-key`, also if the
    workflow keeps no records, because a reply could then not be replayed."""
    if workflow.stateless:
        raise problem("bad-idempotency-key", reason="the workflow is stateless")
    kind, body = request.content_type, request.body
    if (form := request._form) is not None:  # clients choose another boundary each time
        kind, body = "multipart/form-data", form.digest()
    parts = (request.method, request.path, request.query_string, kind, body)
    key = check_key(values)
    scope, plain = scope_of(workflow.name, caller, key), fingerprint(*parts)
    return Key(scope, secured_fingerprint(key, *parts), plain) if workflow.secures else Key(scope, plain)


def fingerprint(method: str, path: str, query: bytes, content_type: str, body: bytes) -> str:
    """The digest of a request, in hexadecimal: requests that differ in any part have different digests."""
    return _digest(method, path, query, content_type, body)


def secured_fingerprint(key: str, method: str, path: str, query: bytes, content_type: str, body: bytes) -> str:
    """The same for a secured workflow: an HMAC under the caller's key, which is kept nowhere. A plain digest of a short
    secret, such as a PIN, can be guessed. The mark tells it from those of releases before 0.2."""
    mac = HMAC(key.encode("ascii"), digestmod=sha256)
    _feed(mac.update, (method, path, query, content_type, body))
    return HMAC_MARK + mac.hexdigest()


Reply = tuple[int, Headers, bytes]


def unread_reply(status: int, headers: Headers, content: bytes, *, secured: bool) -> Kept | Reply:
    """What is needed of a reply to `keep` it: nothing of one that is secured or too long."""
    if secured or len(content) > MAX_REPLY_BYTES:
        return keep(status, headers, content, secured=secured)
    return status, headers, content


def keep(status: int, headers: Headers, content: bytes, *, secured: bool) -> Kept:
    """The reply as it is kept: completely or not at all, because only a complete reply can be replayed. `secured` is
    what `secured.keeps_reply` decides. A reply that contains a secret is not kept."""
    if secured:
        return Kept(status, Form.SECURED)
    if len(content) > MAX_REPLY_BYTES or _has_many_elements(content):
        return Kept(status, Form.CUT)
    if _has_secrets(headers, content):
        return Kept(status, Form.REDACTED)
    lines = json.dumps([(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers])
    if not content:
        return Kept(status, Form.NONE, lines)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\x00"
    if "\x00" in text:  # PostgreSQL's text cannot have it
        return Kept(status, Form.BASE64, lines, b64encode(content).decode())
    return Kept(status, Form.TEXT, lines, text)


def replay(claim: Running | Ended | Mismatch | ReplyNotKept) -> Ended:
    """The reply of the key's run, marked as replayed. Raises Problem if there is none: 409 `run-in-progress` or
    `reply-not-kept` with the run's id, or 422 `idempotency-key-reused` without it, because the run may be another
    caller's."""
    match claim:
        case Ended(run_id, status, headers, content):
            return Ended(run_id, status, (*headers, REPLAYED), content)
        case Running(run_id):
            raise problem("run-in-progress", headers={"Retry-After": "1", "X-Run-Id": run_id}, run_id=run_id)
        case ReplyNotKept(run_id):
            raise problem("reply-not-kept", headers={"X-Run-Id": run_id}, run_id=run_id)
        case Mismatch():
            raise problem("idempotency-key-reused")


def _has_many_elements(content: bytes) -> bool:
    is_large = len(content) > MAX_REPLY_ELEMENTS and content.lstrip()[:1] in (b"[", b"{")
    return is_large and has_more_elements(content, MAX_REPLY_ELEMENTS)


def _has_secrets(headers: Headers, content: bytes) -> bool:
    """Whether logs and records would redact a part of the reply."""
    lines = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
    if any(is_secret_name(name) or without_secret_values(value) != value for name, value in lines):
        return True
    return body_without_secrets(content, dict(lines).get("content-type", "")) is not None


def _digest(*parts: str | bytes) -> str:
    """SHA-256 over the parts, each after its length, so that different lists of parts have different digests."""
    digest = sha256()
    _feed(digest.update, parts)
    return digest.hexdigest()


def _feed(update: Callable[[bytes], object], parts: Iterable[str | bytes]) -> None:
    for part in parts:
        written_part = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
        update(len(written_part).to_bytes(8, "big"))
        update(written_part)
