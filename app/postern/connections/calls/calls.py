"""Calls to triggers: `ctx.call`."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from time import time
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from tenacity import AsyncRetrying, RetryCallState, RetryError, retry_if_exception, retry_if_result, stop_after_delay

from postern.authoring.call_result import Call, CallError, Handle, Outgoing
from postern.authoring.retry_policy import Retry
from postern.connections.calls.call_advice import FEWER, elsewhere, more_elements, sentence, too_many, unreached
from postern.connections.calls.call_request import Sending, link_of, sending_of
from postern.connections.calls.call_response import (
    TooManyElements,
    in_progress,
    is_outcome,
    is_signed,
    location_of,
    may_repeat,
    problem_of,
    run_id_of,
    wait_before,
)
from postern.connections.calls.replies import Replies
from postern.connections.calls.targets import Target, Targets
from postern.connections.places import TooManyCalls
from postern.http_client import AsyncClient, ConnectError, ConnectTimeout, HTTPError, PoolTimeout, Response
from postern.journal.secured import SECURED_NAME, kept_type
from postern.journal.shares import holder_of
from postern.transient_errors import retry_after

if TYPE_CHECKING:
    from postern.authoring.context import Context
    from postern.catalog import Trigger
    from postern.settings import SecretReference, Settings

ACCEPTED = 202
OWN = "POSTERN_CLIENT_ID"
"""The signer of calls to workflows of this server."""
LONGEST_POLL = 86_400.0
"""Seconds after which polling for a result ends, even if the workflow's timeout is longer."""

log = structlog.get_logger("postern.calls")


class Open(Protocol):
    """Makes the client of a target, once for each target: for exactly this `url` (`exact`), or for URLs below it.
    `seconds` and `response_bytes` limit a reply. Targets of one `signer` share a token. `headers` are sent
    beside the `auth`. Results may also be at the origins of `results_at`. Raises ConnectionFault."""

    def __call__(
        self,
        entry: str,
        url: str,
        auth: Any,
        *,
        exact: bool,
        seconds: float,
        response_bytes: int,
        signer: str,
        headers: "Mapping[str, SecretReference]",
        results_at: tuple[str, ...],
    ) -> AsyncClient: ...


class Calls:
    """Calls triggers of `[triggers.*]` and workflows of this server. `open_client` returns the client of a target, and
    it is kept. `served` returns the current triggers. `note(run_id, call)` gets each call of a recorded run.

    `now` is the time of day in seconds since 1970. `uniform` draws a number between two.
    """

    def __init__(
        self,
        settings: "Settings",
        served: "Callable[[], Mapping[str, Trigger]]",
        open_client: Open,
        note: Callable[[str, Call], None],
        *,
        now: Callable[[], float] = time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._targets = Targets(settings, served)
        self._tenant_id = settings.tenant_id
        self._open = open_client
        self._note = note
        self._now = now
        self._sleep = sleep
        self._uniform = uniform
        self._replies = Replies()

    def close(self) -> None:
        """Release the thread that reads large replies."""
        self._replies.close()

    async def call(self, ctx: "Context", outgoing: Outgoing) -> Any:
        """The result of a call, or a Handle if the author does not wait for it. Raises CallError, and ConnectionFault
        if the call cannot be made at all."""
        name = SECURED_NAME if ctx.secured else outgoing.trigger  # until it is known as the name of a target
        call = Call(outgoing.number, outgoing.step, name, self._now())
        try:
            return await self._made(ctx, outgoing, call)
        except BaseException as error:
            call.error = kept_type(error, secured=ctx.secured)
            if isinstance(error, CallError):
                call.status = error.status or None
                call.run_id = error.run_id or call.run_id
            raise
        finally:
            call.ended_at = self._now()
            if ctx.recorded:
                self._note(ctx.run_id, call)

    async def _made(self, ctx: "Context", outgoing: Outgoing, call: Call) -> Any:
        target = self._targets.find(outgoing.trigger)
        call.name = outgoing.trigger
        if not target.own:
            call.url = link_of(target, "")
        sending = sending_of(ctx, outgoing, target)
        client = self._client(target, below=bool(outgoing.path))
        response = await self._send(client, target, sending, outgoing)
        self._found(target, call, response)
        accepted = response.status_code == ACCEPTED
        refused = accepted and not outgoing.wait and location_of(response, sending.url, target) is None
        location = self._location(target, response, sending.url) if accepted and not refused else ""
        if outgoing.wait and location:
            response = await self._result(target, sending, location, response, outgoing.retry)
            self._found(target, call, response)
        if outgoing.wait:
            return await self._value(target, response, _caller(ctx))
        fetch = partial(self._fetch, target, sending, location, response, outgoing.retry, _caller(ctx))
        return Handle(
            target.entry, run_id=call.run_id, location=location, done=not location and not refused, fetch=fetch
        )

    def _client(self, target: Target, *, below: bool) -> AsyncClient:
        entry, url = target.entry, target.url
        if below:
            entry, url = f"{entry} with path=", url.partition("?")[0]
        return self._open(
            entry,
            url,
            target.auth,
            exact=not below,
            seconds=target.seconds,
            response_bytes=target.response_bytes,
            signer=OWN if target.own else target.entry,
            headers=target.headers,
            results_at=target.results_at,
        )

    async def _send(self, client: AsyncClient, target: Target, sending: Sending, outgoing: Outgoing) -> Response:
        """The response. If a Postern rejects the idempotency key because the workflow is stateless, the call is sent
        without it."""
        try:
            return await self._insist(client, target, sending, outgoing.retry)
        except CallError as error:
            if error.code != "bad-idempotency-key" or not sending.key or outgoing.own_key:
                raise
        return await self._insist(client, target, replace(sending, key="", keyed=False), outgoing.retry)

    async def _insist(self, client: AsyncClient, target: Target, sending: Sending, retry: Retry) -> Response:
        """The response, after retries where they are safe and worthwhile. Waits while the same call still runs there do
        not count."""
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
            return state.attempt_number - pending > retry.count

        def wait(state: RetryCallState) -> float:
            after = retry_after(_error(state), self._now())
            window = retry.window(max(1, state.attempt_number - pending))
            return self._uniform(*window) if after is None else retry.within(after)

        retrying = AsyncRetrying(
            retry=retry_if_exception(partial(_worth_it, sending=sending)),
            stop=enough,
            wait=wait,
            sleep=self._sleep,
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
        """One attempt. Raises CallError for any response that is not a success."""
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
        except TooManyCalls:
            raise too_many(target) from None
        except PoolTimeout as error:
            raise CallError(target.entry, f"{error}. {FEWER}", sent=False) from None
        except (ConnectError, ConnectTimeout) as error:
            raise unreached(target, error, sent=False) from None
        except HTTPError as error:
            raise unreached(target, error, sent=True) from None
        if response.is_success:
            return response
        problem, after = problem_of(response), response.headers.get("Retry-After")
        raise CallError(
            target.entry,
            sentence(target, response, problem.get("code"), self._tenant_id),
            status=response.status_code,
            problem=problem,
            run_id=run_id_of(response, problem),
            headers={"Retry-After": after} if after else {},
            ran=is_outcome(response, problem),
        )

    async def _result(self, target: Target, sending: Sending, location: str, taken: Response, retry: Retry) -> Response:
        """The first response that is not 202."""
        client = self._client(target, below=False)
        polls, last = 1, taken

        async def poll() -> Response:
            nonlocal polls, last, location
            await self._sleep(wait_before(last, polls))
            polls += 1
            bare = is_signed(location) or not target.is_at_own_origin(location)
            get = Sending("GET", location, None, sending.headers, sending.level, poll=True, bare=bare)
            last = await self._insist(client, target, get, retry)
            if last.status_code == ACCEPTED:
                location = self._location(target, last, location) or location
            return last

        retrying = AsyncRetrying(
            retry=retry_if_result(lambda response: response.status_code == ACCEPTED),
            stop=stop_after_delay(LONGEST_POLL),
            sleep=self._sleep,
        )
        try:
            response: Response = await retrying(poll)
        except RetryError:
            raise CallError(target.entry, f"{target.entry} had no result within a day.", status=ACCEPTED) from None
        return response

    async def _fetch(
        self, target: Target, sending: Sending, location: str, response: Response, retry: Retry, caller: str
    ) -> Any:
        """The result behind a Handle. Raises CallError if it is at an origin where the target has no results."""
        if response.status_code == ACCEPTED:
            location = location or self._location(target, response, sending.url)
        if location:
            response = await self._result(target, sending, location, response, retry)
        return await self._value(target, response, caller)

    async def _value(self, target: Target, response: Response, caller: str) -> Any:
        try:
            return await self._replies.value(response, target.response_elements, caller)
        except TooManyElements:
            wrong = f"more than {target.response_elements} JSON elements. {more_elements(target)}"
        except ValueError:
            wrong = "a JSON body that is not valid JSON."
        status = response.status_code
        raise CallError(
            target.entry,
            f"{target.entry} returned {status} with {wrong}",
            status=status,
            run_id=run_id_of(response),
        )

    def _location(self, target: Target, response: Response, requested: str) -> str:
        location = location_of(response, requested, target)
        if location is None:
            raise CallError(
                target.entry,
                f"{target.entry} returned 202 with a Location at another origin. "
                "The result is not fetched, because the credential is for the trigger's origin only. "
                f"{elsewhere(target)}",
                status=ACCEPTED,
                run_id=run_id_of(response),
            )
        return location

    def _found(self, target: Target, call: Call, response: Response) -> None:
        """Note what a response says about the run there."""
        call.status = response.status_code
        call.run_id = run_id_of(response) or call.run_id
        if not target.own:
            call.url = link_of(target, call.run_id)


def _caller(ctx: "Context") -> str:
    """Whose run it is."""
    who = ctx.caller
    return " ".join(holder_of(who.kind, who.tenant_id, who.object_id, ctx.client_address))


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
