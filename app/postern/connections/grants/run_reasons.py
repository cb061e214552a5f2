"""Why a run has no grant of a person at all, by the codes of `access.principal`: one row for each."""

from collections.abc import Mapping

from postern.connections.grants.reasons import Reason

_OWN = "uses the grant of the person who started the run, and"
_CALL = "Let the person call this workflow with a token of their own"

RUN_REASONS: Mapping[str, Reason] = {
    "caller-anonymous": Reason(
        f"{_OWN} an anonymous caller started this one", "The author has to let the workflow require a token"
    ),
    "caller-application": Reason(f"{_OWN} an application started this one", _CALL),
    "called-by-run": Reason(f"{_OWN} another run called this one", _CALL),
    "resubmitted-edited": Reason(
        f"{_OWN} this one was resubmitted with another input",
        "Send that input as a new request, with a token of the person",
    ),
    "resubmitted-by-another": Reason(
        f"{_OWN} this one was resubmitted by somebody else", "Let the person who started the first run resubmit it"
    ),
    "resubmitted-first-lost": Reason(
        f"{_OWN} the record of the first of its resubmitted runs is gone",
        "Send the input as a new request, with a token of the person",
    ),
    "caller-unknown": Reason(f"{_OWN} no person started this one", _CALL),
}
"""The codes are a contract, as those of `reasons`."""
