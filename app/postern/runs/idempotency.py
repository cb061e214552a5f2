"""Idempotency-Key: a request that is sent again does not run again (draft-ietf-httpapi-idempotency-key-header-07).

How the parts meet. `scope_of` and `fingerprint` are made of the request. One `journal.write` then claims the key and,
only where the claim is `Claimed`, inserts the run's row as Running, so that a key never stands without a run; the
workflow starts when that is committed, and `undo` of that write is `forget`. Any other claim goes to `replay`, and
nothing runs. The batch that records the run's end also has `settle`; a run that never started after all has `forget`
instead, and `free` gives back the keys of runs that became Interrupted. Where one batch claims several keys, PostgreSQL
may find two processes waiting for each other and end one batch (SQLSTATE 40P01): it is to be repeated, like after a
lost connection.
"""

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from pydantic_core import from_json

from postern.access import Caller
from postern.authoring.request import Request
from postern.authoring.workflow import Workflow
from postern.errors import problem
from postern.journal.body_form import Form
from postern.journal.idempotency_keys import Ended, Headers, Kept, Mismatch, ReplyNotKept, Running
from postern.redaction import is_secret_name, without_tokens, written

MAX_KEY = 255

MAX_REPLY_BYTES = 1024 * 1024
"""A longer reply is not kept; to send the key again is then answered by a problem."""

HEADER = b"idempotency-key"

REPLAYED = (b"idempotent-replayed", b"true")

_BARE = re.compile(r"[!#-~][!-~]*")

_QUOTED = re.compile(r'"((?:[!#-\[\]-~]|\\["\\])*)"')  # sf-string (RFC 9651, section 3.3.3) without spaces

_ESCAPED = re.compile(r"\\(.)")


def check_key(values: Sequence[bytes]) -> str:
    """The key that a request's Idempotency-Key fields give: 1 to 255 visible ASCII characters in exactly one field.

    The draft's form is a string in quotes, yet many clients send it bare: both are taken, and "abc" in quotes is the
    same key as abc. What begins with a quote must be a whole string. Raises Problem 400 `bad-idempotency-key`."""
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
    """Under what the key is kept, in hexadecimal: it is one workflow's and one caller's. All anonymous callers are
    one."""
    who = ("anonymous",) if caller.kind == "anonymous" else ("caller", caller.tenant_id, caller.object_id)
    return _digest(workflow, *who, key)


class Key(NamedTuple):
    """An idempotency key as it is kept: see `scope_of` and `fingerprint`."""

    scope: str
    fingerprint: str


def key_of(workflow: Workflow, caller: Caller, request: Request, values: Sequence[bytes]) -> Key:
    """The key of a request that has these Idempotency-Key fields. Raises Problem 400 `bad-idempotency-key`, also where
    the workflow keeps no records: the promise could not be kept."""
    if workflow.stateless:
        raise problem("bad-idempotency-key", reason="the workflow is stateless")
    asked = (request.method, request.path, request.query_string, request.content_type, request.body)
    return Key(scope_of(workflow.name, caller, check_key(values)), fingerprint(*asked))


def fingerprint(method: str, path: str, query: bytes, content_type: str, body: bytes) -> str:
    """What was asked, in hexadecimal: two requests that differ in any part have different ones."""
    return _digest(method, path, query, content_type, body)


def keep(status: int, headers: Headers, content: bytes, *, secured: bool) -> Kept:
    """What is kept of a reply: all of it, or else nothing, because only a whole reply can be given again. `secured`
    is the workflow's `secure_outputs`. Secrets are not written down: a reply with any is not kept."""
    if secured:
        return Kept(status, Form.SECURED)
    if len(content) > MAX_REPLY_BYTES:
        return Kept(status, Form.CUT)
    if _telling(headers, content):
        return Kept(status, Form.REDACTED)
    lines = json.dumps([(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers])
    if not content:
        return Kept(status, Form.NONE, lines)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\x00"
    if "\x00" in text:  # no text of PostgreSQL's
        return Kept(status, Form.BASE64, lines, b64encode(content).decode())
    return Kept(status, Form.TEXT, lines, text)


def replay(claim: Running | Ended | Mismatch | ReplyNotKept) -> Ended:
    """The reply of the key's run, marked as given again. Raises Problem where there is none:
    409 `run-in-progress` or `reply-not-kept` with the run's id, 422 `idempotency-key-reused` without it, because it
    was somebody else's request as far as is known."""
    match claim:
        case Ended(run_id, status, headers, content):
            return Ended(run_id, status, (*headers, REPLAYED), content)
        case Running(run_id):
            raise problem("run-in-progress", headers={"Retry-After": "1", "X-Run-Id": run_id}, run_id=run_id)
        case ReplyNotKept(run_id):
            raise problem("reply-not-kept", headers={"X-Run-Id": run_id}, run_id=run_id)
        case Mismatch():
            raise problem("idempotency-key-reused")


def _telling(headers: Headers, content: bytes) -> bool:
    """Whether something in a reply looks like a secret, as it does for logs and records."""
    lines = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
    if any(is_secret_name(name) or without_tokens(value) != value for name, value in lines):
        return True
    text = content.decode("utf-8", "replace")
    if without_tokens(text) != text:
        return True
    try:
        value = from_json(content, allow_inf_nan=False)
    except ValueError:
        return False
    return bool(written(value) != value)


def _digest(*parts: str | bytes) -> str:
    """SHA-256 over the parts, each after its length, so that no two lists of parts are written alike."""
    digest = sha256()
    for part in parts:
        written_part = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
        digest.update(len(written_part).to_bytes(8, "big"))
        digest.update(written_part)
    return digest.hexdigest()
