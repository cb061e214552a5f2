"""Many requests make one event, and a flood of callers or addresses makes a bounded number of them."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from postern.access import ANYONE, Caller
from postern.ids import id_at
from postern.journal.audit_event import FIELDS, AuditEvent, Kind
from postern.journal.refusal_windows import MANY
from postern.security.audit.coalesced import MOST_CALLERS, MOST_LISTED, MOST_REFUSED, SECONDS, Coalescer
from postern.security.audit.log import AuditLog
from postern.security.observed import Admission, Rejection, Seen

NOW = 1_800_000_000.0
ADA = Caller("user", "ada", "tenant", "client", name="Ada", token_id="t1")


def admission(
    caller: Caller | None = ADA, workflow="hello", address="10.0.0.1", at=0.0, last=None, count=1
) -> Admission:
    first, last = id_at(NOW + at), id_at(NOW + (at if last is None else last))
    return Admission(caller, workflow, address, first, last, count)


def rejection(reason="expiry", address="10.0.0.1", count=1, claimed: Any = None, ids=("r1",)) -> Rejection:
    return Rejection(reason, "unauthenticated", 401, "hello", address, NOW, NOW + 1, count, ids, claimed)


def events_of(*batches: Seen) -> list[AuditEvent]:
    log = AuditLog(now=lambda: NOW)
    coalescer = Coalescer(log.note)
    for batch in batches:
        coalescer.take(batch)
    coalescer.flush()
    return log.take()


def test_requests_of_one_caller_for_one_workflow_are_one_event():
    again = Caller("user", "ada", "tenant", "client", name="Ada", token_id="t2")
    [event] = events_of(
        Seen([admission(at=1, last=5, count=10)], []),
        Seen([admission(again, address="10.0.0.2", at=7, count=2)], []),
    )
    assert (event.kind, event.subject, event.workflow) == (Kind.ADMISSION, "ada", "hello")
    assert event.fields == {
        "caller_kind": "user",
        "object_id": "ada",
        "tenant_id": "tenant",
        "client_id": "client",
        "name": "Ada",
        "workflow": "hello",
        "client_addresses": ["10.0.0.1", "10.0.0.2"],
        "first_at": NOW + 1,
        "last_at": NOW + 7,
        "count": 12,
        "request_ids": [id_at(NOW + 1), id_at(NOW + 5), id_at(NOW + 7)],
    }
    assert tuple(event.fields) == FIELDS[Kind.ADMISSION]


@pytest.mark.parametrize(
    "other",
    [
        admission(workflow="pay"),
        admission(Caller("user", "lisa", "tenant", "client")),
        admission(Caller("user", "ada", "tenant", "other-client")),
        admission(ANYONE),
    ],
)
def test_another_caller_client_or_workflow_is_another_event(other):
    assert len(events_of(Seen([admission(), other], []))) == 2


def test_an_event_about_anonymous_callers_has_no_request_ids_which_would_give_access_to_their_runs():
    [event] = events_of(Seen([admission(ANYONE, address="192.0.2.1", count=3)], []))
    assert event.fields["request_ids"] == []
    assert (event.fields["caller_kind"], event.fields["count"]) == ("anonymous", 3)
    assert event.fields["client_addresses"] == ["192.0.2.1"]


def test_addresses_and_ids_are_the_first_few():
    [event] = events_of(Seen([admission(address=f"10.0.0.{number}", at=number) for number in range(50)], []))
    assert event.fields["client_addresses"] == [f"10.0.0.{number}" for number in range(MOST_LISTED)]
    assert len(event.fields["request_ids"]) == MOST_LISTED
    assert event.fields["count"] == 50


def test_a_flood_of_callers_makes_a_bounded_number_of_events_and_loses_no_count():
    batches = [
        Seen([admission(Caller("user", f"{batch}-{number}", "tenant", "client")) for number in range(1000)], [])
        for batch in range(5)
    ]
    overflow = Seen([admission(None, address="", count=1_000_000)], [])
    events = events_of(*batches, overflow)
    assert len(events) == MOST_CALLERS + 1
    assert sum(event.fields["count"] for event in events) == 1_005_000
    [many] = [event for event in events if event.fields["caller_kind"] == MANY]
    assert (many.fields["object_id"], many.fields["client_addresses"], many.fields["request_ids"]) == ("", [], [])
    assert set(many.fields) == set(FIELDS[Kind.ADMISSION])


def test_refusals_of_one_reason_workflow_and_address_are_one_event():
    [event] = events_of(Seen([], [rejection(count=3)]), Seen([], [rejection(count=4, ids=("r1", "r2"))]))
    assert (event.kind, event.subject, event.workflow) == (Kind.REFUSAL, "", "hello")
    assert (event.fields["reason"], event.fields["count"], event.fields["request_ids"]) == ("expiry", 7, ["r1", "r2"])
    assert set(event.fields) == set(FIELDS[Kind.REFUSAL])


def test_only_a_verified_identity_is_in_an_event_about_refusals():
    claimed = {"object_id": "ada", "tenant_id": "t", "client_id": None, "token_id": "uti", "name": "x"}
    forged, proved = ({**claimed, "verified": verified} for verified in (False, True))
    of_forger, of_ada = events_of(Seen([], [rejection(claimed=forged), rejection(claimed=proved)]))
    assert (of_forger.subject, of_forger.fields["object_id"]) == ("", "")
    assert (of_ada.subject, of_ada.fields["token_id"], of_ada.fields["client_id"]) == ("ada", "uti", "")


def test_a_flood_of_refusals_does_not_hide_who_sent_a_verified_token():
    claimed = {"object_id": "ada", "tenant_id": "t", "client_id": None, "token_id": "uti", "name": "x"}
    flood = [rejection("a", f"10.0.0.{n}", claimed=claimed | {"verified": False}) for n in range(250)]
    proved = [rejection("b", f"10.0.1.{n}", claimed=claimed | {"verified": True}) for n in range(250)]
    events = events_of(Seen([], flood), Seen([], proved))
    assert sum(event.subject == "ada" for event in events) == MOST_REFUSED - 1
    assert len(events) == 2 * MOST_REFUSED + 1


def test_a_flood_of_refusals_makes_a_bounded_number_of_events_and_loses_no_count():
    floods = [
        Seen([], [rejection(reason, f"10.{batch}.0.{n}", count=1000) for n in range(200) for reason in ("a", "b")])
        for batch in range(5)
    ]
    events = events_of(*floods)
    assert len(events) <= MOST_REFUSED + 2
    assert sum(event.fields["count"] for event in events) == 5 * 200 * 2 * 1000
    assert {event.fields["client_address"] for event in events[MOST_REFUSED:]} == {MANY}


@pytest.mark.anyio
async def test_the_task_notes_what_came_within_a_minute():
    naps: list[float] = []
    log = AuditLog()

    async def sleep(seconds: float) -> None:
        naps.append(seconds)
        coalescer.take(Seen([admission()], []))

    coalescer = Coalescer(log.note, sleep=sleep)
    task = asyncio.create_task(coalescer.run())
    await asyncio.sleep(0)
    assert naps == []
    coalescer.take(Seen([admission()], []))
    while not log.waiting:
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert naps[0] == SECONDS
    assert log.take()[0].fields["count"] == 2
