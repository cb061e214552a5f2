"""Callers of the run API share the readers, so that none of them keeps the others from reading."""

import asyncio
from collections import Counter
from contextlib import suppress
from random import Random

import pytest

from postern.journal.reading.turns import Turns
from postern.journal.shares import ANONYMOUS, Holder
from tests.table import table

pytestmark = pytest.mark.anyio

ADA, BOB = ("t", "ada"), ("t", "bob")
ONE, OTHER, THIRD = ((ANONYMOUS, f"192.0.2.{number}") for number in (1, 2, 3))


class Reads:
    """Reads that go on until they are ended by hand."""

    def __init__(self) -> None:
        self.turns = Turns(3, 2)
        self.reading: list[Holder] = []
        self.begun: list[Holder] = []
        self.go_on: dict[Holder, asyncio.Semaphore] = {}
        self.tasks: list[asyncio.Task[None]] = []

    async def begin(self, *callers: Holder) -> None:
        self.tasks += [asyncio.create_task(self._read(who)) for who in callers]
        await self.settle()

    async def end(self, who: Holder) -> None:
        self.go_on[who].release()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def _read(self, who: Holder) -> None:
        async with self.turns.turn(who):
            self.begun.append(who)
            self.reading.append(who)
            try:
                await self.go_on.setdefault(who, asyncio.Semaphore(0)).acquire()
            finally:
                self.reading.remove(who)


@table(
    ("callers", "reading"),
    [
        ([ADA], {ADA: 1}),
        ([ADA] * 9, {ADA: 2}),
        ([ADA] * 9 + [BOB], {ADA: 2, BOB: 1}),
        ([ADA, BOB] * 9, {ADA: 2, BOB: 1}),
        ([ONE] * 9, {ONE: 1}),
        ([ONE] * 9 + [OTHER] * 9, {ONE: 1, OTHER: 1}),
        ([ONE, OTHER, THIRD] * 9, {ONE: 1, OTHER: 1}),
        ([ONE, OTHER, THIRD] * 9 + [ADA], {ONE: 1, OTHER: 1, ADA: 1}),
    ],
)
async def test_no_caller_and_no_group_reads_more_than_its_share(callers, reading):
    reads = Reads()
    await reads.begin(*callers)
    assert Counter(reads.reading) == reading
    for task in reads.tasks:
        task.cancel()
    await asyncio.gather(*reads.tasks, return_exceptions=True)


async def test_callers_who_wait_get_their_turns_one_after_the_other():
    reads = Reads()
    await reads.begin(*[ONE] * 50, *[OTHER] * 50, *[THIRD] * 5)
    for _ in range(12):
        await reads.end(reads.reading[0])
    assert [Counter(reads.begun[start : start + 3]) for start in (2, 5, 8)] == [Counter([ONE, OTHER, THIRD])] * 3
    for task in reads.tasks:
        task.cancel()
    await asyncio.gather(*reads.tasks, return_exceptions=True)


async def test_whatever_is_cancelled_every_turn_is_given_back():
    for seed in range(20):
        random, reads = Random(seed), Reads()
        await reads.begin(*random.choices([ADA, BOB, ONE, OTHER, THIRD], k=40))
        for task in random.sample(reads.tasks, 20):
            task.cancel()
            if random.random() < 0.5:
                await reads.settle()
        for _ in range(200):
            if not reads.reading:
                break
            await reads.end(random.choice(reads.reading))
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*reads.tasks, return_exceptions=True)
        turns = reads.turns
        assert (turns._total, turns._reading, turns._waiting, reads.reading) == (0, Counter(), {}, [])
