"""A 202 is sent when the run is on disk with all that is needed to run it, and else nothing of it is."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from postern import anonymous, workflow
from postern.access import ANYONE, Caller, StartedBy
from postern.authoring.request import Request
from postern.connections.faults import ConnectionFault
from postern.durable.acceptance import Acceptance, take_back
from postern.durable.payload import unpacked
from postern.durable.seals import KeySeals, NoSeal, Seals
from postern.durable.waiting import Waiting
from postern.errors import Problem
from postern.ids import new_id
from postern.journal.durable_acceptance import Accepted, Ready, accept
from postern.journal.durable_acceptance import waiting as waiting_runs
from postern.journal.durable_outcomes import record_outcome
from postern.journal.durable_runs import Claimed, Hold, claim, take
from postern.journal.durable_tables import durable_runs
from postern.journal.idempotency_keys import KEPT_FOR
from postern.journal.journal import Journal
from postern.journal.run import Outcome, Run, State
from postern.journal.schema import idempotency_keys, runs
from postern.journal.writing.rows import facts
from postern.runs.idempotency import Key, fingerprint, key_of
from postern.runs.room import Room
from postern.runs.threads import Threads
from postern.trace import Trace
from tests.connections.sealing.ring import Ring
from tests.durable.test_seals import KEY
from tests.process import process_of_0001

pytestmark = [pytest.mark.anyio, pytest.mark.process]

LISA = Caller("user", "lisa", "tenant", scopes=frozenset({"a"}), roles=frozenset({"b"}))


@workflow(access=anonymous(), durable=True)
async def book(ctx, body: dict[str, str]) -> str:
    return "booked"


@workflow(access=anonymous(), durable=True, secure_inputs=True)
async def hidden(ctx, body: dict[str, str]) -> str:
    return "booked"


@workflow(access=anonymous())
async def inline(ctx, body: dict[str, str]) -> str:
    return "booked"


class Desk:
    """Acceptance on a journal. `heard` counts what was accepted and waits to be claimed."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.room = Room(Threads("workflow"))
        self.heard = self.reserved = 0
        self.node: str | None = None
        self.begun: list[Claimed | None] = []
        self.left = 1.0
        self.failed: BaseException | None = None

    def acceptance(self, seals: Seals | None = None, most: int = 100) -> Acceptance:
        return Acceptance(
            self.journal,
            self.room,
            seals or NoSeal(),
            lambda _: "digest",
            most,
            self,
            self._read,
            lambda: 1000.0,
            self._fail,
        )

    async def start(self, of: Any = book, body: bytes = b'{"a": "MARKER"}', key: str = "", **more: Any) -> Run:
        acceptance = more.pop("acceptance", None) or self.acceptance()
        request = more.pop("request", None) or Request("POST", f"/triggers/{of.name}", body=body)
        found = key_of(of, ANYONE, request, [key.encode()]) if key else None
        run: Run = await acceptance.start(of, ANYONE, request, more.pop("arguments", {}), new_id(), found, **more)
        return run

    async def rows(self, table: Any = runs) -> list[Any]:
        return list(await self.journal.read(lambda connection: connection.execute(select(table)).all()))

    async def count(self) -> tuple[int, int, int]:
        """How many runs, durable runs and keys there are."""

        return len(await self.rows()), len(await self.rows(durable_runs)), len(await self.rows(idempotency_keys))

    def reserve(self, workflow: Any) -> str | None:
        """See Places: `node` has a free one, if it is set."""
        self.reserved += self.node is not None
        return self.node

    def begin_reserved(self, claimed: Claimed | None) -> None:
        self.reserved -= 1
        self.begun.append(claimed)

    def accepted(self) -> None:
        self.heard += 1

    async def _read(self, run: Run, read: Callable[[], Any], seconds: float) -> tuple[Mapping[str, Any], float]:
        return read(), self.left

    async def _fail(self, run: Run, error: BaseException) -> Run:
        self.failed = error
        return run


@pytest.fixture
async def desk(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.chdir(tmp_path)  # the writer imports nothing from there
    journal = Journal(database_url)
    await journal.open()
    yield Desk(journal)
    await journal.aclose()


async def refused(starting: Any) -> tuple[str, int, Mapping[str, Any]]:
    with pytest.raises(Problem) as raised:
        await starting
    return raised.value.code, raised.value.status, raised.value.headers or {}


async def test_the_run_waits_on_disk_with_its_request_and_its_caller_hears_where_the_result_will_be(desk: Desk):
    run = await desk.start()
    outcome = run.outcome
    assert (outcome.state, outcome.status, desk.heard) == (State.WAITING, 202, 1)
    assert dict(outcome.headers) == {
        b"content-type": b"application/json",
        b"location": f"/runs/{run.id}/result".encode(),
        b"retry-after": b"1",
    }
    (row,), (kept,) = await desk.rows(), await desk.rows(durable_runs)
    assert (row.id, row.state, row.node, row.ended_at, row.status) == (run.id, "Waiting", "durable", None, None)
    assert (kept.phase, kept.attempt, kept.digest, kept.key_version, kept.owner) == ("ready", 0, "digest", None, None)
    assert unpacked(kept.request).request.body == b'{"a": "MARKER"}'


async def test_a_caller_that_preferred_not_to_wait_hears_that_it_was_heard_and_has_the_usual_timeout(desk: Desk):
    request = Request("POST", "/triggers/inline", body=b"{}")
    request._prefer = b"respond-async, wait=10"
    run = await desk.start(inline, request=request)
    assert dict(run.outcome.headers)[b"preference-applied"] == b"respond-async"
    (kept,) = await desk.rows(durable_runs)
    assert unpacked(kept.request).timeout == 120.0


async def test_with_a_key_nothing_of_a_secured_request_is_in_the_tables(desk: Desk):
    seals = KeySeals(Ring(v1=KEY))
    run = await desk.start(hidden, acceptance=desk.acceptance(seals))
    assert "MARKER" not in str([await desk.rows(table) for table in (runs, durable_runs, idempotency_keys)])
    (kept,) = await desk.rows(durable_runs)
    opened = unpacked(await seals.open(run.id, "request", kept.request, kept.key_version))
    assert (kept.key_version, opened.request.body) == ("v1", b'{"a": "MARKER"}')


async def test_a_repeated_key_gets_the_same_reply_marked_and_another_request_with_it_is_rejected(desk: Desk):
    first = await desk.start(key="k")
    again = await desk.start(key="k")
    assert (again.id, again.outcome.status, again.outcome.content) == (first.id, 202, first.outcome.content)
    assert again.outcome.headers == (*first.outcome.headers, (b"idempotent-replayed", b"true"))
    assert await refused(desk.start(key="k", body=b"{}")) == ("idempotency-key-reused", 422, {})
    assert (await desk.count(), desk.heard) == ((1, 1, 1), 1)


@pytest.mark.parametrize(
    ("of", "expected"), [(inline, 202), (hidden, "idempotency-key-reused")], ids=["open", "secured"]
)
async def test_a_key_that_is_repeated_at_a_process_of_release_0_1_runs_nothing_also_when_its_run_has_ended(
    desk: Desk, of: Any, expected: Any
):
    """It gets the 202 of the first request, from where 0.1 has the result. That of a secured workflow is known by
    another print, so it is rejected, as for inline runs."""
    request = Request("POST", f"/triggers/{of.name}", body=b"{}")
    run = await desk.start(of, request=request, key="k")
    accepted = run.outcome.content.decode()
    key = key_of(of, ANYONE, request, [b"k"])
    before = partial(process_of_0001.claim, scope=key.scope, fingerprint=fingerprint_of_0001(request), now=1001.0)
    for _ in range(2):  # while it waits, and when it has ended
        found = await desk.journal.write(partial(before, run_id=new_id()))
        if expected == 202:
            status, headers, content = found
            assert (status, content) == (202, accepted)
            assert ["location", f"/runs/{run.id}/result"] in headers
        else:
            assert found == expected
        for claimed in await desk.journal.write(partial(claim, node="here", limits={}, most=1)):
            run.outcome, run.ended_at = Outcome(State.SUCCEEDED, 200, b"1"), 1002.0
            hold = Hold(run.id, "here", claimed.attempt)
            assert await desk.journal.write(partial(record_outcome, facts=facts(run), hold=hold))
    assert (await desk.rows())[0].state == "Succeeded"


def fingerprint_of_0001(request: Request) -> str:
    """Release 0.1 has the plain one for secured workflows too."""
    return fingerprint(request.method, request.path, request.query_string, request.content_type, request.body)


async def test_50_equal_keys_at_once_are_one_run(desk: Desk):
    acceptance = desk.acceptance()
    found = await asyncio.gather(*(desk.start(key="k", acceptance=acceptance) for _ in range(50)))
    assert len({run.id for run in found}) == 1
    assert (await desk.count(), desk.heard) == ((1, 1, 1), 1)


async def test_more_than_may_wait_are_rejected_and_leave_nothing_but_their_repeated_keys_get_their_reply(desk: Desk):
    acceptance = desk.acceptance(most=2)
    first = await desk.start(key="k", acceptance=acceptance)
    await desk.start(acceptance=acceptance)
    for key in ("", "other"):
        assert await refused(desk.start(key=key, acceptance=acceptance)) == (
            "too-many-runs",
            429,
            {"Retry-After": "5"},
        )
    assert (await desk.start(key="k", acceptance=acceptance)).id == first.id
    assert (await desk.count(), desk.heard) == ((2, 2, 1), 2)


async def test_100_at_once_are_not_more_than_may_wait(desk: Desk):
    acceptance = desk.acceptance(most=7)
    found = await asyncio.gather(*(desk.start(acceptance=acceptance) for _ in range(100)), return_exceptions=True)
    assert sum(isinstance(each, Run) for each in found) == 7
    assert (await desk.count())[:2] == (7, 7)


async def test_what_waits_is_counted_once_in_a_while_and_more_often_while_no_more_may_wait():
    now, counts = [0.0], []

    async def read(query: Any) -> Ready:
        counts.append(now[0])
        return Ready(1, {})

    waiting = Waiting(read, 3, lambda: now[0])
    for step, expected in ((0.0, True), (0.5, True), (0.59, True), (0.6, True), (0.65, False), (0.71, True)):
        now[0] = step
        assert await waiting.take(ADA) is expected
        if expected:
            waiting.settle(ADA, accepted=True)
    assert counts == [0.0, 0.59, 0.71]


ADA, ADDRESS, OTHER_ADDRESS = ("t", "ada"), ("anonymous", "192.0.2.1"), ("anonymous", "192.0.2.2")


@pytest.mark.parametrize(
    ("held", "may"),
    [
        ({}, {ADA, ADDRESS, OTHER_ADDRESS}),
        ({ADA: 49}, {ADA, ADDRESS, OTHER_ADDRESS}),
        ({ADA: 51}, {ADDRESS, OTHER_ADDRESS}),
        ({("t", "bob"): 70, ADA: 31 - 2}, {ADDRESS, OTHER_ADDRESS}),
        ({ADDRESS: 26}, {ADA, OTHER_ADDRESS}),
        ({ADDRESS: 26, OTHER_ADDRESS: 24}, {ADA}),
        ({("t", "bob"): 100}, set()),
    ],
    ids=range(7),
)
async def test_one_caller_alone_leaves_others_places_to_wait(held: dict[Any, int], may: set[Any]):
    shares = Counter(held)
    shares["anonymous", ""] = sum(count for who, count in held.items() if who[0] == "anonymous")

    async def read(query: Any) -> Ready:
        return Ready(sum(held.values()), shares if query.keywords["divides"] else {})

    now = [0.0]
    for who in (ADA, ADDRESS, OTHER_ADDRESS):
        waiting = Waiting(read, 100, lambda: now[0])
        assert await waiting.take(who) is (who in may)
        now[0] += 0.2  # counted again, without the shares, which are still known
        if who not in may:
            assert not await waiting.take(who)


async def test_what_is_accepted_here_counts_for_its_caller_until_it_is_counted():
    async def read(query: Any) -> Ready:
        return Ready(0, {})

    waiting = Waiting(read, 100, lambda: 0.0)
    accepted = 0
    while await waiting.take(ADA):
        waiting.settle(ADA, accepted=True)
        accepted += 1
    assert accepted == 51
    assert await waiting.take(ADDRESS)


async def test_runs_that_wait_are_counted_by_caller_once_they_are_many(desk: Desk):
    for number in range(3):
        await desk.start(request=Request("POST", "/triggers/book", client_address=f"192.0.2.{number % 2}", body=b"{}"))
    for most, divides, held in (
        (10, True, {("anonymous", "192.0.2.0"): 2, ("anonymous", "192.0.2.1"): 1, ("anonymous", ""): 3}),
        (10, False, {}),
        (12, True, {}),
    ):
        found = await desk.journal.read(partial(waiting_runs, most=most, divides=divides))
        assert (found.total, dict(found.held)) == (3, held)


async def test_a_place_is_free_again_if_its_run_is_not_accepted(desk: Desk):
    ring = Ring()
    acceptance = desk.acceptance(KeySeals(ring), most=1)
    code, status, headers = await refused(desk.start(acceptance=acceptance))
    assert (code, status, headers) == ("durable-key-unavailable", 503, {"Retry-After": "5"})
    assert (await desk.count(), desk.heard) == ((0, 0, 0), 0)
    ring.keys["v1"] = KEY
    await desk.start(acceptance=acceptance)
    assert (await desk.count(), desk.room.accepting) == ((1, 1, 0), 0)


async def test_a_server_that_stops_meanwhile_accepts_nothing_and_waits_for_what_it_accepts(desk: Desk):
    class Slow(NoSeal):
        async def seal(self, run_id: str, column: str, text: str) -> tuple[str, str | None]:
            running.append(desk.room.running)
            desk.room.closed = True
            return text, None

    running: list[int] = []
    assert (await refused(desk.start(acceptance=desk.acceptance(Slow()))))[0] == "shutting-down"
    assert (await refused(desk.start()))[0] == "shutting-down"
    assert (running, desk.room.running, await desk.count()) == ([1], 0, (0, 0, 0))


async def test_arguments_that_do_not_fit_are_rejected_and_those_that_take_too_long_end_the_run(desk: Desk):
    def wrong() -> Mapping[str, Any]:
        raise ConnectionFault("a", "b", "c")

    with pytest.raises(ConnectionFault):
        await desk.start(arguments=wrong)
    desk.left = 0.0
    run = await desk.start(arguments=dict)
    assert (hasattr(run, "outcome"), await desk.count(), desk.heard) == (False, (0, 0, 0), 0)


def facts_of(run_id: str) -> Any:
    return facts(Run(run_id, book, ANYONE, Request("POST", "/triggers/book", body=b"{}"), 1000.0))


async def test_runs_that_are_accepted_at_once_are_recorded_and_one_that_cannot_be_takes_no_other_with_it(desk: Desk):
    given: list[tuple[Any, str]] = [(facts_of(f"r{n}"), f"request {n}") for n in range(5)]
    accepting = [partial(accept, facts=facts, accepted=Accepted("d", text)) for facts, text in [*given, (("odd",), "")]]
    found = await asyncio.gather(*map(desk.journal.write, accepting), return_exceptions=True)
    assert [isinstance(each, Exception) for each in found] == [False] * 5 + [True]
    kept = {row.run_id: (row.request, row.phase, row.attempt) for row in await desk.rows(durable_runs)}
    assert kept == {f"r{n}": (f"request {n}", "ready", 0) for n in range(5)}
    assert "request" not in repr(Accepted("d", "request"))


async def test_an_acceptance_that_is_repeated_after_a_lost_connection_changes_nothing(desk: Desk):
    accepting = partial(accept, facts=facts_of("r"), accepted=Accepted("digest", "request"))
    await desk.journal.write(accepting)
    assert len(await desk.journal.write(partial(claim, node="n", limits={}, most=9))) == 1
    await desk.journal.write(accepting)
    (row,), (kept,) = await desk.rows(), await desk.rows(durable_runs)
    assert (row.state, kept.phase, kept.attempt) == ("Running", "running", 1)


@pytest.mark.parametrize("claimed", [False, True])
async def test_a_run_whose_caller_got_an_error_is_taken_back_unless_it_has_been_claimed(desk: Desk, claimed: bool):
    run = await desk.start(key="k")
    (key,) = await desk.rows(idempotency_keys)
    if claimed:
        await desk.journal.write(partial(claim, node="n", limits={}, most=9))
    await desk.journal.write(partial(take_back, run_id=run.id, scope=key.scope))
    assert await desk.count() == ((1, 1, 1) if claimed else (0, 0, 0))


@pytest.mark.parametrize("key", ["", "k"])
async def test_a_run_with_a_place_here_is_claimed_with_its_acceptance(desk: Desk, key: str):
    desk.node = "here"
    run = await desk.start(key=key)
    (row,), (kept,) = await desk.rows(), await desk.rows(durable_runs)
    assert (row.state, kept.phase, kept.owner, kept.attempt) == ("Running", "running", "here", 1)
    found = [(each.run_id, each.attempt, each.request) for each in desk.begun if each]
    assert (found, desk.heard, desk.reserved) == ([(run.id, 1, kept.request)], 0, 0)
    if key:  # the same again is no other run
        assert (await desk.start(key=key)).id == run.id
        assert (desk.begun[1:], desk.reserved, await desk.count()) == ([None], 0, (1, 1, 1))


async def test_the_place_of_a_run_that_is_not_recorded_is_free_again(desk: Desk):
    desk.node = "here"
    desk.journal.available = False
    with pytest.raises(Problem):
        await desk.acceptance()._recorded(
            Run(new_id(), book, ANYONE, Request("POST", "/triggers/book"), 1000.0), None, Accepted("d", "", node="here")
        )
    desk.journal.available = True
    assert (desk.begun, await desk.count()) == ([None], (0, 0, 0))


@pytest.mark.parametrize("taken", [False, True])
async def test_a_run_with_a_place_whose_caller_got_an_error_is_taken_back_unless_another_has_it(
    desk: Desk, taken: bool
):
    desk.node = "here"
    run = await desk.start()
    if taken:
        await desk.journal.write(partial(take, run_id=run.id, node="there"))
    await desk.journal.write(partial(take_back, run_id=run.id, scope="", node="here"))
    assert await desk.count() == ((1, 1, 0) if taken else (0, 0, 0))


async def test_the_key_is_kept_as_the_run_of_an_inline_workflow_keeps_it(desk: Desk):
    await desk.start(key="k")
    (key,) = await desk.rows(idempotency_keys)
    assert (key.status, key.workflow, key.holder) == (202, "book", "anonymous ")
    assert KEPT_FOR == 24 * 3600


async def test_who_started_it_and_from_where_it_came_are_kept(desk: Desk):
    request = Request("POST", "/triggers/book", body=b"{}", trace=Trace("a" * 32, "b" * 16, 1))
    key: Key | None = None
    run = await desk.acceptance().start(
        book, LISA, request, {}, new_id(), key, None, "original", '{"kind": "user"}', StartedBy.SAME_AGAIN
    )
    (row,), (kept,) = await desk.rows(), await desk.rows(durable_runs)
    payload = unpacked(kept.request)
    assert (row.trace_id, row.resubmitted_from, row.object_id) == ("a" * 32, "original", "lisa")
    assert (payload.started_by, payload.caller, payload.resubmitted_from) == (StartedBy.SAME_AGAIN, LISA, "original")
    assert (payload.resubmitted_by, payload.trace_id, run.trace_id) == ('{"kind": "user"}', "a" * 32, "a" * 32)


@workflow(access=anonymous(), durable=True, concurrency_key=lambda caller, body: body["a"])
async def of_key(ctx, body: dict[str, str]) -> str:
    return "booked"


@workflow(access=anonymous(), durable=True, singleton=True)
async def alone(ctx, body: dict[str, str]) -> str:
    return "booked"


async def test_of_a_concurrency_key_the_journal_has_a_digest(desk: Desk) -> None:
    for of, value in ((of_key, "MARKER"), (of_key, "MARKER"), (of_key, "other"), (alone, "MARKER"), (book, "MARKER")):
        await desk.start(of, arguments={"body": {"a": value}})
    found = [row.concurrency_key for row in sorted(await desk.rows(durable_runs), key=lambda row: str(row.run_id))]
    assert found[0] == found[1] != found[2]
    assert [key is None for key in found] == [False] * 4 + [True]
    assert all("MARKER" not in key and len(key) == 64 for key in found[:4])


@workflow(access=anonymous(), durable=True, concurrency_key=lambda caller, body: body["pin"], secure_inputs=True)
async def of_pin(ctx, body: dict[str, str]) -> str:
    return "booked"


@workflow(access=anonymous(), durable=True, singleton=True, secure_inputs=True)
async def alone_secured(ctx, body: dict[str, str]) -> str:
    return "booked"


async def test_the_digest_of_a_secured_key_cannot_be_found_by_trying(desk: Desk) -> None:
    """It is the HMAC of the seals. A singleton without a key has nothing to guess, and no key to wait for."""
    seals = KeySeals(Ring(v1=bytes(range(32))))
    accepting = desk.acceptance(seals)
    for of in (of_pin, of_key, alone_secured):
        await desk.start(of, arguments={"body": {"pin": "4711", "a": "4711"}}, acceptance=accepting)
    found = {row.workflow: row.concurrency_key for row in await desk.rows(durable_runs)}
    assert found == {
        "of-pin": await seals.mark('concurrency\nof-pin\n"4711"'),
        "of-key": sha256(b'concurrency\nof-key\n"4711"').hexdigest(),
        "alone-secured": sha256(b"concurrency\nalone-secured\n").hexdigest(),
    }


async def test_a_run_whose_key_cannot_be_had_is_not_accepted(desk: Desk) -> None:
    await desk.start(of_key, arguments={"body": {}})
    assert isinstance(desk.failed, KeyError)
    assert (await desk.rows(durable_runs), desk.heard, desk.room.accepting) == ([], 0, 0)
