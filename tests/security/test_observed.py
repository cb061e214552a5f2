"""Requests are counted by token, workflow and address, in bounded memory, and handed to all who watch."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from postern.access import ANYONE, Caller
from postern.ids import id_at
from postern.journal.refusal import Refusal
from postern.journal.refusal_windows import Window, Windows
from postern.security.observed import MOST_REFUSALS, Observer, Seen

ADA = Caller("user", "ada", "tenant", "client", token_id="first")
NOW = 1_800_000_000.0


def request_id(seconds: float) -> str:
    return id_at(NOW + seconds)


def observer_of(**options) -> tuple[Observer, list[Seen]]:
    seen: list[Seen] = []
    return Observer([seen.append], **options), seen


def window(reason="expiry", address="10.0.0.1") -> Window:
    made = Windows().take(Refusal(request_id(0), reason, "unauthenticated", 401, "hello", address), 0.0, NOW)
    assert made is not None
    return made


def test_requests_with_one_token_for_one_workflow_from_one_address_are_one_entry():
    observer, seen = observer_of()
    for second in range(3):
        observer.admitted(ADA, "hello", "10.0.0.1", request_id(second))
    observer.hand_over()
    [entry] = seen[0].admitted
    assert (entry.caller, entry.workflow, entry.client_address, entry.count) == (ADA, "hello", "10.0.0.1", 3)
    assert (entry.first_request_id, entry.last_request_id) == (request_id(0), request_id(2))
    assert (entry.first_at, entry.last_at) == (NOW, NOW + 2)


def test_another_token_workflow_or_address_is_another_entry():
    observer, seen = observer_of()
    again = replace(ADA, token_id="second")
    assert again == ADA
    for request in [
        (ADA, "hello", "a"),
        (again, "hello", "a"),
        (ADA, "bye", "a"),
        (ADA, "hello", "b"),
        (ANYONE, "h", "a"),
    ]:
        observer.admitted(*request, request_id(0))
    observer.hand_over()
    assert [(entry.caller, entry.count) for entry in seen[0].admitted] == [
        (c, 1) for c in (ADA, again, ADA, ADA, ANYONE)
    ]
    assert [entry.caller and entry.caller.token_id for entry in seen[0].admitted] == [
        "first",
        "second",
        "first",
        "first",
        "",
    ]


def test_an_entry_keeps_its_caller_so_that_no_other_one_is_taken_for_it():
    observer, seen = observer_of()
    for number in range(100):
        observer.admitted(Caller("user", str(number)), "hello", "a", request_id(number))
    observer.hand_over()
    assert [entry.caller and entry.caller.object_id for entry in seen[0].admitted] == [str(n) for n in range(100)]


def test_requests_beyond_the_limit_are_counted_by_workflow():
    observer, seen = observer_of(most_admissions=2)
    for number in range(10):
        observer.admitted(Caller("user", str(number)), "hello", "a", request_id(number))
    observer.hand_over()
    *own, many = seen[0].admitted
    assert [entry.count for entry in own] == [1, 1]
    assert (many.caller, many.workflow, many.client_address, many.count) == (None, "hello", "", 8)
    assert (many.first_at, many.last_at) == (NOW + 2, NOW + 9)


def test_each_batch_begins_anew_and_an_empty_one_is_not_handed_over():
    observer, seen = observer_of()
    observer.admitted(ADA, "hello", "a", request_id(0))
    observer.hand_over()
    observer.hand_over()
    observer.admitted(ADA, "hello", "a", request_id(1))
    observer.hand_over()
    assert [[entry.count for entry in batch.admitted] for batch in seen] == [[1], [1]]


def test_a_rejection_has_what_its_window_has_and_what_was_added():
    observer, seen = observer_of()
    refused = window()
    refused.found([], {"object_id": "ada", "token_id": "t", "verified": True})
    observer.rejected([(refused, 5)])
    observer.hand_over()
    [rejection] = seen[0].rejected
    assert (rejection.reason, rejection.code, rejection.status) == ("expiry", "unauthenticated", 401)
    assert (rejection.workflow, rejection.client_address, rejection.count) == ("hello", "10.0.0.1", 5)
    assert rejection.request_ids == (request_id(0),)
    assert rejection.proved == {"object_id": "ada", "token_id": "t", "verified": True}


@pytest.mark.parametrize("claimed", [None, {"object_id": "ada", "verified": False}, {"object_id": "ada"}])
def test_only_a_verified_identity_is_proved(claimed):
    observer, seen = observer_of()
    refused = window()
    refused.claimed = claimed
    observer.rejected([(refused, 1)])
    observer.hand_over()
    assert seen[0].rejected[0].proved is None


def test_rejections_between_two_batches_are_bounded():
    observer, seen = observer_of()
    refused = window()
    observer.rejected((refused, 1) for _ in range(MOST_REFUSALS + 10))
    observer.hand_over()
    assert len(seen[0].rejected) == MOST_REFUSALS


def test_a_listener_that_fails_is_logged_and_hides_nothing_from_the_others():
    seen: list[Seen] = []

    def fails(_: Seen) -> None:
        raise ZeroDivisionError

    observer = Observer([fails, seen.append])
    observer.admitted(ADA, "hello", "a", request_id(0))
    with capture_logs() as lines:
        observer.hand_over()
    assert len(seen) == 1
    assert [line["event"] for line in lines] == ["observer-failed"]


@pytest.mark.anyio
async def test_the_task_waits_for_a_request_and_then_a_moment_for_more():
    naps: list[float] = []
    handed = asyncio.Event()

    async def sleep(seconds: float) -> None:
        naps.append(seconds)

    observer = Observer([lambda _: handed.set()], sleep=sleep)
    task = asyncio.create_task(observer.run())
    await asyncio.sleep(0)
    assert naps == []
    observer.admitted(ADA, "hello", "a", request_id(0))
    await handed.wait()
    assert len(naps) == 1
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
