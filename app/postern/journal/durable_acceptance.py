"""Durable runs that are accepted: they wait to be claimed. Operations for the journal's writer."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, select

from postern.journal.durable_bytes import PLACE
from postern.journal.durable_limits import UNENDED
from postern.journal.durable_runs import NODE, Phase
from postern.journal.durable_tables import durable_runs
from postern.journal.run import State
from postern.journal.schema import runs
from postern.journal.shares import ANONYMOUS, EVERYBODY, Holder, holder_of
from postern.journal.writing.rows import COLUMNS as RUN_COLUMNS
from postern.journal.writing.rows import PLAIN_BYTES, kept_bytes, run_row
from postern.journal.writing.statements import insert_rows
from postern.journal.writing.together import with_together

_GIVEN = (
    *("run_id", "workflow", "phase", "owner", "attempt", "deaths"),
    *("digest", "request", "key_version", "concurrency_key"),
)
_STATE = RUN_COLUMNS.index("state")


class Accepted(NamedTuple):
    """What is recorded of a run that is accepted, beside its facts. `request` is sealed if `key_version` is set.
    `concurrency_key` is a digest. `node` is the server process that runs it from then on, in its first attempt; None if
    it waits to be claimed."""

    digest: str
    request: str
    key_version: str | None = None
    concurrency_key: str | None = None
    node: str | None = None

    def __repr__(self) -> str:
        """Nothing of the request."""
        return f"Accepted({self.digest!r})"


def accept_all(connection: Connection, given: Sequence[Mapping[str, Any]]) -> list[None]:
    """Record runs that are accepted. Each has the arguments of `accept`."""
    rows, durable = [], []
    for each in given:
        facts, accepted = each["facts"], each["accepted"]
        row = list(run_row(facts, NODE))
        state, phase, attempt = (
            (State.WAITING, Phase.READY, 0) if accepted.node is None else (State.RUNNING, Phase.RUNNING, 1)
        )
        row[_STATE] = state.value
        if row[PLACE] is not None:
            row[PLACE] += len(accepted.request)
        rows.append(row)
        durable.append((facts[0], facts[1], phase.value, accepted.node, attempt, 0, *accepted[:-1]))
    insert_rows(connection, runs, RUN_COLUMNS, "ON CONFLICT (id) DO NOTHING", rows)
    insert_rows(connection, durable_runs, _GIVEN, "ON CONFLICT (run_id) DO NOTHING", durable)
    return [None] * len(given)


def _size(given: Mapping[str, Any]) -> int:
    return kept_bytes(given["facts"]) + len(given["accepted"].request) + PLAIN_BYTES


@with_together(accept_all, _size)
def accept(connection: Connection, facts: tuple[Any, ...], accepted: Accepted) -> None:
    """Record a run that is accepted. It may be repeated, also when the run has been claimed."""
    accept_all(connection, [{"facts": facts, "accepted": accepted}])


def remove_unclaimed(connection: Connection, run_id: str, node: str | None = None) -> bool:
    """Delete a run that was accepted, unless it has been claimed. If it was accepted for the server process `node`,
    which has not begun it, it is deleted unless another one has it."""
    its = durable_runs.c
    how = (Phase.READY, 0) if node is None else (Phase.RUNNING, 1)
    mine = (
        its.run_id == run_id,
        its.phase == how[0].value,
        its.attempt == how[1],
        its.owner.is_not_distinct_from(node),
    )
    return connection.execute(delete(durable_runs).where(*mine)).rowcount == 1


class Ready(NamedTuple):
    """How many runs wait to be claimed, and how many of them each caller has: that is left out while they are few."""

    total: int
    held: Mapping[Holder, int]


def waiting(connection: Connection, most: int, *, divides: bool = False) -> Ready:
    """What waits to be claimed, counted up to `most`; if it `divides` them, and more than a quarter of `most` wait, by
    caller too."""
    ready = select(durable_runs.c.run_id).where(durable_runs.c.phase == Phase.READY.value, UNENDED).limit(most)
    of = ready.subquery()
    count = connection.execute(select(func.count()).select_from(of)).scalar_one()
    if not divides or count <= most // 4:
        return Ready(count, {})
    who = (runs.c.caller_kind, runs.c.tenant_id, runs.c.object_id, runs.c.client_address)
    rows = connection.execute(select(*who, func.count()).join(of, of.c.run_id == runs.c.id).group_by(*who))
    held: Counter[Holder] = Counter()
    for kind, tenant, caller, address, found in rows:
        its = holder_of(kind, tenant or "", caller or "", address or "")
        for each in (its, EVERYBODY) if its[0] == ANONYMOUS else (its,):
            held[each] += found
    return Ready(count, held)
