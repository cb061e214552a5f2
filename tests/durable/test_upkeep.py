"""When durable runs are taken over from a server process, by the clock of the one that looks."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, Engine
from structlog.testing import capture_logs

from postern.api.durable_metrics import durable_metrics
from postern.api.metric_families import families
from postern.durable.upkeep import Upkeep
from postern.journal.durable_runs import NODE
from postern.journal.durable_tables import durable_runs
from postern.journal.durable_upkeep import FRESH, SILENCE
from postern.journal.schema import runs
from postern.journal.server_processes import ServerProcess, beat, interrupt, read_processes
from tests.journal.engines import add, all_of, empty_journal
from tests.journal.test_durable_upkeep import durable_row, of, put

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def engine(database_url: str) -> Any:
    made = empty_journal(database_url)
    yield made
    made.dispose()


class Place:
    """A process that looks, with a clock of its own."""

    def __init__(self, engine: Engine, alive: bool = True) -> None:
        self.engine = engine
        self.time = 100.0
        self.ready = self.returned = 0
        self.alive = alive
        own = ServerProcess("b", "here", "1:1", 0.0)
        self.upkeep = Upkeep(own, self.do, self.do, self._ready, self._returned, lambda: 50.0, lambda _: self.alive)

    async def do(self, operation: Callable[[Connection], Any]) -> Any:
        with self.engine.begin() as connection:
            return operation(connection)

    async def look(self, seconds: float, beats: int | None = None, machine: str = "there") -> None:
        """Look after so many seconds. `beats` is the beat of the process `a` then."""
        self.time += seconds
        if beats is not None:
            await self.do(lambda connection: beat(connection, ServerProcess("a", machine, "7:7", 0.0, beats)))
        await self.upkeep.look(await self.do(read_processes), self.time)

    def _ready(self) -> None:
        self.ready += 1

    async def _returned(self) -> None:
        self.returned += 1


async def test_runs_of_a_silent_process_are_taken_over_after_10_seconds(engine):
    put(engine, durable_row("1"), durable_row("2", "waiting", owner="a", reason="sleeping"))
    place = Place(engine)
    await place.look(2, beats=1)
    for count in range(2, 6):
        await place.look(2, beats=count)
    with capture_logs() as logs:
        for _ in range(int(SILENCE / 2) - 1):
            await place.look(2)
        assert of(engine, "1")[0] == "running"
        assert logs == []
        await place.look(2)
        await place.look(2)
    assert of(engine, "1") == ("ready", None, 1, "Waiting")
    assert of(engine, "2") == ("waiting", None, 0, "Waiting")
    assert [(line["event"], line["node"], line["runs"], line["waiting"]) for line in logs] == [
        ("durable-runs-taken-over", "a", 1, 1)
    ]
    assert place.upkeep.takeovers == 1


async def test_runs_that_wait_for_a_run_with_the_same_key_are_counted_by_workflow(engine):
    put(engine, durable_row("1", concurrency_key="k"), durable_row("2", "ready", attempt=0, concurrency_key="k"))
    place = Place(engine)
    await place.look(2)
    figures = durable_metrics(dict, lambda: 0, lambda: place.upkeep.waiting_for_key)()
    samples = [sample for each in families("p", figures) for sample in each.samples]
    found = {sample.name: (sample.labels.get("workflow"), sample.value) for sample in samples}
    assert found["postern_durable_runs_waiting_for_key"] == ("hello", 1)


async def test_a_process_of_this_machine_that_has_ended_is_noticed_at_once(engine):
    put(engine, durable_row("1"))
    place = Place(engine, alive=False)
    await place.look(2, beats=1, machine="here")
    assert of(engine, "1")[0] == "ready"


async def test_its_end_is_noticed_as_fast_if_a_process_of_the_release_before_has_deleted_its_row(engine):
    """That one knows nothing of its durable runs."""
    put(engine, durable_row("1"), durable_row("2", "waiting", owner="a", reason="sleeping"))
    place = Place(engine)
    for count in range(3):
        await place.look(2, beats=count, machine="here")
    await place.do(lambda connection: interrupt(connection, "a", 50.0))
    await place.look(2)
    assert of(engine, "1")[0] == "running", "it only stood still"
    place.alive = False
    await place.look(2)
    assert of(engine, "1") == ("ready", None, 1, "Waiting")
    assert of(engine, "2") == ("waiting", None, 0, "Waiting")


async def test_an_outage_of_the_journal_is_no_silence_of_the_others(engine):
    put(engine, durable_row("1"))
    place = Place(engine)
    await place.look(2, beats=1)
    await place.look(600)
    assert of(engine, "1")[0] == "running"


async def test_owners_without_a_row_are_taken_over_too(engine):
    put(engine, durable_row("1"))
    place = Place(engine)
    for _ in range(5):
        await place.look(2)
    assert of(engine, "1")[0] == "running"
    for _ in range(2):
        await place.look(2)
    assert of(engine, "1")[0] == "ready"


async def test_who_could_not_look_for_long_checks_what_it_still_holds(engine):
    place = Place(engine)
    await place.look(2)
    assert (place.returned, place.ready) == (1, 1)
    for _ in range(3):
        await place.look(2)
    assert place.returned == 1
    await place.look(FRESH + 0.1)
    assert place.returned == 2


async def test_runs_that_read_interrupted_are_taken_up_again_within_10_seconds(engine):
    place = Place(engine)
    await place.look(2)
    put(engine, durable_row("1", "ready"), state="Interrupted", ended_at=40.0)
    with capture_logs() as logs:
        for _ in range(5):
            await place.look(2)
    assert of(engine, "1")[3] == "Waiting"
    assert [(line["event"], line["runs"]) for line in logs] == [("durable-runs-taken-up-again", 1)]


async def test_a_run_that_failed_by_it_is_in_the_log_and_runs_are_counted(engine):
    put(engine, durable_row("1", deaths=4), durable_row("2", "ready"))
    place = Place(engine, alive=False)
    with capture_logs() as logs:
        await place.look(2, beats=1, machine="here")
    assert [line["event"] for line in logs] == ["durable-runs-taken-over", "run-ended"]
    assert logs[1]["error"] == "too-many-crashes"
    await place.look(15)
    assert place.upkeep.phases == {"ready": 1}
    assert all_of(engine, runs)[0]["node"] == NODE
    add(engine, durable_runs, durable_row("3", "ended"))
    await place.look(15)
    assert place.upkeep.phases == {"ready": 1}
