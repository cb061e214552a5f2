"""The file to which checkpoints are written too (POSTERN_AUDIT_FILE): one JSON line each."""

import errno
import fcntl
import os
from collections import deque
from pathlib import Path

MOST_WAITING = 1_000
"""Lines that wait for a file that cannot be written."""


class CheckpointFile:
    """Appends lines. Server processes that share the file do not mix their lines. A line that could not be written is
    written with the next one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting: deque[str] = deque(maxlen=MOST_WAITING)

    @property
    def waiting(self) -> int:
        """How many lines could not be written."""
        return len(self._waiting)

    def add(self, line: str) -> None:
        """Take a line for the next `write`."""
        self._waiting.append(line)

    def write(self) -> None:
        """Append all lines that wait, and make them durable. It blocks. Raises OSError; then the lines wait on."""
        if not self._waiting:
            return
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            while self._waiting:
                _append(descriptor, f"{self._waiting[0]}\n".encode("ascii"))
                self._waiting.popleft()
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _append(descriptor: int, line: bytes) -> None:
    """Append the whole line or nothing of it."""
    size = os.fstat(descriptor).st_size
    complete = False
    try:
        complete = os.write(descriptor, line) == len(line)
    finally:
        if not complete:
            os.ftruncate(descriptor, size)
    if not complete:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
