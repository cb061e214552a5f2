"""How fast requests that are turned away are answered: a flood of them must leave the processor to callers who may come
in. Clients who wait for an answer before they send again are slowed down by letting their answers wait.

The decision is pure; the door waits as long as it says. In a flood, whoever else is turned away now and then is still
answered at once.
"""

from math import ceil, inf

QUICK_OF_ADDRESS = 10
"""Refusals of one address that are answered at once in each second: more than anybody needs who mistook a token."""
QUICK_IN_ALL = 100
"""Those of all addresses together, and so the number of addresses that are remembered, for a second."""
RATE = 1000
"""Further answers that may leave in a second, one after the other."""
LONGEST = 2.0
"""Seconds that an answer may wait for its turn, which bounds how many wait (to LONGEST * RATE)."""

TOGETHER = 0.02
"""Seconds of which the answers leave together: one after the other they would keep the requests of valid callers apart,
which cost less in a row."""


class Pace:
    """Gives each refused request its turn."""

    def __init__(self) -> None:
        self._second = -1
        self._quick: dict[str, int] = {}
        self._quick_in_all = 0
        self._last_turn = -inf

    def wait(self, address: str, now: float) -> float:
        """How many seconds the answer to a request of this address has to wait; `inf` where too many wait already:
        then it leaves at once, and its connection is closed. `now` is a time of the monotonic clock."""
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
