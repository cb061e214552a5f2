"""The revocations of a server process: read again and again, applied at once, and closed when they are too old."""

import asyncio
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from postern.access import Caller, Refused
from postern.errors import Problem
from postern.journal.journal import unavailable
from postern.journal.revocations import Kind, Rule
from postern.security.revocation import revocations as module
from postern.security.revocation.revocations import PATIENCE, POLL, Revocations
from tests.identity.minting import Clock

pytestmark = pytest.mark.anyio

NOW = 1_700_000_000.0
LISA = Caller("user", object_id="lisa", tenant_id="t", issued_at=NOW - 300)
GIL = Caller("user", object_id="gil", tenant_id="t", issued_at=NOW - 300)
OF_LISA = Rule(Kind.CALLER, "t", "lisa", NOW)
OF_GIL = Rule(Kind.CALLER, "t", "gil", NOW)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Server:
    """The revocations of a process, its clocks, and the table that it reads."""

    def __init__(self) -> None:
        self.clock = Clock(1000.0)
        self.revocations = Revocations(now=lambda: NOW, clock=self.clock)
        self.table: list[Rule] = []
        self.away = False
        self.told: list[set[str]] = []
        self.revocations.on_revoked(
            lambda refuses: self.told.append({each.object_id for each in (LISA, GIL) if refuses(each)})
        )

    async def read(self, query: Any, *, seconds: float) -> list[Rule]:
        if self.away:
            raise unavailable()
        return list(self.table)

    async def look(self) -> None:
        await self.revocations.look(self.read)

    def refuses(self, caller: Caller) -> bool:
        try:
            self.revocations.check(caller)
        except Refused:
            return True
        return False


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(module, "log", structlog.get_logger("fresh"))  # loggers remember how they were configured first
    return Server()


async def test_nothing_is_known_before_the_first_read(server: Server):
    assert not server.revocations.known
    with pytest.raises(Problem, match="accepts no access token"):
        server.revocations.check(LISA)


async def test_what_is_read_is_refused_and_whoever_remembers_callers_is_told(server: Server):
    server.table = [OF_LISA]
    await server.look()
    assert server.refuses(LISA)
    assert not server.refuses(GIL)
    assert server.told == [{"lisa"}]


async def test_the_same_again_is_told_to_nobody_and_what_is_taken_back_neither(server: Server):
    server.table = [OF_LISA]
    await server.look()
    await server.look()
    server.table = []
    await server.look()
    assert server.told == [{"lisa"}]
    assert not server.refuses(LISA)


async def test_a_stricter_revocation_of_the_same_person_is_told_again(server: Server):
    for rule in (OF_LISA, Rule(Kind.CALLER, "t", "lisa", NOW, NOW + 60)):
        server.table = [*server.table, rule]
        await server.look()
    assert server.told == [{"lisa"}, {"lisa"}]


async def test_what_is_made_here_is_refused_at_once(server: Server):
    await server.look()
    server.revocations.tighten(OF_LISA)
    assert server.refuses(LISA)
    assert server.told == [{"lisa"}]


async def test_what_is_made_here_adds_to_what_was_read(server: Server):
    server.table = [OF_GIL]
    await server.look()
    server.revocations.tighten(OF_LISA)
    assert server.refuses(LISA)
    assert server.refuses(GIL)


async def test_a_read_that_began_before_does_not_take_back_what_was_made_here(server: Server):
    """The read saw the table as it was before the revocation was committed."""
    await server.look()
    began = asyncio.Event()
    goes_on = asyncio.Event()

    async def slow(query: Any, *, seconds: float) -> list[Rule]:
        began.set()
        await goes_on.wait()
        return []

    reading = asyncio.create_task(server.revocations.look(slow))
    await began.wait()
    server.clock.at += 0.1
    server.revocations.tighten(OF_LISA)
    goes_on.set()
    await reading
    assert server.refuses(LISA)
    server.clock.at += 0.1
    server.table = [OF_LISA]
    await server.look()
    assert server.refuses(LISA)


async def test_a_read_that_began_before_another_one_gives_nobody_access_back(server: Server):
    """Two reads overlap where a revocation is taken back here; a third process has revoked someone meanwhile."""
    await server.look()
    server.clock.at += 0.2
    server.table = [OF_LISA]
    await server.look()
    server.revocations.apply([], server.clock.at - 0.1)
    assert server.refuses(LISA)


async def test_a_process_that_could_not_read_for_thirty_seconds_refuses_everyone(server: Server):
    await server.look()
    server.away = True
    server.clock.at += PATIENCE - 0.1
    await server.look()
    server.revocations.check(LISA)
    server.clock.at += 0.1
    with capture_logs() as logs:
        await server.look()
        await server.look()
    assert [line["event"] for line in logs] == ["revocations-unavailable"]
    assert server.told == [{"lisa", "gil"}]
    with pytest.raises(Problem) as caught:
        server.revocations.check(GIL)
    assert (caught.value.status, caught.value.code) == (503, "revocations-unavailable")
    assert caught.value.headers["Retry-After"] == "5"
    with pytest.raises(Problem):
        await server.revocations.wait()


async def test_a_process_that_was_stopped_is_closed_until_it_has_read(server: Server):
    await server.look()
    server.clock.at += PATIENCE
    known = []

    async def read(query: Any, *, seconds: float) -> list[Rule]:
        known.append(server.revocations.known)
        return []

    await server.revocations.look(read)
    assert known == [False]
    assert server.revocations.known


async def test_it_opens_again_with_the_next_read(server: Server):
    await server.look()
    server.away = True
    server.clock.at += PATIENCE
    await server.look()
    server.away, server.table = False, [OF_LISA]
    await server.look()
    assert server.refuses(LISA)
    assert not server.refuses(GIL)


async def test_a_read_never_takes_longer_than_the_time_that_is_left(server: Server):
    seconds_given = []

    async def read(query: Any, *, seconds: float) -> list[Rule]:
        seconds_given.append(seconds)
        raise unavailable()

    await server.look()
    for left in (20.0, 2.0):
        server.clock.at = 1000.0 + PATIENCE - left
        await server.revocations.look(read)
    assert seconds_given == [module.READ_SECONDS, 2.0]


async def test_a_row_that_cannot_be_understood_closes_the_process_like_a_database_that_is_away(server: Server):
    await server.look()

    async def read(query: Any, *, seconds: float) -> list[Rule]:
        raise ValueError("no such kind")

    server.clock.at += PATIENCE
    with capture_logs() as logs:
        await server.revocations.look(read)
    assert [line["event"] for line in logs] == ["revocations-unavailable", "revocations-not-read"]
    assert not server.revocations.known


async def test_requests_of_a_server_that_has_just_started_wait_for_the_first_read(server: Server):
    waiting = asyncio.create_task(server.revocations.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    await server.look()
    await waiting


async def test_requests_do_not_wait_for_ever(server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "FIRST_READ", 0.0)
    with pytest.raises(Problem, match="accepts no access token"):
        await server.revocations.wait()


async def test_they_are_read_twice_a_second(server: Server):
    pauses = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await server.revocations.run(server.read, sleep)
    assert pauses == [POLL] * 3
    assert POLL <= 0.5


async def test_a_listener_that_fails_keeps_none_from_being_told(server: Server):
    def fails(_: Any) -> None:
        raise LookupError

    told = []
    server.revocations.on_revoked(fails)
    server.revocations.on_revoked(lambda refuses: told.append(refuses(LISA)))
    with capture_logs() as logs:
        server.revocations.tighten(OF_LISA)
    assert told == [True]
    assert [line["event"] for line in logs] == ["revocation-not-applied"]
