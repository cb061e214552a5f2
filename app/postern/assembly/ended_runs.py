"""Who has to know that a durable run has ended."""

from collections.abc import Callable

from postern.journal.run import Run


class EndedRuns:
    """Called with the id of each durable run whose end is recorded: it calls each of `listeners`. `ran` gets those that
    ended by their code."""

    def __init__(self, ran: Callable[[Run], None] = lambda _: None) -> None:
        self.listeners: list[Callable[[str], object]] = []
        self._ran = ran

    def __call__(self, run_id: str) -> None:
        """The end of this run is recorded."""
        for listener in self.listeners:
            listener(run_id)

    def by_code(self, run: Run) -> None:
        """The end of this run, which its code has reached, is recorded."""
        self._ran(run)
        self(run.id)
