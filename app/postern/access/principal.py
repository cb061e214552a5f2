"""For whom a run may act: the person whose grants it may use. Pure.

A run acts for a person only if that person started it, with a token of their own. Everything else acts for nobody: the
rule is a list of what is allowed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from postern.access.caller import GUID, Caller


class StartedBy(StrEnum):
    """What started a run. A new way of starting runs is UNKNOWN until it has a member here."""

    UNKNOWN = "unknown"
    REQUEST = "request"
    """A request to the trigger."""
    SAME_AGAIN = "same-again"
    """A resubmit, unchanged, by the person who started the first run with a request."""
    EDITED = "edited"
    """A resubmit with another input than the first run's."""
    ANOTHER = "another"
    """A resubmit of a run that somebody else, or a run, had started first."""
    LOST = "lost"
    """A resubmit of a run whose first run is not recorded any more, or is too many resubmits away."""
    SCHEDULE = "schedule"
    """The clock, by the schedule of the workflow."""
    FAILURE = "failure"
    """The failure of another run, by the option on_failure of its workflow."""
    FINDING = "finding"
    """A finding, which is no person."""


BY_THE_PERSON = frozenset({StartedBy.REQUEST, StartedBy.SAME_AGAIN})
"""The ways of starting a run that leave no doubt who is behind its input."""

NOBODY = "no-person"
"""The reason where no other one fits."""

_WHY: Mapping[str, str] = {
    **dict.fromkeys((StartedBy.EDITED, StartedBy.ANOTHER, StartedBy.LOST), "resubmitted"),
    StartedBy.SCHEDULE: "schedule",
    StartedBy.FAILURE: "on-failure",
    StartedBy.FINDING: "finding",
}
WHYS = frozenset({"called-by-run", *_WHY.values(), "anonymous", "application", NOBODY})
"""The reasons why a run acts for nobody."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The person that a run acts for. `owner` is "tenant/object" of the person, "" if the run acts for nobody: then
    `why` is the code of the reason (`connections.grants.reasons`)."""

    owner: str
    why: str = ""
    started_by: StartedBy = StartedBy.UNKNOWN


def principal_of(caller: Caller, started_by: StartedBy, *, called: bool) -> Principal:
    """For whom a run acts. `called` says that the request is a call of a run, whose token may be a person's."""
    if called:
        return Principal("", "called-by-run", started_by)
    if started_by not in BY_THE_PERSON:
        return Principal("", _WHY.get(started_by, NOBODY), started_by)
    if caller.kind != "user":
        return Principal("", caller.kind if caller.kind in WHYS else NOBODY, started_by)
    if not (GUID.fullmatch(caller.tenant_id) and GUID.fullmatch(caller.object_id)):
        return Principal("", NOBODY, started_by)
    return Principal(f"{caller.tenant_id}/{caller.object_id}", "", started_by)
