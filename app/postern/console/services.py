"""What the pages of the console need from the rest of the server. `assembly/console.py` hands it over."""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from postern.api.run_actions import Cancel, Read, Resubmit, Underway, Write
from postern.catalog import Snapshot
from postern.connections.vault.secret import SecretState
from postern.settings import Settings
from postern.settings.installation import Installation


async def _no_checks() -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class Services:
    """`read` and `write` are the journal's. `cancel`, `resubmit` and `underway` are the run API's. `snapshot` returns
    the current catalog. `now` is the time in Unix seconds. `local` says that the tenant is the local one.

    `address` is where browsers reach the server. `secret_states` is what is known of the secrets of the settings, by
    name. `readiness` says why each check of `/readyz` fails, "" if it passes."""

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
    address: str = ""
    secret_states: Callable[[], Mapping[str, SecretState]] = dict
    readiness: Callable[[], Awaitable[Mapping[str, str]]] = _no_checks
