"""One check of a token or a caller, and the error for a request that failed one."""

from collections.abc import Iterable
from typing import Any, NamedTuple


class Check(NamedTuple):
    """One question asked of a token or a caller. `expected` and `found` are for the operator, `advice` for a caller
    who has proved who they are; all three stay out of replies to anybody else."""

    name: str
    passed: bool
    expected: Any = None
    found: Any = None
    advice: str = ""


class Refused(Exception):
    """A request turned away. `checks` ends with the one that failed; `proved` says that the token's signature is by a
    key of one of our tenants and the token is that tenant's, so that its bearer may hear the truth (advice)."""

    def __init__(self, checks: Iterable[Check], *, proved: bool = False) -> None:
        self.checks = tuple(checks)
        self.proved = proved
        super().__init__(self.failed.name)

    @property
    def failed(self) -> Check:
        """The check that failed."""
        return self.checks[-1]
