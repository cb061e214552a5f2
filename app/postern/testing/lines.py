"""The log of the application in tests: shown with a failed test, and kept by run for `result.log`."""

import json
import sys
from collections import defaultdict
from typing import Any

from postern.logs import configure_logs
from postern.logs.logs import copy_logs, flush_logs


class _Shown:
    """Standard error as it is now: pytest replaces it for each test."""

    def write(self, lines: bytes) -> None:
        sys.stderr.write(lines.decode("utf-8", "replace"))

    def flush(self) -> None:
        """Do nothing: it is written at once."""


class Lines:
    """The lines of runs and rejected requests, by their ids. While it is open, the application logs in pytest's
    output."""

    def __init__(self) -> None:
        self._of: dict[str, list[dict[str, Any]]] = defaultdict(list)
        configure_logs("console", _Shown())  # type: ignore[arg-type]
        copy_logs(self._add)

    def of(self, request_id: str) -> list[dict[str, Any]]:
        """The lines of a run, or of a rejected request."""
        flush_logs()
        return list(self._of.get(request_id, ()))

    def clear(self) -> None:
        """Forget all of them."""
        self._of.clear()

    def close(self) -> None:
        """Keep no further lines."""
        copy_logs(None)

    def _add(self, written: bytes) -> None:
        for line in written.splitlines():
            found = json.loads(line)
            about = found.get("run_id") or found.get("request_id")
            if about:
                self._of[about].append(found)
