"""What `postern connections test` shows: signing in, stage by stage."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage, and whether it was passed. `detail` says with what (names, addresses, dates, never values); `fix` what
    to mend where it was not, as a sentence without its full stop."""

    name: str
    passed: bool
    detail: str = ""
    fix: str = ""
