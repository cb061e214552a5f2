"""A log in memory."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from postern.logs import QUIET, configure_logs, flush_logs


class Log:
    """A log in memory, and what was written to it. Its test uses the fixture `restored_logs`."""

    def __init__(self, form: Any, level: Any = "info") -> None:
        logging.getLogger().handlers.clear()  # the test runner's own raise where a line cannot be formatted
        flush_logs()  # what earlier tests left to be written
        self.stream = io.BytesIO()
        configure_logs(form, self.stream, level)
        self.log = structlog.get_logger("app.test")

    @property
    def text(self) -> str:
        """All that was written."""
        return self.stream.getvalue().decode()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The same, each line read."""
        return [json.loads(line) for line in self.text.splitlines()]


@contextmanager
def logs_restored() -> Iterator[None]:
    """Logging is global: put back what was there."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in QUIET}
    try:
        yield
    finally:
        flush_logs()
        configure_logs("json", io.BytesIO())
        root.handlers[:] = before
        root.setLevel(level)
        for name, before_it in levels.items():
            logging.getLogger(name).setLevel(before_it)
        structlog.reset_defaults()
