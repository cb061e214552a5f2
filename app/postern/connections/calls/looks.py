"""Looks for the later result of a call that was accepted (202), until it is there."""

from dataclasses import dataclass

from tenacity import AsyncRetrying, RetryError, retry_if_result, stop_after_delay

from postern.authoring.call_result import CallError
from postern.authoring.retry_policy import Retry
from postern.connections.calls.attempts import Attempts
from postern.connections.calls.call_advice import elsewhere
from postern.connections.calls.call_request import Sending
from postern.connections.calls.call_response import (
    address_of,
    is_operation,
    location_of,
    object_of,
    problem_of,
    run_id_of,
)
from postern.connections.calls.failures import accepted, operation_failed
from postern.connections.calls.later_result import ACCEPTED, Stage, stage_of, wait_before
from postern.connections.calls.targets import Target
from postern.http_client import AsyncClient, Response

LONGEST = 86_400.0
"""Seconds after which looking for a result ends, even if the workflow's timeout is longer."""
MOST_MOVES = 10
"""Redirects on the way to one result."""
MOST_MISSING = 3
"""How often a result may not be found at first: some servers accept a call before its result has an address."""
NOT_FOUND = 404


@dataclass(slots=True)
class Looks:
    """The looks for one result. `location` is where it is expected, as the response `last` said to `sending`. Once one
    was `elsewhere`, no further one has the credential: another origin does not decide where it is sent."""

    attempts: Attempts
    client: AsyncClient
    target: Target
    sending: Sending
    retry: Retry
    location: str
    last: Response
    operation: bool = False
    looked: int = 0
    moves: int = 0
    found: bool = False
    elsewhere: bool = False

    async def result(self) -> Response:
        """The response with the result. Raises CallError."""
        self.operation = is_operation(self.last)
        retrying = AsyncRetrying(
            retry=retry_if_result(lambda response: response is None),
            stop=stop_after_delay(LONGEST),
            sleep=self.attempts.sleep,
        )
        try:
            response: Response = await retrying(self._look)
        except RetryError:
            entry = self.target.entry
            wrong = CallError(entry, f"{entry} had no result within a day.", status=ACCEPTED)
        except CallError as error:
            wrong = error
        else:
            return response
        raise accepted(wrong)

    async def _look(self) -> Response | None:
        """One look: the response with the result, or None if it is not there yet."""
        attempts = self.attempts
        self.looked += 1
        if not self.last.has_redirect_location:
            left = attempts.left(self.sending.run_id)
            await attempts.sleep(wait_before(self.last, self.looked, now=attempts.now(), left=left))
        self.elsewhere = self.elsewhere or not self.target.is_at_own_origin(self.location)
        get = self.sending.look(self.location, elsewhere=self.elsewhere)
        try:
            self.last = await attempts.insist(self.client, self.target, get, self.retry)
        except CallError as error:
            if error.status != NOT_FOUND or error.final or self.found or self.looked > MOST_MISSING:
                raise
            return None
        self.found = True
        match stage_of(self.last, operation=self.operation):
            case Stage.PENDING:
                self.location = location_at(self.target, self.last, self.location) or self.location
            case Stage.MOVED:
                self._move()
            case Stage.FAILED:
                raise operation_failed(self.target, self.last, problem_of(self.last))
            case Stage.DONE:
                return self.last if not self._leads_on() else None
        return None

    def _move(self) -> None:
        """Follow a redirect, to an origin where the target has results."""
        self.moves += 1
        if self.moves > MOST_MOVES:
            text = f"{self.target.entry} redirects the result more than {MOST_MOVES} times."
            raise CallError(self.target.entry, text, status=self.last.status_code)
        self.location = location_at(self.target, self.last, self.location)
        self.operation = False

    def _leads_on(self) -> bool:
        """Whether the document of an operation that is done names the address of its result."""
        named = object_of(self.last).get("resourceLocation") if self.operation else None
        address = address_of(named, self.location, self.target) if isinstance(named, str) and named else None
        if not address:
            return False
        self.location, self.operation = address, False
        return True


def location_at(target: Target, response: Response, requested: str) -> str:
    """Where the result will be, "" if the response does not say. Raises CallError for an origin where the
    target has no results."""
    location = location_of(response, requested, target)
    if location is None:
        raise CallError(
            target.entry,
            f"{target.entry} returned {response.status_code} with a Location at another origin, or with one that is "
            "not a URL. The result is not fetched, because the credential is for the trigger's origin only. "
            f"{elsewhere(target)}",
            status=response.status_code,
            run_id=run_id_of(response),
            final=True,
        )
    return location
