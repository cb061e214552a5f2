"""The audit log as a file: JSON lines, with the bodies exactly as they were hashed."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from postern.journal.audit_chain import canonical


def exported(lines: Iterable[dict[str, Any]], at: float) -> Iterator[bytes]:
    """The lines of the file, at that time. The last one has the SHA-256 of all before it."""
    digest = hashlib.sha256()
    counts = dict.fromkeys(("chain", "checkpoint", "event"), 0)

    def written(line: dict[str, Any]) -> bytes:
        raw = f"{canonical(line)}\n".encode("ascii")
        digest.update(raw)
        return raw

    yield written({"type": "audit-export", "at": at})
    for line in lines:
        counts[line["type"]] += 1
        yield written(line)
    yield written({**counts, "type": "end", "sha256": digest.hexdigest()})
