"""What waits for the writer's next batch, and how it is divided among callers. It belongs to the event loop."""

from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from postern.authoring.call_result import Call
from postern.journal.run import Run, Step
from postern.journal.shares import ANONYMOUS, EVERYBODY, Holder, has_room, holder_of
from postern.journal.writing.pending import Operation
from postern.journal.writing.rows import facts, kept_bytes

if TYPE_CHECKING:
    import asyncio

MAX_QUEUED = 10_000
"""Ended runs that wait to be written. With more, no run starts."""

MAX_QUEUED_BYTES = 64 * 1024 * 1024
"""Bytes of what is recorded of their bodies, and of operations. With more, no run starts."""

CROWDED = MAX_QUEUED // 4
CROWDED_BYTES = MAX_QUEUED_BYTES // 4
"""Up to here, nobody's share is looked at: see `shares.has_room`."""

LARGE_BYTES = 8 * 1024
"""Runs and operations of more bytes take turns, so that the others do not wait for them."""

TURN_BYTES = 1024 * 1024
"""Bytes of large ones in one batch at most, if there is more than one."""

BATCH_BYTES = 1024 * 1024
"""Bytes of small ones in one batch at most. Some bodies take the writer more than a second for each MiB."""

TURN_SECONDS = 0.03
"""Seconds that a batch with large ones should take. Looking for secrets takes a hundred times as long for some bodies
as for others of the same size, so the bytes of a turn follow what the last one took."""

Facts = tuple[Any, ...]


class Large(NamedTuple):
    """A large run with the operation that belongs to it, or a large operation alone."""

    size: int
    facts: Facts | None
    waiter: "asyncio.Future[None] | None"
    operation: Operation | None


Small = tuple[list[Facts], "list[asyncio.Future[None]]", list[Operation]]
"""Runs with those who wait for them, and operations."""


class Held:
    """How many runs and bytes each caller has in a part of the queue, and all anonymous callers together."""

    def __init__(self) -> None:
        self.runs: Counter[Holder] = Counter()
        self.bytes: Counter[Holder] = Counter()

    def add(self, who: Holder, size: int, runs: int = 1) -> None:
        """Add so many bytes and runs, which may be less than 0."""
        for each in (who, EVERYBODY) if who[0] == ANONYMOUS else (who,):
            self.runs[each] += runs
            self.bytes[each] += size
            if not self.runs[each]:
                del self.runs[each], self.bytes[each]


@dataclass(frozen=True, slots=True)
class Taken:
    """What goes into one batch. `waiters` are those of the first runs, in the same order."""

    runs: list[Facts]
    steps: list[tuple[str, Step]]
    calls: list[tuple[str, Call]]
    operations: list[Operation]
    waiters: "list[asyncio.Future[None]]"
    large_bytes: int = 0


class Queue:
    """Records that wait. `bytes` counts those of runs and operations."""

    def __init__(self) -> None:
        self.begun: dict[str, Run] = {}
        self.ended: list[Facts] = []
        self.waiters: list[asyncio.Future[None]] = []
        self.steps: list[tuple[str, Step]] = []
        self.calls: list[tuple[str, Call]] = []
        self.operations: list[Operation] = []
        self.large: deque[Large] = deque()
        self.bytes = 0
        self._turn_bytes = TURN_BYTES // 8
        self._large_held = Held()
        self._small_held = Held()
        self._counted = 0  # of `ended`, in _small_held

    def __len__(self) -> int:
        return len(self.ended) + sum(each.facts is not None for each in self.large)

    def __bool__(self) -> bool:
        """Whether anything waits for a batch. Unfinished runs and steps wait for the next tick."""
        return bool(self.ended or self.operations or self.large)

    @property
    def waits(self) -> bool:
        """Whether anything waits for a batch, or for the next tick."""
        return bool(self.begun or self.steps or self.calls or self)

    @property
    def crowded(self) -> bool:
        """Whether so many bytes wait that what can be left out is left out."""
        return self.bytes > CROWDED_BYTES

    def has_room(self, run: Run) -> bool:
        """Whether this run may start. It counts what each caller has in the queue, so ask only if that is crowded."""
        for each in self.ended[self._counted :]:
            self._small_held.add(_holder(each), kept_bytes(each))
        self._counted = len(self.ended)
        caller = run.caller
        who = holder_of(caller.kind, caller.tenant_id, caller.object_id, run.request.client_address)
        is_anonymous = who[0] == ANONYMOUS
        small, large = self._small_held, self._large_held

        def room(small: Counter[Holder], large: Counter[Holder], queued: int, most: int) -> bool:
            together = small[EVERYBODY] + large[EVERYBODY] if is_anonymous else None
            return has_room(small[who] + large[who], together, queued, most)

        return room(small.runs, large.runs, len(self), MAX_QUEUED) and room(
            small.bytes, large.bytes, self.bytes, MAX_QUEUED_BYTES
        )

    def end(self, run: Run, waiter: "asyncio.Future[None]", along: Operation | None) -> int:
        """Queue a run that has ended, as it is recorded, and the operation that belongs into its transaction. Returns
        the bytes of both."""
        self.begun.pop(run.id, None)
        row = facts(run)
        size = len(run.request.body) + len(run.outcome.content)
        if headers := row[-1]:
            size += len(headers)
        if size <= LARGE_BYTES and along is None:
            self.bytes += size
            self.ended.append(row)
            self.waiters.append(waiter)
            return size
        return self._end_other(row, waiter, along)

    def _end_other(self, row: Facts, waiter: "asyncio.Future[None]", along: Operation | None) -> int:
        """The same for a run that may be large, or that has an operation."""
        size = kept_bytes(row) + (along.size if along is not None else 0)
        self.bytes += size
        if size > LARGE_BYTES:
            self.large.append(Large(size, row, waiter, along))
            self._large_held.add(_holder(row), size)
            return size
        self.ended.append(row)
        self.waiters.append(waiter)
        if along is not None:
            along.after, along.of_run = len(self.ended), True
            self.operations.append(along)
        return size

    def operate(self, operation: Operation) -> None:
        """Queue an operation."""
        size = operation.size
        self.bytes += size
        if size > LARGE_BYTES:
            self.large.append(Large(size, None, None, operation))
        else:
            operation.after = len(self.ended)
            self.operations.append(operation)

    def take(self, *, begun: bool) -> Taken | None:
        """Take the next batch: everything but large ones that have to wait for their turn, and small ones beyond
        BATCH_BYTES. If `begun`, also runs that have begun. None if there is nothing."""
        later = self._hold_back() if self.bytes > BATCH_BYTES else None
        runs, waiters, operations = self.ended, self.waiters, self.operations
        self.bytes = large_bytes = 0
        if self.large:
            large_bytes = self._take_large(runs, waiters, operations)
        if self._counted:
            self._small_held, self._counted = Held(), 0
        if begun and self.begun:
            self._take_begun(runs)
        if not (runs or operations or self.steps or self.calls):
            return None
        taken = Taken(runs, self.steps, self.calls, operations, waiters, large_bytes)
        self.ended, self.waiters, self.steps, self.calls, self.operations = [], [], [], [], []
        if later is not None:
            self.ended, self.waiters, self.operations = later
            self.bytes += self._small_bytes()
        return taken

    def committed(self, large_bytes: int, seconds: float) -> None:
        """A batch with so many bytes of large ones took so long."""
        if large_bytes:
            wanted = large_bytes * min(2.0, TURN_SECONDS / max(seconds, 0.001))
            self._turn_bytes = round(min(max(wanted, LARGE_BYTES), TURN_BYTES))

    def abandoned(self) -> "tuple[list[asyncio.Future[None]], list[Operation]]":
        """The waiters and operations of callers, who no longer wait. Runs, and operations that nobody waits for, stay
        queued."""
        waiters = [*self.waiters, *(each.waiter for each in self.large if each.waiter is not None)]
        found = [*self.operations, *(each.operation for each in self.large if each.operation is not None)]
        self.operations = [each for each in self.operations if each.future is None]
        self.large = deque(
            each for each in self.large if each.facts or (each.operation and each.operation.future is None)
        )
        self.bytes = self._small_bytes() + sum(each.size for each in self.large)
        return waiters, found

    def _small_bytes(self) -> int:
        return sum(map(kept_bytes, self.ended)) + sum(each.size for each in self.operations)

    def _hold_back(self) -> Small:
        """Remove small runs and operations beyond BATCH_BYTES, and return them. What was queued earlier is written
        earlier, and a run with its operation."""
        count, number = self._fitting()
        later = (self.ended[count:], self.waiters[count:], self.operations[number:])
        for each in later[2]:
            each.after -= count
        self.ended, self.waiters, self.operations = (
            self.ended[:count],
            self.waiters[:count],
            self.operations[:number],
        )
        return later

    def _fitting(self) -> tuple[int, int]:
        """How many runs and operations are at most BATCH_BYTES, or the first one."""
        left = BATCH_BYTES
        count = 0
        for number, each in enumerate(self.operations):
            while count < each.after:
                left -= kept_bytes(self.ended[count])
                if left < 0 and (count or number):
                    return count, number
                count += 1
            left -= each.size
            if left < 0 and (count or number) and not each.of_run:
                return count, number
        while count < len(self.ended):
            left -= kept_bytes(self.ended[count])
            if left < 0 and count:
                return count, len(self.operations)
            count += 1
        return count, len(self.operations)

    def _take_begun(self, runs: list[Facts]) -> None:
        """Add runs that have begun, the oldest first, until they have TURN_BYTES. The others wait for the next batch: a
        thousand large ones would hold up everybody's records."""
        left = TURN_BYTES
        for run_id in list(self.begun):
            row = facts(self.begun.pop(run_id))
            runs.append(row)
            left -= kept_bytes(row)
            if left < 0:
                break

    def _take_large(self, runs: list[Facts], waiters: "list[asyncio.Future[None]]", operations: list[Operation]) -> int:
        """Add large ones up to the bytes of a turn, but at least one. Returns their bytes."""
        turn, large = self._turn_bytes, self.large
        left = turn
        while large and (left == turn or large[0].size <= left):
            size, row, waiter, operation = large.popleft()
            left -= size
            if row is not None and waiter is not None:
                runs.append(row)
                waiters.append(waiter)
                self._large_held.add(_holder(row), -size, -1)
            if operation is not None:
                operations.append(operation)
        self.bytes = sum(each.size for each in large)
        return turn - left


def _holder(facts: Facts) -> Holder:
    kind, object_id, tenant_id, *_ = facts[2]
    return holder_of(kind, tenant_id, object_id, facts[3][0])
