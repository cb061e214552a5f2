"""The chain of the audit log: what an event is hashed as. Pure.

Each server process has a chain of its own. The hash of an event is SHA-256 over the hash before it, as 64 hexadecimal
digits in ASCII, followed by the event's body. Before the first event it is GENESIS. The body is canonical JSON: ASCII
only, the names sorted, no spaces, numbers as Python writes them.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from postern.journal.audit_event import AuditEvent

GENESIS = "0" * 64
"""The hash before the first event of each chain, and before the first checkpoint of each server process."""

LONGEST_TEXT = 4_000
"""Characters that are kept of each text."""

DEEPEST = 20


@dataclass(frozen=True, slots=True)
class Head:
    """The last event of a chain: its number and its hash."""

    number: int = 0
    hash: str = GENESIS


Packed = bytes
"""Events on their way to the writer."""


def packed(events: Sequence[AuditEvent]) -> Packed:
    """The events as the writer gets them. The event loop does no more than this. A value that is no JSON is written
    as its text."""
    rows = [(each.kind, each.at, each.subject, each.workflow, each.fields) for each in events]
    return json.dumps(rows, default=_as_json, skipkeys=True).encode("ascii")


def bodies(node: str, after: Head, events: Packed) -> list[dict[str, Any]]:
    """The bodies of the events that follow `after` in the chain of this server process."""
    return [
        {
            "at": float(at),
            "fields": plain_value(fields),
            "kind": kind,
            "node": node,
            "number": number,
            "subject": plain_text(subject),
            "workflow": plain_text(workflow),
        }
        for number, (kind, at, subject, workflow, fields) in enumerate(json.loads(events), start=after.number + 1)
    ]


def canonical(value: object) -> str:
    """A JSON value as it is hashed."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, sort_keys=True, separators=(",", ":"))


def hash_after(previous: str, body: str) -> str:
    """The hash of an event whose predecessor has the hash `previous`."""
    return body_hash(f"{previous}{body}")


def body_hash(body: str) -> str:
    """What the next checkpoint of a server process has of this one."""
    return sha256(body.encode("ascii")).hexdigest()


def plain_value(value: Any, depth: int = 0) -> Any:
    """A JSON value that can be written canonically: its texts are cut, and a number that is not finite is null."""
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth > DEEPEST:
        return None
    if isinstance(value, Mapping):
        return {plain_text(name): plain_value(each, depth + 1) for name, each in value.items()}
    if isinstance(value, list):
        return [plain_value(each, depth + 1) for each in value]
    return value


def plain_text(text: str) -> str:
    """A text that each database can store."""
    return text[:LONGEST_TEXT].replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _as_json(value: object) -> Any:
    if isinstance(value, Mapping):
        return {str(name): each for name, each in value.items()}
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes | bytearray):
        return sorted(value, key=str) if isinstance(value, set | frozenset) else list(value)
    return str(value)
