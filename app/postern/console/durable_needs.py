"""What needs a person about durable runs, as the home page lists it. Pure."""

from collections.abc import Sequence
from urllib.parse import urlencode

from postern.console.durable_words import parked_words
from postern.console.needs import Need, bounded, sentences
from postern.console.waiting_approvals import Waiting
from postern.console.words import count
from postern.ids import time_of
from postern.journal.reading.durable_attention import Late, OldApprovals, ParkedRuns
from postern.plain_text import plain

LATE = 300.0
"""Seconds after which a run that no server process has taken needs an operator."""
OLD = 7 * 86_400.0
"""Seconds for which an approval may wait before operators are told."""


def of_approvals(found: Waiting | None) -> list[Need]:
    """Approvals that wait for this person."""
    if found is None or not found.number:
        return []
    words = f"{_least(found.number, found.more)} {'approval waits' if found.number == 1 else 'approvals wait'} for you"
    return [Need("Approvals", words, "/approvals", "", "The oldest one since", found.since, urgent=False)]


def of_parked(found: Sequence[ParkedRuns], *, operator: bool) -> list[Need]:
    """Parked runs, by workflow and reason."""

    def need(each: ParkedRuns) -> Need:
        parked = parked_words(each.reason)
        number = f"{_least(each.count, each.more)} {'run is' if each.count == 1 else 'runs are'}"
        what = f"{plain(each.workflow)}: {number} parked, because {parked.why}"
        others = ("All parked runs", "/runs/parked") if operator else None
        goes_on = parked.goes_on.format(plain(each.workflow))
        return Need("Parked", what, f"/runs/{each.run_id}", sentences(goes_on), other=others)

    return bounded(
        "Parked", found, need, "groups of parked runs", "/runs/parked" if operator else "/runs?state=Waiting"
    )


def of_late(found: Sequence[Late]) -> list[Need]:
    """Runs that were accepted, and that no server process takes."""

    def need(each: Late) -> Need:
        number = f"{_least(each.count, each.more)} {'run waits' if each.count == 1 else 'runs wait'}"
        what = f"{plain(each.workflow)}: {number} for more than {LATE / 60:.0f} minutes to begin"
        more = "No server process takes them: is one that runs durable workflows up, and has it free places?"
        waiting = "/runs?" + urlencode({"workflow": each.workflow, "state": "Waiting"})
        accepted = time_of(each.run_id)
        return Need("Waiting", what, waiting, sentences(more), "The oldest one was accepted", accepted)

    return bounded("Waiting", found, need, "workflows whose runs do not begin", "/runs?state=Waiting")


def of_old_approvals(found: OldApprovals | None) -> list[Need]:
    """Approvals that nobody has decided for long."""
    if found is None:
        return []
    number = f"{_least(found.count, found.more)} {'approval has' if found.count == 1 else 'approvals have'}"
    what = f"{number} waited for more than {OLD / 86_400:.0f} days"
    more = "The page of each run says which decision it waits for"
    return [Need("Approvals", what, "/runs?state=Waiting", sentences(more), "The oldest one since", found.since, False)]


def _least(number: int, more: bool) -> str:
    return f"{count(number)}{' or more' if more else ''}"
