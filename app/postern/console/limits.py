"""How many sign-ins and consents may be started: each writes a row, and sends a browser to a provider. Pure."""

from collections import Counter, deque

from postern.journal.shares import ANONYMOUS, holder_of

OF_ADDRESS = 10
"""Starts of one address, or consents of one session, within MINUTE. Addresses of version 6 count by their network of
64 bits."""
OF_PERSON = 100
"""Consents of one person within MINUTE, in all sessions: who signs in often has no larger share of IN_ALL by that."""
IN_ALL = 50
"""Starts within a second, in this server process."""
MINUTE = 60.0
SECOND = 1.0


class Starts:
    """The starts of the last minute, of which each address, session or person has at most `most`. Only those that were
    admitted are kept, so there are never more than IN_ALL for each second, however many are attempted."""

    def __init__(self, most: int = OF_ADDRESS) -> None:
        self._most = most
        self._admitted: deque[tuple[float, str]] = deque()
        self._of: Counter[str] = Counter()

    def admit(self, address: str, now: float) -> bool:
        """Whether this address may start a sign-in now, by the monotonic clock; if so, it counts."""
        return self.admit_one(holder_of(ANONYMOUS, "", "", address)[1], now)

    def admit_one(self, who: str, now: float) -> bool:
        """The same for what counts as one: a network of addresses, a session, or a person."""
        self._forget(now - MINUTE)
        crowded = len(self._admitted) >= IN_ALL and self._admitted[-IN_ALL][0] > now - SECOND
        if crowded or self._of[who] >= self._most:
            return False
        self._admitted.append((now, who))
        self._of[who] += 1
        return True

    def _forget(self, before: float) -> None:
        while self._admitted and self._admitted[0][0] <= before:
            _, who = self._admitted.popleft()
            self._of[who] -= 1
            if not self._of[who]:
                del self._of[who]
