"""Rows are read seldom and are never old; uses are counted without a write for each."""

import asyncio
from dataclasses import replace

import pytest

from postern.errors import Problem
from postern.journal.signed_urls import Use
from postern.security.signed_urls import links as module
from postern.security.signed_urls.links import FRESH, STALE, Links
from tests.security.signed_urls.fakes import Clock, Table, row

pytestmark = pytest.mark.anyio

ROW = row()


def opened(table: Table, clock: Clock) -> Links:
    return Links(table.read, table.write, clock=clock, now=clock)


async def test_many_requests_at_once_read_one_row_once():
    table, clock = Table({("orders", "partner-x"): ROW}), Clock()
    links = opened(table, clock)
    assert set(await asyncio.gather(*(links.find("orders", "partner-x") for _ in range(50)))) == {ROW}
    for _ in range(50):
        await links.find("orders", "partner-x")
    assert table.reads == 1


async def test_a_url_that_another_process_revoked_is_known_as_revoked_within_a_second():
    table, clock = Table({("orders", "partner-x"): ROW}), Clock()
    links = opened(table, clock)
    await links.find("orders", "partner-x")
    revoked = replace(ROW, revoked_at=clock.now)
    table.rows["orders", "partner-x"] = revoked
    assert FRESH < 1
    clock.now += FRESH
    assert await links.find("orders", "partner-x") == revoked


async def test_one_that_was_revoked_here_is_read_again_at_once_also_while_it_is_being_read():
    table, clock = Table({("orders", "partner-x"): ROW}), Clock()
    links = opened(table, clock)
    reading = asyncio.ensure_future(links.find("orders", "partner-x"))
    await asyncio.sleep(0)
    links.forget("orders", "partner-x")
    table.rows["orders", "partner-x"] = replace(ROW, revoked_at=1.0)
    await reading
    found = await links.find("orders", "partner-x")
    assert found is not None
    assert found.revoked_at == 1.0


async def test_a_row_serves_for_a_while_if_the_database_is_away_and_an_unknown_one_never():
    table, clock = Table({("orders", "partner-x"): ROW}), Clock()
    links = opened(table, clock)
    await links.find("orders", "partner-x")
    table.away = True
    clock.now += STALE - 1
    assert await links.find("orders", "partner-x") == ROW
    clock.now += 1
    for link in ("partner-x", "another"):
        with pytest.raises(Problem) as away:
            await links.find("orders", link)
        assert away.value.code == "journal-unavailable"
    table.away = False
    assert await links.find("orders", "partner-x") == ROW


async def test_ids_of_one_workflow_are_nothing_in_another():
    links = opened(Table({("orders", "partner-x"): ROW}), Clock())
    assert await links.find("order", "partner-x") is None


async def test_the_rows_in_memory_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST_KEPT", 3)
    table = Table()
    links = opened(table, Clock())
    for number in range(5):
        await links.find("orders", str(number))
    assert len(links._known) == 3


async def test_uses_are_written_together_and_kept_while_nothing_can_be_written():
    table, clock = Table(), Clock()
    links = opened(table, clock)
    await links.flush()
    for _ in range(3):
        links.note_use("orders", "a")
    table.away = True
    await links.flush()
    clock.now += 1
    links.note_use("orders", "a")
    links.note_use("orders", "b")
    table.away = False
    await links.aclose()
    await links.flush()
    assert sorted(table.written) == [Use("orders", "a", 4, 1001.0), Use("orders", "b", 1, 1001.0)]
