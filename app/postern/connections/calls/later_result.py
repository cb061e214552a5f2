"""What a look for a later result (202) found, and when to look next. All functions are pure."""

from enum import Enum, auto

from postern.connections.calls.call_response import object_of
from postern.http_client import Response
from postern.transient_errors import retry_after

LEAST_WAIT = 1.0
"""The shortest time between two looks, in seconds."""
FIRST_WAIT, GROWTH, USUAL_MOST = 2.0, 1.5, 20.0
"""Without a Retry-After: the first wait in seconds, its growth factor, and its limit."""
LAST_LOOK = 5.0
"""Seconds before the run times out for a last look, if the Retry-After is later."""

ACCEPTED = 202
_DONE = frozenset({"succeeded", "completed", "success"})
_FAILED = frozenset({"failed", "canceled", "cancelled"})


class Stage(Enum):
    """How far an operation is."""

    PENDING = auto()
    MOVED = auto()
    FAILED = auto()
    DONE = auto()


def stage_of(response: Response, *, operation: bool) -> Stage:
    """What a look found. An `operation` names its stage in its document (`status`): any word but those of its end means
    that it is pending. The operation is done if it names none."""
    if response.status_code == ACCEPTED:
        return Stage.PENDING
    if response.has_redirect_location:
        return Stage.MOVED
    status = object_of(response).get("status") if operation else None
    if not isinstance(status, str) or status.lower() in _DONE:
        return Stage.DONE
    return Stage.FAILED if status.lower() in _FAILED else Stage.PENDING


def wait_before(response: Response, look: int, *, now: float, left: float) -> float:
    """Seconds until the next look (1 is the first), by the response's Retry-After. `now` is the time of day in seconds
    since 1970, and `left` the seconds until the run times out."""
    after = retry_after(response, now)
    if after is not None:
        return max(LEAST_WAIT, min(after, left - LAST_LOOK))
    return float(min(FIRST_WAIT * GROWTH ** min(look - 1, 20), USUAL_MOST))
