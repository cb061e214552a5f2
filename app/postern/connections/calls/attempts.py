"""Sends the request of a call, again where that is safe and worthwhile."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from time import time
from typing import Any

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from postern.authoring.call_result import CallError
from postern.authoring.retry_policy import Retry
from postern.connections.calls.call_request import Sending
from postern.connections.calls.call_response import in_progress, may_repeat
from postern.connections.calls.failures import failed, rejected
from postern.connections.calls.targets import Target
from postern.http_client import AsyncClient, Response
from postern.transient_errors import retry_after
from postern.tunnels import one_agent_wait

log = structlog.get_logger("postern.calls")


@dataclass(frozen=True, slots=True)
class Attempts:
    """Sends requests with retries. `now` is the time of day in seconds since 1970. `uniform` draws a number between
    two. `left` returns the seconds until a run times out."""

    tenant_id: str | None
    now: Callable[[], float] = time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    uniform: Callable[[float, float], float] = random.uniform
    left: Callable[[str], float] = lambda _: math.inf

    async def insist(self, client: AsyncClient, target: Target, sending: Sending, retry: Retry) -> Response:
        """The response, after retries where they are safe and worthwhile. Waits while the same call still runs there do
        not count. Raises CallError."""
        with one_agent_wait():
            try:
                return await self._once(client, target, sending)
            except CallError as error:
                if not _worth_it(error, sending):
                    raise
                return await self._again(client, target, sending, retry, error)

    async def _again(
        self, client: AsyncClient, target: Target, sending: Sending, retry: Retry, failed: CallError
    ) -> Response:
        """The response of the retries after the first attempt `failed`."""
        pending, first = 0, [failed]

        def enough(state: RetryCallState) -> bool:
            nonlocal pending
            pending += in_progress(_error(state), keyed=sending.keyed)
            return state.attempt_number - pending > retry.count or state.upcoming_sleep >= self.left(sending.run_id)

        def wait(state: RetryCallState) -> float:
            after = retry_after(_error(state), self.now())
            window = retry.window(max(1, state.attempt_number - pending))
            return self.uniform(*window) if after is None else retry.requested(after)

        retrying = AsyncRetrying(
            retry=retry_if_exception(partial(_worth_it, sending=sending)),
            stop=enough,
            wait=wait,
            sleep=self.sleep,
            before_sleep=partial(_log_retry, target),
            reraise=True,
        )

        async def attempt() -> Response:
            if first:
                raise first.pop()
            return await self._once(client, target, sending)

        response: Response = await retrying(attempt)
        return response

    async def _once(self, client: AsyncClient, target: Target, sending: Sending) -> Response:
        """One attempt. Raises CallError for any response that is not a success. A look for a later result may be
        redirected."""
        headers = {**sending.headers, "Idempotency-Key": sending.key} if sending.key else sending.headers
        signing: dict[str, Any] = {"auth": None} if sending.bare else {}
        try:
            response = await client.request(
                sending.method,
                sending.url,
                content=sending.content,
                headers=headers,
                extensions=sending.extensions,
                **signing,
            )
        except Exception as error:
            wrong = failed(target, error, sending.method)
        else:
            if response.is_success or (sending.poll and response.has_redirect_location):
                return response
            wrong = rejected(target, response, sending, self.tenant_id)
        try:
            raise wrong  # outside of the handler: the library's error, with its texts, would become its context
        finally:
            del wrong  # it has this frame: they would keep each other


def _worth_it(error: BaseException, sending: Sending) -> bool:
    return isinstance(error, CallError) and may_repeat(error, method=sending.method, keyed=sending.keyed)


def _error(state: RetryCallState) -> CallError:
    error = state.outcome.exception() if state.outcome is not None else None
    if not isinstance(error, CallError):
        raise RuntimeError("the attempt did not fail")  # noqa: TRY004 it is not an argument
    return error


def _log_retry(target: Target, state: RetryCallState) -> None:
    wait, status = round(state.upcoming_sleep, 3), _error(state).status
    log.info("call-retried", trigger=target.entry, attempt=state.attempt_number, status=status, wait=wait)
