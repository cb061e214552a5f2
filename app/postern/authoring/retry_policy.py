"""When a step that failed is tried again: the retry policy that users of Logic Apps know, as a value."""

import math
from dataclasses import dataclass

MOST_RETRIES = 90
LONGEST_WAIT = 86_400.0
"""Logic Apps' limits: retries, and seconds of one wait (a day)."""


class RetryFault(ValueError):
    """A retry policy that makes no sense; the message names the option to mend."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how long after one another a step is tried: exponential, with jitter.

    `count`: retries after the first attempt. `interval`, in seconds: the first wait is at most that long, and what a
    wait may be doubles with each retry. `minimum` and `maximum`, in seconds: no wait is shorter or longer, also where a
    `Retry-After` says so. The defaults are those of Logic Apps ("Retry policies" on learn.microsoft.com).

    Raises RetryFault where a value makes no sense.
    """

    count: int = 4
    interval: float = 7.5
    minimum: float = 5.0
    maximum: float = 45.0

    def __post_init__(self) -> None:
        """Check every value."""
        if isinstance(self.count, bool) or not isinstance(self.count, int) or not 0 <= self.count <= MOST_RETRIES:
            raise RetryFault(f"count={self.count!r}: give a whole number of retries from 0 to {MOST_RETRIES}")
        for option in ("interval", "minimum", "maximum"):
            value = getattr(self, option)
            known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not known or not 0 <= value <= LONGEST_WAIT:
                raise RetryFault(f"{option}={value!r}: give a number of seconds from 0 to {LONGEST_WAIT:.0f}")
        if self.minimum > self.maximum:
            raise RetryFault(f"minimum={self.minimum!r} is more than maximum={self.maximum!r}")

    @classmethod
    def none(cls) -> "Retry":
        """The policy that tries once."""
        return cls(count=0)

    def window(self, retry: int) -> tuple[float, float]:
        """Between which two waits, in seconds, the one before this retry (1 is the first) is drawn at random."""
        longest = self.interval * 2.0 ** (retry - 1)
        shortest = longest / 2 if retry > 1 else 0.0
        return self.within(shortest), self.within(longest)

    def within(self, seconds: float) -> float:
        """The wait that comes nearest to this one."""
        return max(self.minimum, min(seconds, self.maximum))


DEFAULT_RETRY = Retry()

CALL_RETRY = Retry(count=4, interval=0.5, minimum=0.1, maximum=30.0)
"""For calls to triggers: quick at first, because their caller waits."""
