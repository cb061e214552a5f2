"""The server processes that share a journal: each writes a heartbeat, and interrupts the runs of dead ones.

Clocks of machines are never compared: a process increments its beat, and the others check by their own clock whether it
still does. Their table is named `nodes`. Its row NODE is no process: each process beats for it, so that durable runs,
which have it as their process, are never those of a dead one.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic, time
from typing import Any, Protocol, TypeVar

import anyio
import structlog
from sqlalchemy import ColumnElement, Connection, delete, func, literal_column, select, update

from postern.journal.durable_runs import NODE
from postern.journal.idempotency_keys import free
from postern.journal.inserts import insert_into
from postern.journal.process_identity import lives, this_machine, this_process
from postern.journal.run import MOVES, State
from postern.journal.schema import nodes, runs
from postern.journal.writing.statements import insert_rows
from postern.logs import Trouble

BEAT_EVERY = 5.0
CANCEL_EVERY = 1.0
SILENCE = 30.0
"""Seconds: between two beats, between two looks for runs to cancel, and without a beat until a process counts as
gone."""

FIRST_LOOKS = 10
FIRST_EVERY = 1.0
"""The first looks come sooner: processes that start together know each other within a second or two, which agents of
gateways need."""

OUT_OF_TURN = 1000
"""By how much a beat out of turn differs, so that the next regular one is another value again."""

NO_ROW = -1
"""The beat of a process that has no row, only runs that have not ended."""

_T = TypeVar("_T")
_UNFINISHED = [state.value for state, moves in MOVES.items() if State.INTERRUPTED in moves]

log = structlog.get_logger("postern.nodes")


class Transaction(Protocol):
    """Runs an operation on the journal: `Journal.read` or `Journal.write`."""

    def __call__(self, operation: Callable[[Connection], _T], /) -> Awaitable[_T]: ...


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A server process: `process_identity.py` names its `machine` and `process`. `beat` counts up while it runs.
    `started_at` is in Unix seconds."""

    id: str
    machine: str
    process: str
    started_at: float
    beat: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """A process's beat, and when that value was first seen, in seconds of our own monotonic clock."""

    beat: int
    since: float


def watch(found: Iterable[ServerProcess], seen: Mapping[str, Seen], now: float) -> dict[str, Seen]:
    """The beats that are remembered after this look. A process that beat since the last look gets a new time."""
    before = {each.id: seen.get(each.id) for each in found}
    return {
        each.id: known if (known := before[each.id]) and known.beat == each.beat else Seen(each.beat, now)
        for each in found
    }


def gone(
    found: Iterable[ServerProcess],
    seen: Mapping[str, Seen],
    now: float,
    own: ServerProcess,
    alive: Callable[[str], bool],
    silence: float = SILENCE,
) -> set[str]:
    """The ids of the processes that are gone: at once if a process of this machine has ended, otherwise after so many
    seconds of `silence`, without a beat. `seen` is the result of `watch`, `now` of the same clock. `alive` checks
    processes of this machine."""

    def died_here(each: ServerProcess) -> bool:
        return each.machine == own.machine and not alive(each.process)

    def silent(each: ServerProcess) -> bool:
        known = seen.get(each.id)
        return known is not None and known.beat == each.beat and now - known.since >= silence

    return {each.id for each in found if each.id != own.id and (died_here(each) or silent(each))}


def beat(connection: Connection, node: ServerProcess) -> None:
    """Write that the process is running. The first beat registers it, and inserts a deleted row again."""
    row = {
        "id": node.id,
        "machine": node.machine,
        "process": node.process,
        "started_at": node.started_at,
        "beat": node.beat,
    }
    statement = insert_into(connection.dialect.name, nodes).values(row)
    connection.execute(statement.on_conflict_do_update(index_elements=[nodes.c.id], set_={"beat": node.beat}))


def beat_and_keep(connection: Connection, node: ServerProcess) -> None:
    """Write that the process is running, and keep the shared row of durable runs beating."""
    beat(connection, node)
    beat_all(connection)


def beat_all(connection: Connection) -> None:
    """Keep the shared row beating (see NODE)."""
    done = connection.execute(update(nodes).where(nodes.c.id == NODE).values(beat=nodes.c.beat + 1))
    if not done.rowcount:
        names = ("id", "machine", "process", "started_at", "beat")
        insert_rows(connection, nodes, names, "ON CONFLICT (id) DO NOTHING", [(NODE, "", "", 0.0, 1)])


def beat_again(connection: Connection, node_id: str) -> bool:
    """Beat out of turn, which says: this process is running now, and the row is not deleted meanwhile. False if it has
    no row, because it has just started, or was taken for gone; it registers again with its next beat."""
    done = connection.execute(update(nodes).where(nodes.c.id == node_id).values(beat=nodes.c.beat + OUT_OF_TURN))
    return done.rowcount == 1


def is_known_gone(connection: Connection, node_id: str, own: str, alive: Callable[[str], bool] = lives) -> bool:
    """Whether a process that had a row is gone: it has none now, or it was a process of this machine and has ended.
    `own` is this machine. That it is only silent is found out by `gone`, which deletes its row."""
    found = connection.execute(select(nodes.c.machine, nodes.c.process).where(nodes.c.id == node_id)).one_or_none()
    return found is None or (found.machine == own and not alive(found.process))


def registered_processes(connection: Connection) -> list[ServerProcess]:
    """Every process that has a row."""
    rows = select(nodes).where(nodes.c.id != NODE).order_by(nodes.c.id)
    return [ServerProcess(*row) for row in connection.execute(rows)]


def read_processes(connection: Connection) -> list[ServerProcess]:
    """Every process that has a row, and every one without a row that has inline runs that have not ended."""
    found = registered_processes(connection)
    inline = (*_unfinished(), runs.c.node != NODE)
    rowless = select(runs.c.node).where(*inline, runs.c.node.not_in(select(nodes.c.id))).distinct()
    return found + [ServerProcess(node, "", "", 0.0, NO_ROW) for node in connection.execute(rowless).scalars()]


def interrupt(connection: Connection, node_id: str, now: float, *, seen: int | None = None) -> list[str]:
    """Clean up after a process that is gone: its unfinished runs become Interrupted, their idempotency keys are
    released, and its row is deleted. Returns the ids of those runs. `seen` is its last known beat: nothing happens if
    it has beaten since."""
    same = nodes.c.id == node_id
    connection.execute(delete(nodes).where(same if seen is None else same & (nodes.c.beat == seen)))
    if seen is not None and connection.execute(select(func.count()).where(same)).scalar_one():
        return []
    ended = connection.execute(
        update(runs)
        .where(*_unfinished(), runs.c.node == node_id)
        .values(state=State.INTERRUPTED.value, ended_at=now)
        .returning(runs.c.id)
    )
    ids = sorted(ended.scalars())
    free(connection, ids)
    return ids


def requested_cancellations(connection: Connection, node_id: str) -> list[str]:
    """The unfinished runs of this process for which a cancellation was requested."""
    wanted = select(runs.c.id).where(*_unfinished(), runs.c.node == node_id, runs.c.cancel_requested_at.is_not(None))
    return list(connection.execute(wanted.order_by(runs.c.id)).scalars())


def _unfinished() -> tuple[ColumnElement[bool], ...]:
    """The states from which a run may become Interrupted. The first condition repeats the partial index's own, without
    parameters: otherwise SQLite does not use that index."""
    return runs.c.state != literal_column("'Succeeded'"), runs.c.state.in_(_UNFINISHED)


Look = Callable[[list[ServerProcess], float], Awaitable[object]]
"""Called with the processes that a look found, and the time of the clock."""


class ServerProcesses:
    """This process among the server processes. `read` and `write` are the journal's, `node_id` is the id under which
    its runs are recorded. `cancel` is called once for each run to cancel, `running` returns how many runs are under way
    here. It beats each `beat_every` seconds."""

    def __init__(
        self,
        node_id: str,
        read: Transaction,
        write: Transaction,
        *,
        cancel: Callable[[str], object],
        running: Callable[[], int],
        beat_every: float = BEAT_EVERY,
        clock: Callable[[], float] = monotonic,
        now: Callable[[], float] = time,
        sleep: Callable[[float], Awaitable[Any]] = anyio.sleep,
        alive: Callable[[str], bool] = lives,
    ) -> None:
        self.own = ServerProcess(node_id, this_machine(), this_process(), now())
        self.known: list[ServerProcess] = []
        self._read = read
        self._write = write
        self._cancel = cancel
        self._running = running
        self._beat_every = beat_every
        self._clock = clock
        self._now = now
        self._sleep = sleep
        self._alive = alive
        self._seen: dict[str, Seen] = {}
        self._looked_at = clock()
        self._beaten_at = float("-inf")
        self._cancelled: set[str] = set()
        self.looks: list[Look] = []

    async def run(self) -> None:
        """Beat, watch the other processes and cancel requested runs, until cancelled. An error is logged and followed
        by another attempt. Reads that take long hold up no beat."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._repeat, self.beat, self._beat_every)
            tasks.start_soon(self._repeat, self.watch, self._beat_every, FIRST_LOOKS)
            tasks.start_soon(self._repeat, self.pass_on, CANCEL_EVERY)

    def beat_age(self) -> float:
        """The seconds since this process began to write the last of its beats that is committed; infinite before the
        first. The others see it later: whoever acts only while this is small acts before they take it for gone."""
        return self._clock() - self._beaten_at

    async def look(self) -> None:
        """Beat once, and watch the others once."""
        await self.beat()
        await self.watch()

    async def beat(self) -> None:
        """Beat once. The first beat registers this process."""
        self.own = replace(self.own, beat=self.own.beat + 1)
        began = self._clock()
        await self._write(partial(beat_and_keep, node=self.own))
        self._beaten_at = began

    async def watch(self) -> None:
        """Interrupt the runs of processes that are gone. `known` has those with a row afterwards. Each of `looks` is
        called before, so that nothing of a process is forgotten with its row."""
        if self._beaten_at == float("-inf"):  # then it would not know itself
            await self.beat()
        found = await self._read(read_processes)
        now = self._clock()
        for look in self.looks:
            await look(found, now)
        if now - self._looked_at > SILENCE / 2:  # no process could beat while the journal was unavailable
            self._seen = {}
        self._looked_at = now
        self._seen = watch(found, self._seen, now)
        lost = gone(found, self._seen, now, self.own, self._alive)
        for each in found:
            if each.id in lost:
                await self._interrupt(each)
        self.known = [each for each in found if each.beat != NO_ROW and each.id not in lost]

    async def pass_on(self) -> None:
        """Call `cancel` for each run to cancel, once. Nothing is read while nothing runs."""
        if not self._running():
            self._cancelled.clear()
            return
        wanted = await self._read(partial(requested_cancellations, node_id=self.own.id))
        for run_id in wanted:
            if run_id not in self._cancelled:
                self._cancel(run_id)
        self._cancelled = set(wanted)

    async def leave(self) -> None:
        """This process ends: its row is deleted, and its unfinished runs become Interrupted."""
        left = await self._write(partial(interrupt, node_id=self.own.id, now=self._now()))
        if left:
            log.warning("runs-left-behind", runs=len(left))

    async def _interrupt(self, lost: ServerProcess) -> None:
        ids = await self._write(partial(interrupt, node_id=lost.id, now=self._now(), seen=lost.beat))
        log.warning("node-gone", node=lost.id, machine=lost.machine, process=lost.process, runs=len(ids))

    async def _repeat(self, action: Callable[[], Awaitable[None]], every: float, soon: int = 0) -> None:
        """The first `soon` repetitions come sooner."""
        trouble = Trouble(log.error, "nodes-not-seen")
        while True:
            with trouble.attempt():
                await action()
            await self._sleep(min(every, FIRST_EVERY) if soon > 0 else every)
            soon -= 1
