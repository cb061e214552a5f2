"""A run with the tree of runs that it called, read level by level, within limits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, or_, select

from postern.call_chain import MOST_DEPTH
from postern.journal.reading.filters import NESTED
from postern.journal.reading.queries import LISTED, calls_of
from postern.journal.reading.records import CallRecord, RunRecord, run_record
from postern.journal.schema import runs

MOST_NODES = 500
"""How many runs of a tree are read, and how many calls."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A call, and the run that it started. One of them may be None: a run elsewhere is not recorded here, and the call
    to a run that is under way is not recorded yet."""

    call: CallRecord | None
    run: RunRecord | None


@dataclass(frozen=True, slots=True)
class Tree:
    """The branches of each run by its id. `truncated` if there are more."""

    root: RunRecord
    branches: Mapping[str, Sequence[Branch]]
    truncated: bool


def find_tree(connection: Connection, run_id: str, most: int = MOST_NODES) -> Tree | None:
    """The tree below a run, or None if there is no run of this id."""
    row = connection.execute(select(*LISTED).where(runs.c.id == run_id)).one_or_none()
    if row is None:
        return None
    root = run_record(row)
    branches: dict[str, list[Branch]] = {}
    seen, level = {run_id}, [run_id]
    left_runs = left_calls = most
    truncated = False
    for _ in range(MOST_DEPTH):
        made = calls_of(connection, level, left_calls + 1, requests=False)
        below = _below(connection, level, [call.run_id for _, call in made if call.run_id], left_runs + 1)
        truncated = truncated or len(made) > left_calls or len(below) > left_runs
        made, below = made[:left_calls], below[:left_runs]
        level = _attach(branches, level, made, [run for run in below if run.id not in seen])
        seen.update(level)
        left_calls, left_runs = left_calls - len(made), left_runs - len(below)
        if not level:
            return Tree(root, branches, truncated)
    return Tree(
        root,
        branches,
        truncated or bool(calls_of(connection, level, 1, requests=False) or _below(connection, level, [], 1)),
    )


def find_chain(
    connection: Connection, record: RunRecord, may_see: Callable[[RunRecord], bool], most: int = MOST_NODES
) -> Tree:
    """The tree that a run is in, from the uppermost run that `may_see` allows: no run above one that it forbids is
    looked at. If the tree is too large to have the run in it, the tree below the run."""
    top, above = record, {record.id}
    while len(above) <= MOST_DEPTH and top.parent_run_id and top.parent_run_id not in above:
        row = connection.execute(select(*LISTED).where(runs.c.id == top.parent_run_id)).one_or_none()
        if row is None or not may_see(parent := run_record(row)):
            break
        top = parent
        above.add(top.id)
    tree = find_tree(connection, top.id, most) if top is not record else None
    if tree is not None and any(
        branch.run and branch.run.id == record.id for row in tree.branches.values() for branch in row
    ):
        return tree
    return find_tree(connection, record.id, most) or Tree(record, {}, truncated=False)


def _below(connection: Connection, parents: Sequence[str], called: Sequence[str], limit: int) -> list[RunRecord]:
    """The runs that these called, by the parent that a run names or by the recorded calls, oldest first."""
    named = or_(runs.c.id.in_(called), and_(NESTED, runs.c.parent_run_id.in_(parents)))
    rows = connection.execute(select(*LISTED).where(named).order_by(runs.c.id).limit(limit))
    return [run_record(row) for row in rows]


def _attach(
    branches: dict[str, list[Branch]],
    parents: Sequence[str],
    made: Sequence[tuple[str, CallRecord]],
    below: Sequence[RunRecord],
) -> list[str]:
    """Put calls, and then runs whose calls are not recorded, below their runs. Returns the ids of the new runs."""
    by_id = {run.id: run for run in below}
    level: list[str] = []
    for parent, call in made:
        run = by_id.pop(call.run_id, None) if call.run_id and not call.url else None
        branches.setdefault(parent, []).append(Branch(call, run))
        level += [run.id] if run is not None else []
    for run in by_id.values():
        if run.parent_run_id is not None and run.parent_run_id in parents:
            branches.setdefault(run.parent_run_id, []).append(Branch(None, run))
            level.append(run.id)
    return level
