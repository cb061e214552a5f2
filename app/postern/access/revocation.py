"""A revocation as it concerns one caller: since when tokens are refused, until when new ones are too, and what a caller
who proved itself is told. Pure."""

from datetime import UTC, datetime
from math import ceil, inf
from typing import Literal, NamedTuple, Protocol

from postern.access import claims_request
from postern.access.caller import Caller
from postern.access.check import Check, Refused

REVOKED = "revoked"
"""The check's name, and the reason of the refusal."""

BACKDATED = 300.0
"""Seconds by which Entra dates `iat` and `nbf` of a token back."""

_ADVICE = {
    "caller": "An operator ended the access of {name}: a token that was issued before does not count any more",
    "client": "An operator ended the access of the application that requested this token",
    "token": "An operator revoked this token",
}


class Revoked(NamedTuple):
    """Why a caller is refused. Tokens that were issued before `not_before` are refused, and new ones until
    `bars_until`, 0 if they are not barred. Both are in Unix seconds."""

    kind: Literal["caller", "client", "token"]
    not_before: float
    bars_until: float = 0.0

    def retry_at(self) -> float:
        """When a token that is requested then is accepted again; 0 if a new one is accepted at any time."""
        if self.kind == "token":
            return 0.0
        return max(self.not_before + BACKDATED, self.bars_until)

    def check(self, caller: Caller, now: float) -> Check:
        """The failed check."""
        issued = _moment(caller.issued_at) if caller.issued_at else "no iat"
        found = f"revoked token {caller.token_id}" if self.kind == "token" else issued
        expected = (
            "a token that is not revoked" if self.kind == "token" else f"issued at {_moment(self.not_before)} or later"
        )
        if self.bars_until > now:
            expected = f"no token before {_moment(self.bars_until)}"
        return Check(REVOKED, False, expected, found, self._advice(caller, now), f"A revocation of the {self.kind}")

    def refused(self, caller: Caller, now: float) -> Refused:
        """The refusal of this caller. A client that can handle it gets a claims challenge for a token that was issued
        since; while new tokens are barred, none would help."""
        claims = "" if self.bars_until > now else claims_request.issued_since(ceil(self.not_before))
        return Refused(
            [self.check(caller, now)],
            proved=True,
            claims=claims_request.for_client_of(caller, claims),
            retry_after=max(0, ceil(self.retry_at() - now)),
        )

    def _advice(self, caller: Caller, now: float) -> str:
        said = _ADVICE[self.kind].replace("{name}", "this caller" if caller.kind != "user" else "this person")
        at = self.retry_at()
        if at <= now:
            return f"{said}. Request a new token."
        return f"{said}. Request a new token at {_moment(at)} or later."


class Revocations(Protocol):
    """What is known of revocations. `security.revocation` has it. Until `fresh_until` (Unix seconds) a caller who was
    verified counts as such without a further look."""

    fresh_until: float

    def refusing(self, caller: Caller) -> Revoked | None:
        """Why a verified caller is refused now; None if no revocation concerns it. `issued_at` of the caller is when
        its token was issued, or its session begun."""

    def check(self, caller: Caller) -> None:
        """Raise Refused if the caller is refused, and Problem `revocations-unavailable` if that is not known now."""

    async def wait(self) -> None:
        """Wait until it is known, if the server has just started. Raises Problem `revocations-unavailable`."""


class NoRevocations:
    """Nothing is revoked: for commands and tests that have no database."""

    fresh_until = inf

    def refusing(self, _: Caller) -> Revoked | None:
        """None."""
        return None

    def check(self, _: Caller) -> None:
        """Every caller passes."""

    async def wait(self) -> None:
        """It is known."""


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(ceil(seconds), UTC):%Y-%m-%dT%H:%M:%SZ}"
