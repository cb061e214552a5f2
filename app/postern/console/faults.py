"""What a person reads when the console cannot do something: one sentence, and one action."""

from collections.abc import Mapping
from typing import NamedTuple

from postern.errors import Headers, Problem

SIGN_IN = "/console/sign-in"


class Fault(NamedTuple):
    """One row of the table of faults: the meaning of a `code`."""

    status: int
    title: str
    detail: str


class Action(NamedTuple):
    """What a person can do about it: a link. `path` is below the public URL, with the parameters of the page's own path
    in braces; "" is the page itself."""

    text: str
    path: str


FAULTS: Mapping[str, Fault] = {
    "sign-in-not-started": Fault(
        400,
        "Sign-in not completed",
        "This sign-in was not started in this browser, was completed already, or took longer than ten minutes.",
    ),
    "session-ended": Fault(401, "Session ended", "Your session has ended, so nothing was done."),
    "sign-in-cancelled": Fault(403, "Sign-in cancelled", "You did not sign in."),
    "sign-in-refused": Fault(403, "Sign-in refused", "Microsoft Entra did not confirm who you are."),
    "cross-site-request": Fault(
        403, "Request of another page", "This request did not come from a page of this console, so nothing was done."
    ),
    "consent-not-started": Fault(
        400,
        "Connection not completed",
        "This was not started in this browser and session, was completed already, or took longer than ten minutes.",
    ),
    "consent-cancelled": Fault(403, "Not connected", "You did not agree at the provider, so nothing was connected."),
    "consent-refused": Fault(403, "Not connected", "The provider did not agree, so nothing was connected."),
    "too-many-consents": Fault(429, "Too many attempts", "You started to connect too often: wait a minute."),
    "consent-unavailable": Fault(
        503, "Not connected", "The provider cannot be asked at the moment, so nothing was connected."
    ),
    "too-many-sign-ins": Fault(429, "Too many sign-ins", "Too many sign-ins were started from here: wait a minute."),
    "sign-in-unavailable": Fault(
        503, "Sign-in unavailable", "Microsoft Entra cannot be reached at the moment. Try again in a minute."
    ),
}

_AGAIN = Action("Try again", "")
_SIGN_IN_AGAIN = Action("Sign in again", SIGN_IN)
_CONNECTIONS = Action("See your connections", "/connect")
_CONNECTION = Action("Back to the connection", "/connect/{name}")
_CONSOLE = Action("Go to the console", "/console")

_ACTIONS: Mapping[str, Action] = {
    "sign-in-not-started": _SIGN_IN_AGAIN,
    "session-ended": _SIGN_IN_AGAIN,
    "sign-in-cancelled": _SIGN_IN_AGAIN,
    "sign-in-refused": _SIGN_IN_AGAIN,
    "too-many-sign-ins": _SIGN_IN_AGAIN,
    "sign-in-unavailable": _SIGN_IN_AGAIN,
    "identity-unavailable": _SIGN_IN_AGAIN,
    "consent-not-started": _CONNECTION,
    "consent-cancelled": _CONNECTION,
    "consent-refused": _CONNECTION,
    "consent-unavailable": _CONNECTION,
    "too-many-consents": _CONNECTION,
    "unknown-connection": _CONNECTIONS,
    "journal-unavailable": _AGAIN,
    "revocations-unavailable": _AGAIN,
    "internal-error": _AGAIN,
}


def fault(code: str, *, reason: str = "", detail: str = "", headers: Headers | None = None) -> Problem:
    """The Problem of the table that has this `code`. `detail` replaces the table's sentence with a more specific one.
    `reason` is for operators only."""
    row = FAULTS[code]
    return Problem(row.status, detail or row.detail, code=code, title=row.title, reason=reason, headers=headers)


def action_for(code: str) -> Action:
    """What a person can do about a problem."""
    return _ACTIONS.get(code, _CONSOLE)
