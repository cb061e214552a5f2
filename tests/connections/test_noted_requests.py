"""What is noted of requests by gateways."""

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from postern.call_chain import PART, Part
from postern.connections.noted_requests import MOST, NotedRequests
from postern.http_client import BY, NotOpened, Request, Response
from postern.journal.schema import FIRST_REQUEST

if TYPE_CHECKING:
    from postern.authoring.call_result import Call
    from postern.authoring.context import Context

NOW = 1_800_000_123.0


class _Ctx:
    run_id = "run-1"
    secured = False


CTX = cast("Context", _Ctx())


class Noted:
    """What a journal gets. `over` are runs that have ended."""

    def __init__(self, now: float = NOW) -> None:
        self.calls: list[Call] = []
        self.over: set[str] = set()
        self.requests = NotedRequests(
            lambda _, call: self.calls.append(call), lambda run_id: run_id not in self.over, lambda: now
        )

    def send(self, found: Response | BaseException | None = None, agent: str = "madrid-1") -> None:
        noting = self.requests.of(CTX, "connections.erp", "madrid")
        request = Request("POST", "https://erp.madrid.corp/orders?key=planted")
        call = noting.begins(request)
        request.extensions[BY].agent = agent
        noting.ends(request, call, found or Response(201))


def test_a_request_is_noted_with_its_step_its_status_and_the_agent():
    noted = Noted()
    token = PART.set(Part("run-1", 3))
    noted.send()
    PART.reset(token)
    noted.send(NotOpened("no agent"), agent="")
    first, second = noted.calls
    assert (first.step, first.name, first.status, first.error) == (3, "connections.erp", 201, "")
    assert (first.gateway, first.agent) == ("madrid", "madrid-1")
    assert (second.step, second.status, second.error, second.agent) == (None, None, "NotOpened", "")
    assert first.number < second.number
    assert "planted" not in repr(noted.calls)


def test_a_run_has_a_hundred_rows_and_then_a_count():
    noted = Noted()
    for _ in range(MOST + 37):
        noted.send()
    assert len(noted.calls) == MOST
    noted.requests.ended("run-1")
    assert len(noted.calls) == MOST + 1
    last = noted.calls[-1]
    assert (last.requests, last.gateway, last.status) == (37, "madrid", None)
    assert len({call.number for call in noted.calls}) == MOST + 1
    noted.requests.ended("run-1")
    assert len(noted.calls) == MOST + 1


def test_the_next_execution_of_a_run_overwrites_nothing():
    """Its requests are new, and the rows of the earlier ones stay."""
    numbers: set[int] = set()
    for execution in range(5):
        noted = Noted(NOW + execution)
        for _ in range(MOST + 1):
            noted.send()
        noted.requests.ended("run-1")
        numbers |= {call.number for call in noted.calls}
    assert len(numbers) == 5 * (MOST + 1)


@pytest.mark.parametrize("now", [0.0, 999_999.0, 1_999_999_999.0, 2**33 - 0.5])
def test_numbers_fit_into_the_column_and_are_none_of_a_call(now: float):
    noted = Noted(now)
    for _ in range(MOST + 1):
        noted.send()
    noted.requests.ended("run-1")
    assert all(FIRST_REQUEST <= call.number < 2**31 for call in noted.calls)


def test_what_a_task_sends_after_its_run_has_ended_is_not_noted_and_nothing_is_kept():
    noted = Noted()
    noted.send()
    noted.over.add("run-1")
    noted.requests.ended("run-1")
    noted.send()
    assert len(noted.calls) == 1
    assert noted.requests.runs == {}


def test_a_cancelled_request_is_noted():
    noted = Noted()
    noted.send(asyncio.CancelledError())
    assert noted.calls[0].error == "CancelledError"
