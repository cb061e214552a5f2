"""One stage of signing in, as `postern connections test` shows it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage, and whether it passed. `detail` has names, addresses and dates, never values. `fix` says how to fix a
    failed stage, as a sentence without its full stop."""

    name: str
    passed: bool
    detail: str = ""
    fix: str = ""
