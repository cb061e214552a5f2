"""Who gets a connection, and when: nothing waits for what its own waiting holds."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from postern.call_chain import MOST_DEPTH
from postern.connections import places as module
from postern.connections.places import (
    CONNECTION,
    MOST,
    MOST_OF_ENTRY,
    PARTS,
    TOKEN,
    TOO_DEEP,
    Places,
    TooManyCalls,
    level_of,
    most_for,
    most_of_all,
    most_of_entry,
)

pytestmark = pytest.mark.anyio

ENTRIES = ("workflow a", "workflow b", "triggers.c")


@pytest.mark.parametrize("most", [PARTS, 256, MOST])
def test_each_level_may_use_more_than_the_one_before_and_the_last_one_all(most: int):
    limits = [most_of_all(most, level) for level in range(1, TOKEN + 1)]
    assert limits[0] > 0
    assert all(less < more for less, more in pairwise(limits))
    assert limits[-1] == most


def test_each_depth_may_use_more_of_an_entry_than_the_one_before():
    limits = [most_of_entry(level) for level in range(1, TOO_DEEP + 1)]
    assert limits[0] == MOST_OF_ENTRY
    assert all(less < more for less, more in pairwise(limits))
    assert {most_of_entry(CONNECTION), most_of_entry(TOKEN)} == {MOST_OF_ENTRY}


@pytest.mark.parametrize(("depth", "level"), [(1, 1), (MOST_DEPTH, MOST_DEPTH), (MOST_DEPTH + 1, TOO_DEEP)])
def test_the_level_of_a_call_is_its_depth(depth: int, level: int):
    assert level_of(depth) == level
    assert level_of(depth) < CONNECTION < TOKEN


@pytest.mark.parametrize(("descriptors", "most"), [(64, PARTS), (1024, 256), (20_000, MOST)])
def test_a_process_that_may_open_few_files_has_fewer_connections(descriptors: int, most: int):
    assert most_for(descriptors) == most


async def chain(places: Places, run: str, entries: list[str]) -> None:
    """A run that calls a workflow, which calls the next, and so on. The last one uses a connection, which signs in."""
    held: list[tuple[str, str]] = []
    for level, entry in [*enumerate(entries, start=1), (CONNECTION, "connections.x"), (TOKEN, "a token endpoint")]:
        who = await places.take(entry, level, run)
        held.append((entry, who))
        await asyncio.sleep(0)
    for entry, who in reversed(held):
        places.give_back(entry, who)
        await asyncio.sleep(0)


@given(
    chains=st.lists(st.lists(st.sampled_from(ENTRIES), max_size=MOST_DEPTH), max_size=300),
    most=st.sampled_from([PARTS, PARTS + 7, 2 * PARTS]),
)
def test_every_chain_ends_however_many_there_are(chains: list[list[str]], most: int):
    """All call each other through few connections, and each holds its connections until what it called has ended."""

    async def all_of_them() -> Places:
        places = Places(most)
        places.caller_of = lambda run: run[-1]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "MOST_OF_ENTRY", 2)
            patch.setattr(module, "STEP_OF_ENTRY", 1)
            tasks = [chain(places, f"run-{number}", each) for number, each in enumerate(chains)]
            async with asyncio.timeout(60):
                await asyncio.gather(*tasks)
        return places

    places = asyncio.run(all_of_them())
    assert (places._used, dict(places._used_by), dict(places._held), places._waiting) == (0, {}, {}, {})


async def waiting(places: Places, entry: str, level: int, order: list[str], run: str) -> "asyncio.Task[None]":
    async def take() -> None:
        await places.take(entry, level, run)
        order.append(run)

    task = asyncio.create_task(take())
    await asyncio.sleep(0)
    return task


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def one_each(monkeypatch: pytest.MonkeyPatch) -> Places:
    """Places of which each entry has one."""
    monkeypatch.setattr(module, "MOST_OF_ENTRY", 1)
    monkeypatch.setattr(module, "STEP_OF_ENTRY", 0)
    return Places()


async def test_the_deepest_call_gets_the_next_connection_and_else_the_first(one_each: Places):
    order: list[str] = []
    await one_each.take("workflow a", 1)
    tasks = [
        await waiting(one_each, "workflow a", level, order, run)
        for level, run in [(1, "first"), (2, "deep"), (1, "second"), (7, "deepest")]
    ]
    for _ in tasks:
        one_each.give_back("workflow a")
        await settled()
    assert order == ["deepest", "deep", "first", "second"]


async def test_entries_get_connections_in_turn(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "most_of_all", lambda most, level: 1)
    places = Places()
    order: list[str] = []
    await places.take("workflow x", 1)
    runs = [("workflow a", "a1"), ("workflow a", "a2"), ("workflow a", "a3"), ("workflow b", "b1")]
    for entry, run in runs:
        await waiting(places, entry, 1, order, run)
    for entry in ("workflow x", "workflow a", "workflow b", "workflow a"):
        places.give_back(entry)
        await settled()
    assert order == ["a1", "b1", "a2", "a3"]


@pytest.mark.parametrize("served", [False, True])
async def test_a_run_that_is_cancelled_while_it_waits_keeps_no_connection(one_each: Places, served: bool):
    order: list[str] = []
    await one_each.take("workflow a", 1)
    task = await waiting(one_each, "workflow a", 1, order, "cancelled")
    if served:  # both at once
        one_each.give_back("workflow a")
        task.cancel()
    else:
        task.cancel()
        await settled()
        one_each.give_back("workflow a")
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(10):
        await one_each.take("workflow a", 1)


async def test_too_many_waiting_runs_are_an_error_with_one_warning_and_each_run_counts_once(
    one_each: Places, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "MOST_WAITING", 2)
    order: list[str] = []
    await one_each.take("workflow a", 1)
    tasks = [await waiting(one_each, "workflow a", 1, order, run) for run in ("one", "two", "one", "two", "one")]
    with capture_logs() as logs:
        for _ in range(2):
            with pytest.raises(TooManyCalls):
                await one_each.take("workflow a", 1, "three")
    assert [(line["event"], line["entry"], line["runs_waiting"]) for line in logs] == [
        ("calls-exhausted", "workflow a", 2)
    ]
    deeper = await waiting(one_each, "workflow a", 2, order, "three")  # a run that others wait for
    for task in (*tasks, deeper):
        task.cancel()
    await settled()
    await waiting(one_each, "workflow a", 1, order, "three")
    one_each.give_back("workflow a")
    await settled()
    assert order == ["three"]


async def test_requests_of_connections_wait_however_many_there_are(one_each: Places, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST_WAITING", 1)
    order: list[str] = []
    await one_each.take("connections.x", CONNECTION)
    for run in ("1", "2", "3"):
        await waiting(one_each, "connections.x", CONNECTION, order, run)
    for _ in range(3):
        one_each.give_back("connections.x")
        await settled()
    assert order == ["1", "2", "3"]


async def test_one_caller_never_takes_the_last_connection_of_an_entry_and_callers_have_turns():
    places = Places()
    places.caller_of = lambda run: run[0]
    order: list[str] = []
    first = [asyncio.create_task(places.take("connections.x", CONNECTION, f"a{number}")) for number in range(200)]
    await settled()
    taken = sum(each.done() for each in first)
    assert taken == MOST_OF_ENTRY * 3 // 4
    assert await places.take("connections.x", CONNECTION, "b1") == "b"
    others = [await waiting(places, "connections.x", CONNECTION, order, run) for run in ("a", "b", "b", "c")]
    assert order == ["b", "b", "c"], "the others do not wait"
    for _ in range(200):
        places.give_back("connections.x", "a")
        await settled()
    assert all(each.done() for each in [*first, *others])
    places.give_back("connections.x", "a")
    for who in "bbbc":
        places.give_back("connections.x", who)
    assert (places._used, dict(places._held), places._waiting) == (0, {}, {})


async def test_when_an_entry_is_full_a_caller_who_comes_later_gets_the_next_but_one(one_each: Places):
    one_each.caller_of = lambda run: run[0]
    order: list[str] = []
    who = await one_each.take("connections.x", CONNECTION, "a0")
    for run in ("a1", "a2", "a3", "b1"):
        await waiting(one_each, "connections.x", CONNECTION, order, run)
    for _ in range(4):
        one_each.give_back("connections.x", who)
        await settled()
        who = order[-1][0]
    assert order == ["a1", "b1", "a2", "a3"]


async def test_the_server_itself_has_no_share():
    places = Places()
    assert [await places.take("connections.x", CONNECTION) for _ in range(MOST_OF_ENTRY)] == [""] * MOST_OF_ENTRY
