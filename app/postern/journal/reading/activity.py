"""What the pictures and the home page of the console read. Each read looks at a bounded number of rows, whatever the
database holds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Minute:
    """The runs that began in a minute. `at` is its begin in Unix seconds, `median` and `most` are the durations within
    which half and 95 % of them ended, None without any. `estimated` says that `total` is an estimate."""

    at: float
    total: int = 0
    failed: int = 0
    median: float | None = None
    most: float | None = None
    estimated: bool = False
