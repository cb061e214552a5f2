"""How many runs of each workflow are in progress, and whether another one may begin."""

from collections import Counter

from postern.authoring.workflow import Workflow
from postern.errors import Problem, problem
from postern.runs.outcomes import no_thread
from postern.runs.threads import Threads


class Room:
    """Room for runs in this process. A run takes its place before anything is awaited, so that a limit also holds for
    runs that wait for their idempotency key, their arguments or a thread, and a stop waits for them."""

    def __init__(self, threads: Threads) -> None:
        self.closed = False
        self.taken: Counter[str] = Counter()
        self.abandoned: Counter[str] = Counter()
        """The runs whose `async def` has swallowed its cancellation."""
        self.accepting = 0
        """The durable runs that are being accepted: a stop waits for their replies."""
        self._threads = threads

    @property
    def running(self) -> int:
        """How many runs have not ended, including those in abandoned threads."""
        return self.taken.total() + self.accepting + self._threads.abandoned.total()

    @property
    def running_by_workflow(self) -> dict[str, int]:
        """How many runs of each workflow have not ended."""
        abandoned = self._threads.abandoned
        return {name: runs + abandoned[name] for name, runs in list(self.taken.items())}

    @property
    def abandoned_by_workflow(self) -> dict[str, int]:
        """How many runs of each workflow have been cancelled and go on all the same."""
        return {name: self.abandoned[name] + self._threads.abandoned[name] for name in list(self.taken)}

    def take(self, workflow: Workflow) -> None:
        """Take the place of a run, or raise Problem 503 while the server stops, or 429. Whoever takes it gives it
        back."""
        if self.closed:
            raise shutting_down()
        name, most = workflow.name, workflow.max_concurrency if workflow.concurrency_key is None else None
        if most is not None and self.taken[name] + self._threads.abandoned[name] >= most:
            raise problem("too-many-runs", headers={"Retry-After": "1"})
        if not workflow.is_async and self._threads.exhausted(name):
            raise no_thread()
        self.taken[name] += 1

    def give_back(self, workflow: Workflow) -> None:
        """The run has ended, or does not begin."""
        self.taken[workflow.name] -= 1

    def check_open(self) -> None:
        """After each wait before a run begins: raise Problem 503 if the server stops by now."""
        if self.closed:
            raise shutting_down()


def shutting_down() -> Problem:
    """The problem of a run that does not begin because the server stops."""
    return problem("shutting-down", headers={"Retry-After": "5"})
