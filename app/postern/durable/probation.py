"""The last attempt of a run that server processes did not survive is made while no other such run is executed, so that
only those fail which are to blame. Pure."""

from postern.journal.durable_runs import SUSPECT

SECONDS = 30.0
"""So long the next suspect waits for one that goes on."""


class Probation:
    """The suspects that run in this server process. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def may_take(self, now: float) -> bool:
        """Whether a suspect may begin."""
        return all(now - since >= SECONDS for since in self._since.values())

    def took(self, run_id: str, deaths: int, now: float) -> None:
        """A run begins, which may be a suspect."""
        if deaths >= SUSPECT:
            self._since[run_id] = now

    def ended(self, run_id: str) -> bool:
        """A run has ended here, waits, or was left. Returns whether it was a suspect."""
        return self._since.pop(run_id, None) is not None
