"""When a failed step is retried: the retry policy of Logic Apps, as a value."""

import math
from dataclasses import dataclass

MOST_RETRIES = 90
LONGEST_WAIT = 86_400.0
"""Logic Apps' limits: retries, and seconds of one wait (a day)."""


class RetryFault(ValueError):
    """A retry policy that is not valid. The message names the option to fix."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a step is retried, and how long the waits are: exponential, with jitter.

    `count`: retries after the first attempt. `interval`, in seconds: the longest first wait; the limit doubles with
    each retry. `minimum` and `maximum`, in seconds: no wait that the policy chooses is shorter or longer. The defaults
    are those of Logic Apps ("Retry policies" on learn.microsoft.com).

    A `Retry-After` of the other side replaces the wait, and may be longer than `maximum`. If a wait does not fit into
    the run's timeout, there is no further attempt, and the last error is raised.

    Raises RetryFault for a value that is not valid.
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
        """The policy without retries."""
        return cls(count=0)

    def requested(self, seconds: float) -> float:
        """The wait for a Retry-After of so many seconds: not less, because an earlier attempt would be rejected too."""
        return max(self.minimum, seconds)

    def window(self, retry: int) -> tuple[float, float]:
        """The shortest and longest wait before this retry (1 is the first), in seconds. The wait is random between
        them."""
        longest = self.interval * 2.0 ** (retry - 1)
        shortest = longest / 2 if retry > 1 else 0.0
        return self._within(shortest), self._within(longest)

    def _within(self, seconds: float) -> float:
        return max(self.minimum, min(seconds, self.maximum))


DEFAULT_RETRY = Retry()

CALL_RETRY = Retry(count=4, interval=0.5, minimum=0.1, maximum=30.0)
"""For calls to triggers: the first waits are short, because the caller waits."""
