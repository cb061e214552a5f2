"""What DBOS logs, as lines of our log: where it was said, and the type of the error. Its texts may repeat a URL or what
a step returned, so no line has them.
"""

import logging
from collections.abc import Callable
from time import monotonic

import structlog

QUIET = 60.0
"""Seconds between two lines about the same place: without a database DBOS says the same each second."""
_USUAL = frozenset({"_outcome"})
"""The modules whose warnings are of no interest: they say that a run was left."""

log = structlog.get_logger("postern.durable")


class DbosLog(logging.Handler):
    """Writes a line for a warning or an error of DBOS, once a minute for each place."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        super().__init__(logging.WARNING)
        self._now = now
        self._said: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line."""
        place = f"{record.module}:{record.lineno}"
        now = self._now()
        if record.module in _USUAL or now - self._said.get(place, float("-inf")) < QUIET:
            return
        self._said[place] = now
        cause = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        write = log.error if record.levelno >= logging.ERROR else log.warning
        write("dbos-reported", place=place, **({"cause": cause} if cause else {}))


def route() -> None:
    """DBOS writes nothing but lines of our log from now on."""
    logger = logging.getLogger("dbos")
    logger.propagate = False
    logger.setLevel(logging.WARNING)
    if not any(isinstance(each, DbosLog) for each in logger.handlers):
        logger.handlers[:] = [DbosLog()]  # it adds one that prints if there is none
