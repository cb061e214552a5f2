"""Reviews of a running server: what the directory says is remembered for a while."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection

from postern.access.directory import Looked
from postern.assembly.review import FAULT_REMEMBERED, REMEMBERED, Reviews
from postern.journal.known_callers import WorkflowUse
from postern.journal.reading.access_facts import AccessFacts
from postern.settings import load_settings

pytestmark = pytest.mark.anyio

TENANT = "11111111-0000-4000-8000-000000000001"
ADA, LISA = (f"00000000-0000-4000-8000-00000000000{n}" for n in (1, 2))


class World:
    """A directory, a journal and a clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.fault = ""
        self.asked: list[list[str]] = []
        self.facts = AccessFacts()
        settings = load_settings({}, defaults={"tenant_id": TENANT, "audience": "api://x", "operators": ADA})
        self.reviews = Reviews(settings, list, self.read, self.look_up, lambda: self.now)

    async def read(self, query: Callable[[Connection], Any]) -> AccessFacts:
        assert callable(query)
        return self.facts

    async def look_up(self, ids: Sequence[str]) -> Looked:
        self.asked.append(list(ids))
        return Looked({}, self.fault)


async def test_the_directory_is_asked_once_in_a_while():
    world = World()
    for _ in range(3):
        await world.reviews.make()
    assert world.asked == [[ADA]]
    world.now += REMEMBERED
    await world.reviews.make()
    assert len(world.asked) == 2


async def test_it_is_asked_again_for_callers_that_were_not_looked_up():
    world = World()
    await world.reviews.make()
    world.facts = AccessFacts((WorkflowUse(TENANT, LISA, "open", 1.0, 2.0, 1),))
    await world.reviews.make()
    assert world.asked == [[ADA], [ADA, LISA]]


async def test_a_directory_that_could_not_be_asked_is_asked_again_soon():
    world = World()
    world.fault = "no answer"
    await world.reviews.make()
    assert (await world.reviews.make()).directory == "no answer"
    world.now += FAULT_REMEMBERED
    world.fault = ""
    assert (await world.reviews.make()).directory == ""
    assert len(world.asked) == 2
