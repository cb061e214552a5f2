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
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from typing import NamedTuple

from pydantic_core import from_json
from sqlalchemy import Connection, Insert, bindparam, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from app.access import Caller
from app.errors import problem
from app.redaction import is_secret_name, without_tokens, written
from app.runs.journal.form import Form
from app.runs.journal.schema import idempotency_keys as keys
from app.workflow import Request, Workflow

KEPT_FOR = 24 * 3600.0
"""Seconds for which a key stands for its run."""
MAX_KEY = 255
MAX_REPLY_BYTES = 1024 * 1024
"""A longer reply is not kept; to send the key again is then answered by a problem."""

HEADER = b"idempotency-key"
REPLAYED = (b"idempotent-replayed", b"true")

_BARE = re.compile(r"[!#-~][!-~]*")
_QUOTED = re.compile(r'"((?:[!#-\[\]-~]|\\["\\])*)"')  # sf-string (RFC 9651, section 3.3.3) without spaces
_ESCAPED = re.compile(r"\\(.)")
_AT_ONCE = 500

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Claimed:
    """The key is this run's own."""


@dataclass(frozen=True, slots=True)
class Running:
    """The run of this key has not ended."""

    run_id: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The run of this key has ended, with this reply."""

    run_id: str
    status: int
    headers: Headers = field(repr=False)
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The key was used for another request."""


@dataclass(frozen=True, slots=True)
class ReplyNotKept:
    """The run of this key has ended, and its reply was secured, too long, or had secrets in it."""

    run_id: str


Claim = Claimed | Running | Ended | Mismatch | ReplyNotKept


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a reply, as columns of the table; only `status` where `form` is secured, redacted or cut."""

    status: int
    form: Form
    headers: str | None = field(default=None, repr=False)
    content: str | None = field(default=None, repr=False)


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


def claim(connection: Connection, scope: str, fingerprint: str, run_id: str, now: float) -> Claim:
    """Take the key for this run, unless another has it. Whoever asks at the same time waits for the other's
    transaction, and so one of them gets it. Asked again for the same run, it is that run's still."""
    taken = {"scope": scope, "fingerprint": fingerprint, "run_id": run_id, "created_at": now}
    connection.execute(_taking(connection.dialect.name), taken | {"old": now - KEPT_FOR})
    row = connection.execute(_FOUND, {"of": scope}).one()
    if row.run_id == run_id:
        return Claimed()
    if row.fingerprint != fingerprint:
        return Mismatch()
    if row.status is None:
        return Running(row.run_id)
    if row.reply_headers is None:
        return ReplyNotKept(row.run_id)
    headers = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in json.loads(row.reply_headers))
    content = row.content or ""
    return Ended(
        row.run_id, row.status, headers, b64decode(content) if row.content_form == Form.BASE64 else content.encode()
    )


_FOUND = select(keys).where(keys.c.scope == bindparam("of"))
_SETTLED = (
    update(keys)
    .where(keys.c.scope == bindparam("of"), keys.c.run_id == bindparam("its"))
    .values({name: bindparam(name) for name in ("status", "reply_headers", "content", "content_form")})
)


@cache
def _taking(dialect: str) -> Insert:
    """The statement that takes a key; to build one costs more than to have it done."""
    insert = (sqlite.insert if dialect == "sqlite" else postgresql.insert)(keys)
    named = insert.values({name: bindparam(name) for name in ("scope", "fingerprint", "run_id", "created_at")})
    fresh = {column.name: named.excluded[column.name] for column in keys.columns if column is not keys.c.scope}
    old = keys.c.created_at < bindparam("old")
    return named.on_conflict_do_update(index_elements=[keys.c.scope], set_=fresh, where=old)


def settle(connection: Connection, scope: str, run_id: str, kept: Kept) -> None:
    """Keep the reply of a run that has ended. Nothing happens where the key is another run's by now, or nobody's."""
    reply = {"status": kept.status, "reply_headers": kept.headers, "content": kept.content, "content_form": kept.form}
    connection.execute(_SETTLED, {"of": scope, "its": run_id} | reply)


def forget(connection: Connection, scope: str, run_id: str) -> None:
    """Give back the key of a run that did not start."""
    connection.execute(delete(keys).where(keys.c.scope == scope, keys.c.run_id == run_id, keys.c.status.is_(None)))


def free(connection: Connection, run_ids: Iterable[str]) -> None:
    """Give back the keys of runs that became Interrupted: their callers may try again."""
    ids = list(run_ids)
    for start in range(0, len(ids), _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        connection.execute(delete(keys).where(keys.c.run_id.in_(some), keys.c.status.is_(None)))


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
