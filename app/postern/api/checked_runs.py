"""Which runs of a list a caller can resubmit or resume, and why not the others (`GET /runs?check=…`)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection

from postern.access import Caller, Refused
from postern.api.access import Standing, standing
from postern.api.durable_actions import GONE
from postern.api.resubmit import check_resubmit
from postern.catalog import Snapshot
from postern.errors import PROBLEMS, Problem
from postern.journal.reading.records import RunRecord
from postern.journal.reading.resubmits import not_resumable, resubmitted_as, with_requests
from postern.journal.resumable import NotResumed
from postern.settings.installation import Installation

RESUBMIT = "resubmit"
NO_ACCESS = "The caller may not start the workflow now."


class Facts(NamedTuple):
    """What the journal knows of these runs: their records with requests, the runs that were resubmitted from them, and
    why some cannot be resumed."""

    records: Sequence[RunRecord]
    resubmitted: Mapping[str, Sequence[str]]
    not_resumable: Mapping[str, NotResumed]


def checked_facts(connection: Connection, records: Sequence[RunRecord], check: str) -> Facts:
    """What the check needs."""
    if check == RESUBMIT:
        again = resubmitted_as(connection, [record.id for record in records])
        return Facts(with_requests(connection, records), again, {})
    return Facts(records, {}, not_resumable(connection, records))


def checked(
    facts: Facts, check: str, snapshot: Snapshot, installation: Installation, caller: Caller
) -> dict[str, dict[str, Any]]:
    """The further members of each run, by its id: why it cannot be resubmitted or resumed, null if it can."""
    if check == RESUBMIT:
        return {
            record.id: {
                "cannot_resubmit": _why_not(record, snapshot, installation, caller),
                "resubmitted_as": list(facts.resubmitted.get(record.id, ())),
            }
            for record in facts.records
        }
    return {
        record.id: {"cannot_resume": _why_not_resumed(record, facts, snapshot, installation, caller)}
        for record in facts.records
    }


def _why_not(record: RunRecord, snapshot: Snapshot, installation: Installation, caller: Caller) -> str | None:
    what = standing(installation, record, caller)
    try:
        check_resubmit(record, snapshot.triggers.get(record.workflow), what, caller)
    except Problem as shown:
        return shown.detail
    except Refused:
        return NO_ACCESS
    return None


def _why_not_resumed(
    record: RunRecord, facts: Facts, snapshot: Snapshot, installation: Installation, caller: Caller
) -> str | None:
    if standing(installation, record, caller) is not Standing.OPERATOR:
        return PROBLEMS["forbidden"].detail
    if record.workflow not in snapshot.triggers:
        return GONE
    why = facts.not_resumable.get(record.id)
    return why.value if why is not None else None
