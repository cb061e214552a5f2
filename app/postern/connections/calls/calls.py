"""Calls to triggers: `ctx.call`."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from time import time
from typing import TYPE_CHECKING, Any, Protocol

from postern.authoring.call_result import Call, CallError, Handle, Outgoing
from postern.authoring.retry_policy import Retry
from postern.connections.calls.attempts import Attempts
from postern.connections.calls.call_advice import more_elements
from postern.connections.calls.call_request import Sending, link_of, sending_of
from postern.connections.calls.call_response import (
    OPERATION,
    NotJson,
    TooManyElements,
    is_of_postern,
    is_operation,
    location_of,
    run_id_of,
)
from postern.connections.calls.failures import foreign
from postern.connections.calls.later_result import ACCEPTED
from postern.connections.calls.looks import Looks, location_at
from postern.connections.calls.replies import Replies
from postern.connections.calls.targets import Target, Targets
from postern.connections.route import Route
from postern.home_loop import HomeLoop
from postern.http_client import AsyncClient, Response
from postern.journal.secured import SECURED_NAME, kept_type
from postern.journal.shares import holder_of

if TYPE_CHECKING:
    from postern.authoring.context import Context
    from postern.catalog import Trigger
    from postern.settings import SecretReference, Settings

OWN = "POSTERN_CLIENT_ID"
"""The signer of calls to workflows of this server."""


Note = Callable[[str, Call], None]


class Open(Protocol):
    """Makes the client of a target, once for each target: for exactly this `url` (`exact`), or for URLs below it.
    `seconds` and `response_bytes` limit a reply. Targets of one `signer` share a token. `headers` are sent
    beside the `auth`. Results may also be at the origins of `results_at`. `ctx` is the calling run, and `route` the
    way there. Raises ConnectionFault."""

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
        ctx: "Context",
        route: Route,
    ) -> AsyncClient: ...


class Calls:
    """Calls triggers of `[triggers.*]` and workflows of this server. `open_client` returns the client of a target, and
    it is kept. `served` returns the current triggers. `note(run_id, call)` gets each call of a recorded run.

    `now` is the time of day in seconds since 1970. `uniform` draws a number between two. `left` returns the seconds
    until a run times out. Large replies are read in turns that belong to the event loop `home`, and
    calls are noted there.
    """

    def __init__(
        self,
        settings: "Settings",
        served: "Callable[[], Mapping[str, Trigger]]",
        open_client: Open,
        note: Note,
        *,
        now: Callable[[], float] = time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
        left: Callable[[str], float] = lambda _: math.inf,
        home: HomeLoop | None = None,
    ) -> None:
        self._targets = Targets(settings, served)
        self._open = open_client
        self._note = note
        self._attempts = Attempts(settings.tenant_id, now, sleep, uniform, left)
        self._replies = Replies()
        self._posterns: set[str] = set()
        self._home = home or HomeLoop()

    def close(self) -> None:
        """Release the thread that reads large replies."""
        self._replies.close()

    async def call(self, ctx: "Context", outgoing: Outgoing, note: Note | None = None) -> Any:
        """The result of a call, or a Handle if the author does not wait for it. `note` gets its record in place of the
        usual one, and at once. Raises CallError."""
        name = SECURED_NAME if ctx.secured else outgoing.trigger  # until it is known as the name of a target
        call = Call(outgoing.number, outgoing.step, name, self._attempts.now())
        try:
            return await self._made(ctx, outgoing, call)
        except Exception as error:
            wrong = foreign(f"triggers.{name}", error)
            call.error = kept_type(wrong, secured=ctx.secured)
            call.status = wrong.status or None
            call.run_id = wrong.run_id or call.run_id
        except BaseException as error:
            call.error = kept_type(error, secured=ctx.secured)
            raise
        finally:
            call.ended_at = self._attempts.now()
            if note is not None:
                note(ctx.run_id, call)
            elif ctx.recorded:
                self._home.soon(partial(self._note, ctx.run_id, call))
        try:
            raise wrong
        finally:
            del wrong  # it has this frame: they would keep each other

    async def _made(self, ctx: "Context", outgoing: Outgoing, call: Call) -> Any:
        target = self._targets.find(outgoing.trigger)
        call.name = outgoing.trigger
        if not target.own:
            call.url = link_of(target, "")
        sending = sending_of(ctx, outgoing, target)
        if target.keyed is None and target.entry in self._posterns:
            sending = replace(sending, keyed=bool(sending.key))
        try:
            return await self._sent(ctx, outgoing, target, sending, call)
        finally:
            call.gateway, call.agent = target.route.gateway or "", sending.sent_by.agent

    async def _sent(self, ctx: "Context", outgoing: Outgoing, target: Target, sending: Sending, call: Call) -> Any:
        client = self._client(ctx, target, below=bool(outgoing.path))
        response = await self._send(client, target, sending, outgoing)
        self._found(target, call, response)
        accepted = response.status_code == ACCEPTED
        refused = accepted and not outgoing.wait and location_of(response, sending.url, target) is None
        location = location_at(target, response, sending.url) if accepted and not refused else ""
        if outgoing.wait and location:
            response = await self._later(ctx, target, sending, location, response, outgoing.retry)
            self._found(target, call, response)
        if outgoing.wait:
            return await self._value(target, response, _caller(ctx))
        fetch = partial(self._fetch, ctx, target, sending, location, response, outgoing.retry)
        done = not location and not refused
        operation = accepted and is_operation(response)
        return Handle(target.entry, run_id=call.run_id, location=location, done=done, fetch=fetch, operation=operation)

    async def later(self, ctx: "Context", outgoing: Outgoing, location: str, *, operation: bool) -> Any:
        """The result behind a Handle that another execution of the run had, by its `location`. Raises CallError."""
        target = self._targets.find(outgoing.trigger)
        sending = sending_of(ctx, outgoing, target)
        accepted = Response(ACCEPTED, headers={OPERATION if operation else "Location": location})
        return await self._fetch(ctx, target, sending, location, accepted, outgoing.retry)

    def _client(self, ctx: "Context", target: Target, *, below: bool) -> AsyncClient:
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
            ctx=ctx,
            route=target.route,
        )

    async def _send(self, client: AsyncClient, target: Target, sending: Sending, outgoing: Outgoing) -> Response:
        """The response. If a Postern rejects the idempotency key because the workflow is stateless, the call is sent
        without it."""
        try:
            return await self._attempts.insist(client, target, sending, outgoing.retry)
        except CallError as error:
            if not _takes_no_key(error, target) or not sending.key or outgoing.own_key:
                raise
        return await self._attempts.insist(client, target, replace(sending, key="", keyed=False), outgoing.retry)

    async def _later(
        self, ctx: "Context", target: Target, sending: Sending, location: str, taken: Response, retry: Retry
    ) -> Response:
        """The response with the result of a call that was accepted."""
        client = self._client(ctx, target, below=False)
        return await Looks(self._attempts, client, target, sending, retry, location, taken).result()

    async def _fetch(
        self, ctx: "Context", target: Target, sending: Sending, location: str, response: Response, retry: Retry
    ) -> Any:
        """The result behind a Handle. Raises CallError, also if it is at an origin where the target has no results."""
        try:
            if response.status_code == ACCEPTED:
                location = location or location_at(target, response, sending.url)
            if location:
                response = await self._later(ctx, target, sending, location, response, retry)
            return await self._value(target, response, _caller(ctx))
        except Exception as error:
            wrong = foreign(target.entry, error)
        try:
            raise wrong
        finally:
            del wrong  # it has this frame: they would keep each other

    async def _value(self, target: Target, response: Response, caller: str) -> Any:
        try:
            return await self._home.run(self._replies.value(response, target.response_elements, caller))
        except TooManyElements:
            wrong = f"more than {target.response_elements} JSON elements. {more_elements(target)}"
        except NotJson as error:
            wrong = str(error)
        except Exception as error:  # the call has run, and its error must say so
            wrong = f"a body that could not be read ({type(error).__name__})."
        raise CallError(
            target.entry,
            f"{target.entry} returned {response.status_code} with {wrong}",
            status=response.status_code,
            run_id=run_id_of(response),
            final=True,
        )

    def _found(self, target: Target, call: Call, response: Response) -> None:
        """Note what a response says about the run there. It shows whether a Postern is there, as its URL alone does
        not: others have such URLs too, and run a repeated request twice."""
        if target.keyed is None and is_of_postern(response):
            self._posterns.add(target.entry)
        call.status = response.status_code
        call.run_id = run_id_of(response) or call.run_id
        if not target.own:
            call.url = link_of(target, call.run_id)


def _takes_no_key(error: CallError, target: Target) -> bool:
    """Whether a Postern rejected the key, before anything ran. The same code of another API may mean anything."""
    return error.status == 400 and error.code == "bad-idempotency-key" and bool(target.runs)


def _caller(ctx: "Context") -> str:
    """Whose run it is."""
    who = ctx.caller
    return " ".join(holder_of(who.kind, who.tenant_id, who.object_id, ctx.client_address))
