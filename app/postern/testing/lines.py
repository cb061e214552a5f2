"""The log of the application in tests: shown with a failed test, and kept by run for `result.log`."""

import json
import logging
import sys
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import structlog

from postern.logs import QUIET, configure_logs, copy_logs


class _Shown:
    """Standard error as it is now: pytest replaces it for each test. Between tests nothing is written."""

    def __init__(self, shown: Callable[[], bool]) -> None:
        self._shown = shown

    def write(self, lines: bytes) -> None:
        """Write lines."""
        if self._shown():
            sys.stderr.write(lines.decode("utf-8", "replace"))

    def flush(self) -> None:
        """Do nothing: it is written at once."""


class Lines:
    """The lines of runs and rejected requests, by their ids. They are kept and shown while a test runs. The standard
    library's logging is put back after each test, and structlog's when the application has ended."""

    def __init__(self) -> None:
        self._of: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._put_back: Callable[[], None] | None = None
        self._before = (structlog.is_configured(), structlog.get_config())

    def open(self) -> None:
        """Keep and show lines from now on."""
        if self._put_back is None:
            self._put_back = _standard_logging()
            configure_logs("console", _Shown(lambda: self._put_back is not None))  # type: ignore[arg-type]
            copy_logs(self._add)

    def pause(self) -> None:
        """Keep and show no further lines."""
        put_back, self._put_back = self._put_back, None
        if put_back is not None:
            copy_logs(None)
            put_back()

    def close(self) -> None:
        """The application has ended."""
        self.pause()
        configured, config = self._before
        if configured:
            structlog.configure(**config)
        else:
            structlog.reset_defaults()

    def of(self, request_id: str) -> list[dict[str, Any]]:
        """The lines of a run, or of a rejected request. Call `flush_logs` in the application's loop before."""
        return list(self._of.get(request_id, ()))

    def clear(self) -> None:
        """Forget all of them."""
        self._of.clear()

    def _add(self, written: bytes) -> None:
        for line in written.splitlines():
            found = json.loads(line)
            about = found.get("run_id") or found.get("request_id")
            if about:
                self._of[about].append(found)


def _standard_logging() -> Callable[[], None]:
    """A function that puts back the configuration of the standard library's logging."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in QUIET}

    def put_back() -> None:
        root.handlers[:] = handlers
        root.setLevel(level)
        for name, before in levels.items():
            logging.getLogger(name).setLevel(before)

    return put_back
