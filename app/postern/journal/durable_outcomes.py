"""Outcomes of durable runs. Operations for the journal's writer: all outcomes of a batch are written by the same
statements."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, update

from postern.journal.durable_bytes import with_bytes
from postern.journal.durable_runs import NO_WAIT, NODE, STATE_PLACE, Hold, Phase
from postern.journal.durable_tables import approvals, durable_runs, signals
from postern.journal.run import State
from postern.journal.writing.rows import PLAIN_BYTES, kept_bytes, run_row
from postern.journal.writing.statements import write_runs
from postern.journal.writing.together import with_together


class _Ending(NamedTuple):
    """What the rows of runs have in common that one statement ends."""

    node: str
    attempt: int
    succeeded: bool
    failed_step: int | None
    reply: tuple[str | None, str | None]

    @property
    def keeps(self) -> bool:
        """Whether the request or the reply stays beside the record."""
        return not self.succeeded or self.reply[0] is not None


def record_outcomes(connection: Connection, given: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Record the ends of runs. Each has the arguments of `record_outcome`, which says what is returned for it."""
    rows = [run_row(each["facts"], NODE) for each in given]
    alike: dict[_Ending, dict[str, int]] = {}
    for place, (row, each) in enumerate(zip(rows, given, strict=True)):
        alike.setdefault(_ending(row, **each), {}).setdefault(row[0], place)
    # First of all: who sends signals, decides or cancels locks this row first too.
    ended = {ending: _ended(connection, ending, places) for ending, places in alike.items()}
    found = {place for places in ended.values() for place in places}
    if found:
        _forget(connection, [rows[place][0] for each, places in ended.items() if each.succeeded for place in places])
        end_approvals(connection, [rows[place][0] for place in found])
        bare, beside = (
            [rows[place] for each, places in ended.items() if each.keeps is keeps for place in places]
            for keeps in (False, True)
        )
        write_runs(connection, [*bare, *with_bytes(connection, beside)])
    return [place in found for place in range(len(given))]


def _size(given: Mapping[str, Any]) -> int:
    reply = given.get("reply")
    return kept_bytes(given["facts"]) + (len(reply[0]) if reply else 0) + PLAIN_BYTES


@with_together(record_outcomes, _size)
def record_outcome(
    connection: Connection,
    facts: tuple[Any, ...],
    hold: Hold,
    failed_step: int | None = None,
    reply: tuple[str, str | None] | None = None,
) -> bool:
    """Record the end of a run, for its owner in this attempt only. `reply` is the whole reply as it is kept, and the
    version of its key. If it has succeeded, what is needed to run it is gone; otherwise that is kept with the record,
    to resume it. False, and nothing is recorded, if another process runs it, or it has ended."""
    given = {"facts": facts, "hold": hold, "failed_step": failed_step, "reply": reply}
    return record_outcomes(connection, [given])[0]


def end_approvals(connection: Connection, run_ids: Iterable[str]) -> None:
    """The runs have ended: nobody decides any more."""
    waits = (approvals.c.run_id.in_(list(run_ids)), approvals.c.state == "waiting")
    connection.execute(update(approvals).where(*waits).values(state="ended"))


def _ending(
    row: Sequence[Any],
    facts: object,
    hold: Hold,
    failed_step: int | None = None,
    reply: tuple[str, str | None] | None = None,
) -> _Ending:
    succeeded = row[STATE_PLACE] == State.SUCCEEDED.value
    return _Ending(hold.node, hold.attempt, succeeded, failed_step, reply or (None, None))


def _ended(connection: Connection, ending: _Ending, places: Mapping[str, int]) -> list[int]:
    """End the runs of these ids, and return the places of those that their owner had. The condition is compared under
    the lock of each row: a process that stood still here may have lost the run meanwhile."""
    its, (whole, key_version) = durable_runs.c, ending.reply
    mine = (its.owner == ending.node, its.attempt == ending.attempt, its.phase != Phase.ENDED.value)
    values = {"phase": Phase.ENDED.value, "owner": None, **NO_WAIT, "failed_step": ending.failed_step}
    values |= {"reply": whole, "reply_key_version": key_version}
    if ending.succeeded:
        values |= {"request": None, "key_version": None, "concurrency_key": None, "discard": 1}
    changed = update(durable_runs).where(its.run_id.in_(sorted(places)), *mine).values(values).returning(its.run_id)
    return [places[run_id] for run_id in connection.execute(changed).scalars()]


def _forget(connection: Connection, run_ids: Sequence[str]) -> None:
    """What came for runs that have succeeded is needed no longer."""
    if run_ids:
        connection.execute(update(signals).where(signals.c.run_id.in_(run_ids)).values(body=None))
        connection.execute(update(approvals).where(approvals.c.run_id.in_(run_ids)).values(data=None))
