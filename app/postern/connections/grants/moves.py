"""What to do with a grant, as its row says. Pure functions.

Times of day are in Unix seconds. How long an attempt has been the same is measured by our own monotonic clock only:
clocks of machines are never compared.
"""

import math
from enum import StrEnum

from postern.journal.grants import Grant, State

EARLY_SECONDS = 60.0
"""A token that is good for so long is used. The next one is fetched before that, but after four fifths of its life."""
EARLY_PART = 0.2
ABANDONED_SECONDS = 90.0
"""An attempt that has been the same for so long may be replaced: an exchange takes 30 s at most."""
AHEAD_SECONDS = 300.0
"""Clocks of machines differ by less. Tokens that were issued later than now by more are renewed: the clock was ahead
then, and so are the times at which they would be due."""
LATELY = 86_400.0
DAY = 86_400.0
"""In the background, tokens that were used so lately are renewed at four fifths of their life, others once a day."""


JUST_ISSUED = 30.0
"""A token that an API rejects is not renewed again so soon after it was issued."""
MOST_ANSWERS = 3
"""Refreshes within JUST_ISSUED, after which no claims challenge leads to another one."""


class Move(StrEnum):
    """What to do next."""

    USE = "use"
    MISSING = "missing"
    BROKEN = "broken"
    WAIT = "wait"
    TAKE = "take"


def next_move(
    grant: Grant | None, now: float, *, node: str, holder_gone: bool = False, unchanged: float = 0.0, stale: int = 0
) -> Move:
    """What to do with a grant. `holder_gone` says that the holder of its attempt is known to be gone, and `unchanged`
    for how many seconds the attempt has been seen. The token of the generation `stale` is not to be used. `node` is
    this server process, which makes one attempt at a time: one of its own that it looks at has ended."""
    if grant is None:
        return Move.MISSING
    if grant.state is State.BROKEN:
        return Move.BROKEN
    if grant.generation != stale and now < good_until(grant):
        return Move.USE
    free = not grant.attempt or grant.holder == node or holder_gone or unchanged >= ABANDONED_SECONDS
    return Move.TAKE if free else Move.WAIT


def expires_at(grant: Grant) -> float:
    """When the access token expires; never if the provider does not say, and then a 401 does."""
    return math.inf if grant.access_expires_at is None else grant.access_expires_at


def good_until(grant: Grant) -> float:
    """Until when the access token is used without a thought of the next one."""
    end = expires_at(grant)
    if end == math.inf:
        return end
    return end - min(EARLY_SECONDS, max(0.0, end - issued_at(grant)) * EARLY_PART)


def issued_at(grant: Grant) -> float:
    """When the tokens were issued."""
    for event in reversed(grant.history):
        if event.what in ("connected", "refreshed"):
            return event.at
    return grant.connected_at


def is_just_issued(grant: Grant, now: float) -> bool:
    """Whether the tokens are too new to be replaced because an API rejects them."""
    return _is_just(issued_at(grant), now)


def may_answer(grant: Grant, claims: str, now: float, *, rejected: bool) -> bool:
    """Whether a claims challenge leads to a refresh with these claims. `rejected` says that the token of the row is the
    one that was challenged. Neither an API that no token satisfies nor one that asks for others each time leads to a
    refresh at each call."""
    if rejected and grant.claims == claims and is_just_issued(grant, now):
        return False
    lately = [event for event in grant.history if event.what == "refreshed" and _is_just(event.at, now)]
    return len(lately) < MOST_ANSWERS


def _is_just(at: float, now: float) -> bool:
    return abs(now - at) < JUST_ISSUED  # clocks are corrected backwards


def due_at(grant: Grant, now: float) -> float:
    """When the background renews the tokens."""
    issued = issued_at(grant)
    if issued > now + AHEAD_SECONDS:
        return now
    used = grant.used_at is not None and grant.used_at > now - LATELY
    end = expires_at(grant)
    if used and end != math.inf:
        return issued + (end - issued) * (1 - EARLY_PART)
    return issued + DAY
