"""Refusals (rejected requests) as pages show them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from postern.access import Guarded
from postern.catalog import Trigger
from postern.console.check_rows import CheckRow, failed_row, rows_of, scope_to_ask_for
from postern.console.check_words import wrong
from postern.console.faults import FAULTS
from postern.console.run_words import through_words
from postern.console.words import day_words, first_of_each_day, time_words
from postern.errors import PROBLEMS
from postern.journal.reading.records import RefusalRecord
from postern.journal.refusal import recorded_checks
from postern.journal.refusal_windows import MANY, OTHER
from postern.plain_text import plain

SIGN_IN = "sign-in-"
"""How the codes begin of refusals of people who sign in."""
MOST_OF_A_NAME = 60
"""Characters of a claimed name in the list."""
_ADDRESSES = {MANY: "many addresses", OTHER: "an address that is none"}


@dataclass(frozen=True, slots=True)
class Who:
    """The identity in the token. `verified` means that one of our tenants signed it; any other may be forged."""

    text: str
    verified: bool


@dataclass(frozen=True, slots=True)
class RefusalRow:
    """A refusal in a list. `linked` is whether its workflow is one name, and not several.
    `day` and `time` are those of the last request."""

    id: str
    reason: str
    words: str
    code: str
    status: int
    workflow: str
    linked: bool
    address: str
    who: Who | None
    count: int
    first_at: float
    last_at: float
    day: str
    time: str


@dataclass(frozen=True, slots=True)
class RefusalPage:
    """A refusal with its checks. `failed` is the first failed one, and `scope` the one to request then, "" if another
    token would change nothing. `asked` is the id that was looked for, if it is not that of the first request. `served`
    is whether its workflow is."""

    row: RefusalRow
    checks: list[CheckRow]
    failed: CheckRow | None
    scope: str
    claimed: list[tuple[str, str]]
    via: str
    through: list[tuple[str, str]]
    request_ids: tuple[str, ...]
    asked: str
    served: bool


def refusal_rows(records: Sequence[RefusalRecord]) -> list[RefusalRow]:
    """The rows of the list. The first of each day has the day."""
    return first_of_each_day(map(refusal_row, records))


def refusal_row(record: RefusalRecord) -> RefusalRow:
    """One row."""
    return RefusalRow(
        id=record.id,
        reason=plain(record.reason),
        words=reason_words(record.reason),
        code=record.code,
        status=record.status,
        workflow="several workflows" if record.workflow == MANY else plain(record.workflow),
        linked=record.workflow not in ("", MANY),
        address=_ADDRESSES.get(record.client_address, plain(record.client_address)),
        who=who_of(record.claimed),
        count=record.count,
        first_at=record.first_at,
        last_at=record.last_at,
        day=day_words(record.last_at),
        time=time_words(record.last_at),
    )


def refusal_view(
    record: RefusalRecord, asked: str, trigger: Trigger | None, audiences: Sequence[str] = ()
) -> RefusalPage:
    """One refusal. `trigger` is its workflow as it is served now: a check that was not made is named by it.
    `audiences` are the installation's."""
    policy = trigger.policy if trigger is not None and isinstance(trigger.policy, Guarded) else None
    rows = rows_of(recorded_checks(record.checks), policy, id_token=record.code.startswith(SIGN_IN))
    failed = failed_row(rows)
    return RefusalPage(
        row=refusal_row(record),
        checks=rows,
        failed=failed,
        scope=scope_to_ask_for(failed, policy, audiences),
        claimed=_claimed(record.claimed),
        via=plain(record.via or ""),
        through=through_words(record.via_client, (record.claimed or {}).get("agent")),
        request_ids=tuple(map(plain, record.request_ids)),
        asked=asked if asked != record.id else "",
        served=trigger is not None,
    )


def reason_words(reason: str) -> str:
    """Why a request was rejected: in the words of the failed check, or of the problem."""
    if words := wrong(reason):
        return words
    known = PROBLEMS.get(reason) or FAULTS.get(reason)
    return known.title if known is not None else plain(reason)


def who_of(claimed: Mapping[str, Any] | None) -> Who | None:
    """The identity in the token in one text; None if there was none."""
    parts = [value for name, value in _claimed(claimed) if name in ("name", "object id")]
    others = [f"{name} {value}" for name, value in _claimed(claimed) if name not in ("name", "object id")]
    text = parts[0] if parts else ", ".join(others)
    return Who(text[:MOST_OF_A_NAME], (claimed or {}).get("verified") is True) if text else None


def _claimed(claimed: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    names = ("name", "object_id", "client_id", "tenant_id")
    found = claimed or {}
    return [(name.replace("_", " "), plain(str(found[name]))) for name in names if found.get(name)]
