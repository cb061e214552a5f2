"""The state of a grant as people read it: a function of its row and the time. Pure."""

from enum import StrEnum
from typing import NamedTuple

from postern.connections.grants.reasons import (
    ACCESS_ENDED,
    EXPIRED,
    FEWER_SCOPES,
    NO_REFRESH_TOKEN,
    NOT_CONNECTED,
    Reason,
    row_of,
)
from postern.connections.grants.scopes import missing_scopes
from postern.connections.grants.tokens import Issued
from postern.journal.grants import Grant, State

SOON = 14 * 86_400.0
"""Seconds before the end of a grant from which it is `Expiring`. The server renews most grants long before."""


class Shown(StrEnum):
    """The four states. The words are a contract: they are in the API and in metrics."""

    NEEDED = "Needed"
    CONNECTED = "Connected"
    EXPIRING = "Expiring"
    BROKEN = "Broken"


class Condition(NamedTuple):
    """The state of a grant. `reason` is a code of `reasons.py`, "" if there is nothing to say; `text` is a predicate of
    the connection and `fix` a sentence without its full stop, both "" without a reason. `ends_at` is when the grant
    ends unless a person acts, in Unix seconds; None if nothing says so."""

    state: Shown
    reason: str = ""
    text: str = ""
    fix: str = ""
    ends_at: float | None = None

    @property
    def usable(self) -> bool:
        """Whether a run may get a token by it."""
        return self.state in (Shown.CONNECTED, Shown.EXPIRING)


def condition(grant: Grant | None, now: float, *, refused: bool = False) -> Condition:
    """The state of a grant, which may be missing, at this time in Unix seconds. `refused`: an operator has ended the
    access of its owner."""
    if grant is None:
        return _said(Shown.NEEDED, NOT_CONNECTED)
    if refused:
        return _said(Shown.BROKEN, ACCESS_ENDED)
    if grant.state is State.BROKEN:
        return _said(Shown.BROKEN, grant.reason)
    ends_at = grant.access_expires_at if grant.reason == NO_REFRESH_TOKEN else grant.refresh_expires_at
    if ends_at is not None and ends_at <= now:
        return _said(Shown.BROKEN, grant.reason or EXPIRED, ends_at)
    expiring = ends_at is not None and (grant.reason == NO_REFRESH_TOKEN or ends_at <= now + SOON)
    return _said(Shown.EXPIRING if expiring else Shown.CONNECTED, grant.reason, ends_at)


def remark(issued: Issued, asked: tuple[str, ...]) -> str:
    """What is worth saying of a new grant, "" if nothing is. That it ends soon comes first."""
    if not issued.tokens.refresh_token and issued.seconds is not None:
        return NO_REFRESH_TOKEN
    if missing_scopes(asked, issued.scopes):
        return FEWER_SCOPES
    return "" if issued.tokens.refresh_token else NO_REFRESH_TOKEN


def _said(state: Shown, reason: str, ends_at: float | None = None) -> Condition:
    row = row_of(reason) if reason or state is Shown.BROKEN else Reason("", "")
    return Condition(state, reason, row.text, row.fix, ends_at)
