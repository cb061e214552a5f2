"""Requests that wait for the end of a run."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from postern.api.result_wait import ResultWait
from postern.api.results import LATER, SOON, retry_after, until_gone
from postern.journal.durable_runs import Phase
from postern.journal.reading.records import DurableState
from tests.table import table

pytestmark = pytest.mark.anyio

ADA = ("t", "ada")
NOBODY = ("anonymous", "192.0.2.1")


class Journal:
    """The runs that have ended, and how often they were read."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.looks: list[list[str]] = []

    async def read(self, query: Callable[[Any], Any]) -> Any:
        ids = query.keywords["run_ids"]  # type: ignore[attr-defined]
        self.looks.append(ids)
        return [run_id for run_id in ids if run_id in self.ended]


async def begun(waits: ResultWait, count: int) -> None:
    while sum(map(len, waits._waiting.values())) < count:
        await asyncio.sleep(0)


async def test_a_request_goes_on_as_soon_as_its_run_has_ended_here() -> None:
    waits = ResultWait(Journal().read)
    waiting = [asyncio.create_task(waits.until_ended("1", 60, ADA)) for _ in range(2)]
    await begun(waits, 2)
    waits.ended("2")
    waits.ended("1")
    assert await asyncio.gather(*waiting) == [True, True]


async def test_one_look_serves_all_requests_whose_runs_ended_elsewhere() -> None:
    journal = Journal()
    waits = ResultWait(journal.read, every=0.001)
    waiting = [asyncio.create_task(waits.until_ended(run_id, 60, ADA)) for run_id in "12"]
    await begun(waits, 2)
    journal.looks.clear()
    looking = asyncio.create_task(waits.run())
    while not journal.looks:
        await asyncio.sleep(0)
    journal.ended = ["1", "2"]
    assert await asyncio.gather(*waiting) == [True, True]
    assert journal.looks[0] == ["1", "2"]
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking


async def test_a_run_that_ended_just_before_is_not_waited_for() -> None:
    journal = Journal()
    journal.ended = ["1"]
    assert await ResultWait(journal.read).until_ended("1", 60, ADA)


async def test_a_request_does_not_wait_longer_than_it_wants_or_if_too_many_do() -> None:
    waits = ResultWait(Journal().read, most=1)
    assert not await waits.until_ended("1", 0, ADA)
    assert await waits.until_ended("1", 0.001, ADA)
    waiting = asyncio.create_task(waits.until_ended("1", 60, ADA))
    await begun(waits, 1)
    assert not await waits.until_ended("1", 60, NOBODY)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (waits._waiting, waits._shares.taken) == ({}, 0), "a client that leaves stops waiting"


@table(
    ("phase", "wakes_at", "seconds"),
    [
        (None, None, SOON),
        (Phase.READY, None, SOON),
        (Phase.RUNNING, None, SOON),
        (Phase.PARKED, None, LATER),
        (Phase.WAITING, None, LATER),
        (Phase.WAITING, 103.0, 3),
        (Phase.WAITING, 1e9, LATER),
        (Phase.WAITING, 50.0, SOON),
    ],
)
async def test_when_a_caller_asks_again(phase: Phase | None, wakes_at: float | None, seconds: int) -> None:
    state = None if phase is None else DurableState(phase, None, None, wakes_at, 1, 0)
    assert retry_after(state, 100.0) == seconds


async def test_a_client_that_leaves_its_trigger_stops_waiting() -> None:
    waiting: asyncio.Future[tuple[Any, bool]] = asyncio.get_running_loop().create_future()

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    otherwise: Any = ("as it was", False)
    assert await until_gone(waiting, receive, otherwise) == otherwise
    assert waiting.cancelled()
