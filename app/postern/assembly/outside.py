"""What is outside of the application: where signing keys come from, what connections reach, and who watches. The test
kit replaces it (`postern.testing`), and nothing else of the application."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import time

from postern.connections import Connections
from postern.identity import Tenant
from postern.journal.refusal import Refusal
from postern.journal.writing.writer_process import StartWriter
from postern.settings import Settings

FetchFor = Callable[[Tenant], Callable[[], Awaitable[bytes]]]


@dataclass(frozen=True, slots=True)
class Outside:
    """What a server has. `fetch_for` returns the function that fetches a tenant's signing keys, None for those at
    Entra. `connections` makes what workflows reach, of the settings and Entra's address. `sleep` waits between the
    attempts of steps and calls. `refused` gets each rejected request. `trial`: modules are tried in another process
    first. `start_writer` starts what writes to the journal in another way than as a process.
    `step_kept` is asked when a step of a durable run is kept (see `durable_steps.Kept`), and `durable_early` opens the
    database of checkpoints before the first durable run. `now` is the clock of schedules, in Unix seconds, and `ticks`
    says that schedules follow it by themselves. `started` gets the scheduler and the notifier. `agents`: there are
    tools at `/mcp`."""

    fetch_for: FetchFor | None = None
    connections: Callable[[Settings, str], Connections] = Connections
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    refused: Callable[[Refusal], object] = lambda _: None
    trial: bool = True
    start_writer: StartWriter | None = None
    now: Callable[[], float] = time
    ticks: bool = True
    started: Callable[[object], object] = lambda _: None
    step_kept: Callable[[str, str, bool], bool] = lambda _run_id, _step, _ran: True
    durable_early: bool = True
    agents: bool = True


NETWORK = Outside()
"""That of a server."""
