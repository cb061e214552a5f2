"""The watch: two server processes, a restart, a database that is away, and floods."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, Engine, func, select
from structlog.testing import capture_logs

from postern.errors import problem
from postern.ids import id_at
from postern.journal.finding import Finding
from postern.journal.known_callers import facts_of, known_since
from postern.journal.schema import findings, known_callers
from postern.security.findings.detector import MOST_OF_KIND
from postern.security.findings.watch import MOST_WAITING, Watch
from postern.security.observed import Admission, Rejection, Seen
from tests.databases import put_sqlite
from tests.journal.engines import all_of, empty_journal
from tests.security.findings.world import ADA, APP, AWAY, DAY, HOME, NOW, OFFICE, admission, caller, rejection

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

T = TypeVar("T")
COLLEAGUES = ("lisa", "tom", "kim")


@dataclass
class Node:
    """A server process with a clock of its own, on a shared database."""

    engine: Engine
    name: str = "one"
    at: float = NOW
    away: bool = False
    lost_answers: int = 0
    new: list[Finding] = field(default_factory=list)
    watch: Watch = field(init=False)

    def __post_init__(self) -> None:
        self.watch = Watch(
            self.read, self.write, self.name, lambda: ["hello"], self._found, now=lambda: self.at, sleep=self._sleep
        )

    def _found(self, new: Sequence[Finding]) -> None:
        self.new += new

    async def _sleep(self, _: float) -> None:
        await asyncio.sleep(0)

    async def read(self, operation: Callable[[Connection], T], /) -> T:
        if self.away:
            raise problem("journal-unavailable")
        with self.engine.begin() as connection:
            return operation(connection)

    async def write(self, operation: Callable[[Connection], T], /) -> T:
        result = await self.read(operation)
        if self.lost_answers:
            self.lost_answers -= 1
            raise problem("journal-unavailable")
        return result

    async def sees(self, *events: Admission | Rejection, after: float = 5.0) -> list[str]:
        """The kinds of new findings."""
        self.watch.listen(
            Seen(
                [each for each in events if isinstance(each, Admission)],
                [each for each in events if isinstance(each, Rejection)],
            )
        )
        self.at += after
        self.new.clear()
        await self.watch.step()
        return sorted(each.kind for each in self.new)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = empty_journal(put_sqlite(tmp_path / "findings.db"))
    yield engine
    engine.dispose()


def rows(engine: Engine, table: Any) -> int:
    with engine.begin() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


async def used_to(node: Node, days: int = 25) -> None:
    """Ada made a request a day, and the application too."""
    for _ in range(days):
        token = str(node.at)
        await node.sees(
            admission(node.at, replace(ADA, token_id=token)),
            admission(node.at, replace(APP, token_id=token)),
            after=DAY,
        )


async def test_uses_are_noted_since_the_server_started_first(engine: Engine):
    node = Node(engine)
    await node.sees()
    await Node(engine, at=NOW + DAY).sees()
    with engine.begin() as connection:
        assert known_since(connection) == NOW + 5


async def test_a_finding_is_written_within_five_seconds_of_its_request(engine: Engine):
    node = Node(engine)
    assert await node.sees(admission(NOW), admission(NOW + 1, address=AWAY), after=4.0) == ["token-from-two-networks"]


async def test_requests_of_the_last_moments_wait_for_refusals_that_come_later(engine: Engine):
    node = Node(engine)
    await node.sees(admission(NOW + 1), after=1.5)
    assert await node.sees(rejection(NOW, None, "signature", count=5), after=3) == ["success-after-refusals"]


async def test_what_one_server_process_noted_another_one_knows(engine: Engine):
    one, two = Node(engine), Node(engine, "two")
    await used_to(one)
    two.at = one.at
    assert await two.sees(admission(two.at, address=AWAY)) == ["new-network"]
    two.at += 60
    await two.sees()
    one.at = two.at + DAY
    assert await one.sees(admission(one.at, address=AWAY)) == []


async def test_both_find_it_on_the_same_day_and_it_is_one_finding(engine: Engine):
    one, two = Node(engine), Node(engine, "two")
    await used_to(one)
    two.at = one.at
    assert await one.sees(admission(one.at, address=AWAY)) == ["new-network"]
    assert await two.sees(admission(two.at, replace(ADA, token_id="x"), address=HOME)) == []
    [row] = all_of(engine, findings)
    assert row["count"] == 2
    assert "192.0.2.0/24" in row["evidence"]
    assert "198.51.100.0/24" in row["evidence"]


async def test_after_a_restart_everything_is_known(engine: Engine):
    node = Node(engine)
    await used_to(node)
    await node.watch.aclose()
    again = Node(engine, "again", at=node.at)
    assert await again.sees(admission(again.at, address=OFFICE), admission(again.at, APP, address=OFFICE)) == []
    assert await again.sees(admission(again.at, replace(ADA, token_id="next"), address=AWAY)) == ["new-network"]


async def test_at_the_stop_everything_is_written_and_what_cannot_be_is_said(engine: Engine):
    node = Node(engine)
    await node.sees()
    seen = [rejection(node.at, None, "signature", address=f"10.{n // 250}.{n % 250}.1", count=100) for n in range(500)]
    node.watch.listen(Seen([], seen))
    await node.watch.aclose()
    assert sum(row["count"] for row in all_of(engine, findings)) == 50_000
    node.watch.listen(Seen([], seen))
    node.away = True
    with capture_logs() as logs:
        await node.watch.aclose()
    assert [line["event"] for line in logs] == ["findings-not-written", "findings-lost"]


async def test_what_is_known_is_written_at_most_once_a_minute(engine: Engine):
    node = Node(engine)
    await node.sees()
    before = rows(engine, known_callers)
    await node.sees(admission(node.at), after=30)
    assert rows(engine, known_callers) == before
    await node.sees(after=31)
    with engine.begin() as connection:
        assert len(facts_of(connection, ["11111111-1111-4111-8111-111111111111/ada"])) == 3


async def test_while_the_database_is_away_nothing_is_lost_and_counts_stay_right(engine: Engine):
    node = Node(engine)
    await used_to(node)
    node.away = True
    with capture_logs() as logs:
        assert await node.sees(admission(node.at, address=AWAY)) == []
        assert await node.sees(admission(node.at, replace(ADA, token_id="y"), address=AWAY)) == []
    assert [line["event"] for line in logs] == ["findings-not-written"]
    node.away, node.lost_answers = False, 2
    assert await node.sees() == []  # it is written, but the answer is lost
    assert await node.sees() == []
    assert await node.sees() == ["new-network"]
    [row] = all_of(engine, findings)
    assert row["count"] == 1
    await node.watch.step(closing=True)
    with engine.begin() as connection:
        uses = facts_of(connection, ["11111111-1111-4111-8111-111111111111/ada"])
    assert {fact.value: each.count for fact, each in uses.items() if fact.fact == "workflow"} == {"hello": 27}


@pytest.mark.parametrize("address", [AWAY, "192.0.77.1"], ids=["network", "range"])
async def test_another_server_process_knows_the_networks_of_the_installation(engine: Engine, address: str):
    one = Node(engine)
    await one.sees(admission(one.at), *(admission(one.at, caller(name, name), address=AWAY) for name in COLLEAGUES))
    await one.watch.step(closing=True)
    other = Node(engine, "other", at=one.at)
    assert await other.sees(rejection(other.at, address=address)) == []
    assert await other.sees(admission(other.at, address=address)) == []
    assert await other.sees(admission(other.at, address="198.51.7.7")) == ["token-from-two-networks"]


async def test_memory_is_bounded_while_the_database_is_away(engine: Engine):
    node = Node(engine, away=True)
    events = [admission(NOW + number / 1000) for number in range(MOST_WAITING + 500)]
    await node.sees(*events)
    assert (len(node.watch._waiting), node.watch.lost) == (MOST_WAITING, 500)
    node.away = False
    with capture_logs() as logs:
        await node.sees()
    assert next(line for line in logs if line["event"] == "findings-lost")["events"] == 500


async def test_what_the_database_refuses_does_not_stay_in_the_way(engine: Engine):
    node = Node(engine)
    await node.sees()

    async def refuse(_: object) -> None:
        raise ValueError("secret")

    write, node.watch.write = node.watch.write, refuse  # type: ignore[assignment]
    with capture_logs() as logs:
        await node.sees(admission(node.at), admission(node.at + 1, address=AWAY))
    assert [(line["event"], line["error"]) for line in logs] == [("findings-refused", "ValueError")]
    node.watch.write = write
    assert await node.sees(admission(node.at, ADA, address=HOME)) == ["token-from-two-networks"]


async def test_the_task_looks_at_what_comes_until_it_is_cancelled(engine: Engine):
    node = Node(engine)
    task = asyncio.create_task(node.watch.run())
    node.watch.listen(Seen([admission(NOW), admission(NOW + 1, address=AWAY)], []))
    node.at += 10
    while not node.new:
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert [each.kind for each in node.new] == ["token-from-two-networks"]


async def flood(node: Node, requests: int) -> None:
    """Rejected requests from many addresses, with names of many callers, as the windows of refusals count them."""
    a_second = 100
    for second in range(requests // (a_second * 100)):
        rejected = [
            rejection(
                node.at,
                replace(ADA, object_id=f"caller-{second * a_second + number}", token_id=id_at(second)),
                "signature",
                workflow=f"w{number % 12}",
                address=f"10.{number % 200}.{second % 250}.{number}",
                count=100,
                verified=number % 2 == 0,
            )
            for number in range(a_second)
        ]
        await node.sees(*rejected, after=1.0)
    node.at += 60
    await node.watch.step(closing=True)


async def test_a_flood_of_rejected_requests_makes_few_findings_and_loses_no_count(
    engine: Engine, campaign: Callable[[int, int], int]
):
    requests = campaign(20_000, 1_000_000)
    node = Node(engine)
    await flood(node, requests)
    stored = all_of(engine, findings)
    assert 0 < len(stored) <= 5 * (MOST_OF_KIND + 1)
    from_addresses = [row["count"] for row in stored if row["kind"] == "refusals-from-address"]
    assert sum(from_addresses) == requests  # no count is lost
    assert rows(engine, known_callers) < 10  # refused callers are not known callers
    assert len(node.watch._unwritten) == len(node.watch._waiting) == 0
