"""Delays the responses to rejected requests, so that a flood of them leaves the processor to allowed callers. A client
that waits for a response before it sends again is slowed down by the delay.

The decision is pure; the pipeline waits for that long. In a flood, other addresses that are rejected now and then still
get their response at once.
"""

from math import ceil, inf

QUICK_OF_ADDRESS = 10
"""Rejected requests of one address that get their response at once in each second: more than a caller with a wrong
token needs."""
QUICK_IN_ALL = 100
"""The same for all addresses together. It is also the number of addresses that are remembered, for a second."""
RATE = 1000
"""Further responses that may be sent in a second, one after the other."""
LONGEST = 2.0
"""Seconds that a response may wait for its turn. This limits how many wait (to LONGEST * RATE)."""

TOGETHER = 0.02
"""Responses that are due within this many seconds are sent together. Sent one by one they would separate the requests
of valid callers, which cost less in a row."""


class RefusalThrottle:
    """Gives each rejected request its turn."""

    def __init__(self) -> None:
        self._second = -1
        self._quick: dict[str, int] = {}
        self._quick_in_all = 0
        self._last_turn = -inf

    def wait(self, address: str, now: float) -> float:
        """How many seconds the response to a request of this address has to wait. `inf` means that too many wait
        already: the response is sent at once and its connection closed. `now` is a time of the monotonic clock."""
        if int(now) != self._second:
            self._second, self._quick_in_all = int(now), 0
            self._quick.clear()
        quick = self._quick.get(address, 0)
        if quick < QUICK_OF_ADDRESS and self._quick_in_all < QUICK_IN_ALL:
            self._quick[address] = quick + 1
            self._quick_in_all += 1
            return 0.0
        turn = max(now, self._last_turn + 1 / RATE)
        if turn - now > LONGEST:
            return inf
        self._last_turn = turn
        if turn - now > TOGETHER:
            turn = ceil(turn / TOGETHER) * TOGETHER
        return turn - now
