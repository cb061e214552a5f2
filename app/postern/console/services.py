"""What the pages of the console need from the rest of the server. `assembly/console.py` hands it over."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from postern.api.run_actions import Cancel, Read, Resubmit, Underway, Write
from postern.catalog import Snapshot
from postern.settings import Settings
from postern.settings.installation import Installation


@dataclass(frozen=True, slots=True)
class Services:
    """`read` and `write` are the journal's. `cancel`, `resubmit` and `underway` are the run API's. `snapshot` returns
    the current catalog. `now` is the time in Unix seconds. `local` says that the tenant is the local one."""

    settings: Settings
    installation: Installation
    read: Read
    write: Write
    cancel: Cancel
    resubmit: Resubmit
    underway: Underway
    snapshot: Callable[[], Snapshot]
    log: FilteringBoundLogger
    node: str = ""
    now: Callable[[], float] = time.time
    local: bool = False
