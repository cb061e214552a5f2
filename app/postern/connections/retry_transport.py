"""Retries of outgoing calls: which are retried, when, and how often."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from time import time

import structlog
from tenacity import AsyncRetrying, RetryCallState

from postern.authoring.retry_policy import Retry
from postern.connections.request_body import may_be_sent_again
from postern.http_client import Request, Response
from postern.transient_errors import retry_after, worth_retrying

RETRY = "retry"
"""The request extension with which an author allows (True) or forbids (False) retries of a request."""

IDEMPOTENT = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")
"""RFC 9110, section 9.2.2; TRACE is never sent."""

PASSING = (408, 429, 502, 503, 504)
"""Statuses of temporary errors. 500 is not one: it means that this request fails, and each workflow of a chain would
multiply the retries of the next."""

POLICY = Retry(count=3, interval=0.5, minimum=0.1, maximum=30.0)


@dataclass(frozen=True, slots=True)
class Retries:
    """Retries requests by a policy, or when a Retry-After says. If that is beyond the deadline, there is no retry and
    the response is returned.

    `clock` is that of the deadlines, None for the event loop's. `now` is the time of day in seconds since 1970.
    `uniform` draws a number between two.
    """

    policy: Retry = POLICY
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    uniform: Callable[[float, float], float] = random.uniform
    now: Callable[[], float] = time
    clock: Callable[[], float] | None = None

    async def call(
        self, attempt: Callable[[Request], Awaitable[Response]], request: Request, entry: str, deadline: float
    ) -> Response:
        """The response of a request that is repeated if it may be. See `insist`."""
        if not repeatable(request):
            return await attempt(request)
        return await self.insist(partial(attempt, request), entry, deadline)

    async def insist(self, attempt: Callable[[], Awaitable[Response]], entry: str, deadline: float) -> Response:
        """The last attempt's response; its error is raised. No wait goes beyond `deadline`."""
        retrying = AsyncRetrying(
            retry=_worth_it,
            wait=self._wait,
            stop=partial(self._enough, deadline=deadline),
            sleep=self.sleep,
            before_sleep=partial(_release, entry=entry),
            retry_error_callback=_last,
        )
        response: Response = await retrying(attempt)
        return response

    def _wait(self, state: RetryCallState) -> float:
        after = retry_after(_last(state), self.now()) if _last_error(state) is None else None
        window = self.policy.window(state.attempt_number)
        return self.uniform(*window) if after is None else after + self.uniform(0.0, self.policy.interval)

    def _enough(self, state: RetryCallState, deadline: float) -> bool:
        clock = self.clock or asyncio.get_running_loop().time
        return state.attempt_number > self.policy.count or clock() + state.upcoming_sleep >= deadline


def repeatable(request: Request) -> bool:
    """Whether the request may be sent twice: by its method, by an idempotency key, or because its author allows it. Its
    body must be one that can be sent again."""
    allowed = request.extensions.get(RETRY)
    if allowed is False or not may_be_sent_again(request):
        return False
    return allowed is True or request.method in IDEMPOTENT or "Idempotency-Key" in request.headers


def _worth_it(state: RetryCallState) -> bool:
    error = _last_error(state)
    return worth_retrying(error) if error is not None else _last(state).status_code in PASSING


async def _release(state: RetryCallState, entry: str) -> None:
    """Log a response that is discarded for a retry, and release its connection."""
    error = _last_error(state)
    if error is None:
        await _last(state).aclose()
    what = type(error).__name__ if error is not None else str(_last(state).status_code)
    structlog.get_logger("postern.connections").info(
        "call-retried", entry=entry, attempt=state.attempt_number, wrong=what, wait=round(state.upcoming_sleep, 3)
    )


def _last_error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None


def _last(state: RetryCallState) -> Response:
    """The last response. The last error is raised unchanged."""
    if state.outcome is None:
        raise RuntimeError("nothing was tried")
    response: Response = state.outcome.result()
    return response
