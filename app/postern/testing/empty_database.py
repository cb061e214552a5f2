"""A database with empty tables: made by the migrations once, and copied for each application of the tests."""

import os
import tempfile
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path

from postern.journal.database.engine import migrate, open_engine
from postern.journal.migrations import versions

SQLITE = b"SQLite format 3\0"
"""What such a file begins with."""


def put_database(path: Path, kept: Path | None) -> None:
    """Write one to this path. `kept` is a folder that keeps it for the next session, None if there is none."""
    path.write_bytes(_content(kept))
    path.chmod(0o600)


@cache
def _content(kept: Path | None) -> bytes:
    if kept is None:
        return _made()
    place = kept / f"empty-{_version()}.db"
    with suppress(OSError):
        found = place.read_bytes()
        if found.startswith(SQLITE):
            return found
    content = _made()
    with suppress(OSError):
        _write(place, content)
    return content


def _version() -> str:
    """Which tables the migrations make: another program makes others."""
    digest = sha256()
    for module in sorted(Path(versions.__file__ or "").parent.glob("v*.py")):
        digest.update(module.read_bytes())
    return digest.hexdigest()[:16]


def _made() -> bytes:
    with tempfile.TemporaryDirectory(prefix="postern-test-") as folder:
        path = Path(folder, "empty.db")
        engine = open_engine(f"sqlite:///{path}", writing=True)
        migrate(engine)
        engine.dispose()  # the last connection that closes leaves nothing in the log beside it
        return path.read_bytes()


def _write(place: Path, content: bytes) -> None:
    """In one step: other workers of the session do the same."""
    descriptor, name = tempfile.mkstemp(dir=place.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    Path(name).replace(place)
