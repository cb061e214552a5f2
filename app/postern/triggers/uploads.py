"""How much all forms together may hold, from their first byte until their runs end. Each form alone is limited by its
workflow."""

import shutil
import tempfile
from collections.abc import Callable
from functools import partial

from structlog.typing import FilteringBoundLogger

from postern.errors import problem
from postern.journal.shares import Allotment, Holder
from postern.logs import Coalesced

MOST_UPLOADED = 1024 * 1024 * 1024
"""Bytes of all `multipart/form-data` of a process, if the folder for temporary files has room for twice as much; else
half of its size. A caller may have as much of it as is free, and all anonymous callers half. A caller who holds nothing
gets a form of any size that its workflow allows, so that the sum exceeds this by one form at most."""


class Uploads:
    """What the forms of a process hold. It belongs to one event loop."""

    def __init__(self, most: int = 0) -> None:
        self._bytes = Allotment(most or _most())
        self._full = Coalesced("uploads-full")

    @property
    def held(self) -> int:
        """Bytes of all forms that arrive, or whose runs go on."""
        return self._bytes.taken

    def begin(self, workflow: str, who: Holder, log: FilteringBoundLogger, size: int) -> Callable[[int], None]:
        """A form of so many bytes begins to arrive. Returns what changes how many it holds. Raises Problem 429 if the
        caller holds too much already."""
        if not self._bytes.admits(who):
            held, most = self._bytes.taken, self._bytes.most
            self._full.add(log.warning, workflow=workflow, caller=" ".join(who), held_bytes=held, most_bytes=most)
            detail = "Too many large forms are being received or worked on."
            raise problem("too-many-runs", detail=detail, headers={"Retry-After": "5", "Connection": "close"})
        self._bytes.take(who, size)
        return partial(self._bytes.take, who)


def _most() -> int:
    try:
        return min(MOST_UPLOADED, shutil.disk_usage(tempfile.gettempdir()).total // 2) or MOST_UPLOADED
    except OSError:
        return MOST_UPLOADED
