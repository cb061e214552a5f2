"""One check of a token or a caller, and the error for a request that failed one."""

from collections.abc import Iterable
from typing import Any, NamedTuple


class Check(NamedTuple):
    """The result of one check of a token or a caller. `expected` and `found` are for the operator. `advice` is for a
    caller whose token was issued by one of our tenants. Replies to other callers have none of the three. `hint` tells
    the operator more about a failed check: what the token probably is, or which setting it needs."""

    name: str
    passed: bool
    expected: Any = None
    found: Any = None
    advice: str = ""
    hint: str = ""


class Refused(Exception):
    """A rejected request, which is recorded as a refusal. `checks` ends with the one that failed. `proved` says that
    the token was issued and signed by one of our tenants, so the reply may include the advice. `claims` is what the
    caller's next token has to meet (see claims_request.py), for a client that handles such a challenge; else "".
    `retry_after` is in how many seconds a new token may be accepted, 0 if waiting does not help."""

    def __init__(
        self, checks: Iterable[Check], *, proved: bool = False, claims: str = "", retry_after: int = 0
    ) -> None:
        self.checks = tuple(checks)
        self.proved = proved
        self.claims = claims
        self.retry_after = retry_after
        super().__init__(self.failed.name)

    @property
    def failed(self) -> Check:
        """The check that failed."""
        return self.checks[-1]
