"""New runs as they are recorded: the API is polled each second."""

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from postern.cli.api_client import Api, Listing, Record
from postern.cli.records import ENDED
from postern.cli.terminal import err, stop

INTERVAL = 1.0
"""Seconds between two requests."""

_OVERLAP = timedelta(seconds=5)
"""How far a request goes back before the newest run seen. Several processes record runs in batches, so a run that
started a little earlier may be recorded a little later."""

_AT_MOST = 1000
"""Runs of one request."""


class Ended(NamedTuple):
    """The last record of the followed run. `in_time` is False if the run has not ended."""

    run: Record
    in_time: bool


async def follow_run(api: Api, run_id: str, seconds: float | None) -> Ended:
    """Wait until the run has ended, `seconds` at most."""
    until = _until(seconds)
    while True:
        run = await api.get(f"/runs/{run_id}")
        if run.get("state") in ENDED:
            return Ended(run, in_time=True)
        if not await _pause(until):
            return Ended(run, in_time=False)


async def follow_new(
    api: Api, query: Mapping[str, str | None], seconds: float | None, show: Callable[[Record], None]
) -> None:
    """Show every run that is recorded from now on, once, for `seconds` or without end. All times are the server's,
    because this machine's clock may differ."""
    until = _until(seconds)
    newest = await _look(api, query, None, 1)
    since = _before(newest)
    known = {str(run.get("id")) for run in await _look(api, query, since, _AT_MOST)} if since else set()
    while await _pause(until):
        runs = await _look(api, query, since, _AT_MOST)
        ids = {str(run.get("id")) for run in runs}
        if len(runs) == _AT_MOST and not ids & known:
            err.print(f"More than {_AT_MOST} new runs: not all are shown. Use --workflow to filter.", style="yellow")
        for run in reversed(runs):
            if str(run.get("id")) not in known:
                show(run)
        if runs:
            since, known = _before(runs), ids


async def _look(api: Api, query: Mapping[str, str | None], since: str | None, limit: int) -> list[Record]:
    """The newest runs, the newest first."""
    return [run async for page in Listing(api, "runs", {**query, "since": since}, limit) for run in page]


def _before(runs: list[Record]) -> str | None:
    """The start time for the next request; None if there was no run yet."""
    if not runs:
        return None
    try:
        started = datetime.fromisoformat(str(runs[0].get("started_at")))
    except ValueError:
        stop("the server's response has a run without a start time.")
    return (started - _OVERLAP).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _until(seconds: float | None) -> float:
    return float("inf") if seconds is None else time.monotonic() + seconds


async def _pause(until: float) -> bool:
    """Wait for the next request; False if no time is left for it."""
    left = until - time.monotonic()
    await asyncio.sleep(max(0.0, min(INTERVAL, left)))
    return left > 0
