"""The records of requests that runs send by a gateway, through `ctx.connection`: an operator sees on the run
what it sent, and by which agent. Requests that go directly have none."""

from collections.abc import Callable
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING

from postern.authoring.call_result import Call
from postern.call_chain import Part, part_of
from postern.http_client import BY, Request, Response, SentBy
from postern.journal.schema import FIRST_REQUEST
from postern.journal.secured import kept_type

if TYPE_CHECKING:
    from postern.authoring.context import Context

MOST = 100
"""Requests of a run that have records of their own. Further ones are counted."""
_EXECUTIONS = 1_000_000
_IN_EXECUTION = 1000
"""Numbers of one execution of a run: it begins with its time in seconds, so that requests of an earlier execution of a
durable run, maybe in another server process, keep theirs."""

Note = Callable[[str, Call], None]


@dataclass(slots=True)
class _OfRun:
    """What a run has sent. `first` is the number of its first request here."""

    first: int
    count: int = 0
    gateway: str = ""
    began: float = 0.0
    last: float = 0.0


class NotedRequests:
    """The requests by gateways of runs that have not ended, which `in_progress` says. `note` gets their records. It
    belongs to the server's event loop. `now` is the time of day in Unix seconds."""

    def __init__(self, note: Note, in_progress: Callable[[str], bool], now: Callable[[], float] = time) -> None:
        self._note = note
        self._in_progress = in_progress
        self._now = now
        self.runs: dict[str, _OfRun] = {}
        """Those that have sent any."""

    def of(self, ctx: "Context", entry: str, gateway: str) -> "Noting":
        """What notes the requests of a run by this entry."""
        return Noting(self, ctx.run_id, entry, gateway, secured=ctx.secured)

    def ended(self, run_id: str) -> None:
        """The run has ended: note how many further requests it has sent."""
        found = self.runs.pop(run_id, None)
        if found is not None and found.count > MOST:
            more = Call(found.first + MOST, None, "requests", found.began, found.last, gateway=found.gateway)
            more.requests = found.count - MOST
            self._note(run_id, more)

    def sent(self, run_id: str, call: Call) -> None:
        """Note one request, unless its run has ended and left the task behind that sent it."""
        if not self._in_progress(run_id):
            return
        of_run = self.runs.get(run_id)
        if of_run is None:
            first = FIRST_REQUEST + int(self._now()) % _EXECUTIONS * _IN_EXECUTION
            of_run = self.runs[run_id] = _OfRun(first)
        if of_run.count < MOST:
            call.number = of_run.first + of_run.count
            self._note(run_id, call)
        elif of_run.count == MOST:
            of_run.began = call.started_at
        of_run.count += 1
        of_run.gateway, of_run.last = call.gateway, call.ended_at


@dataclass(frozen=True, slots=True)
class Noting:
    """Notes the requests of one run by one entry."""

    requests: NotedRequests
    run_id: str
    entry: str
    gateway: str
    secured: bool

    def begins(self, request: Request) -> Call:
        """A request is about to be sent."""
        request.extensions[BY] = SentBy(self.gateway)
        step = part_of(self.run_id, Part(self.run_id)).step
        return Call(0, step, self.entry, self.requests._now(), gateway=self.gateway)

    def ends(self, request: Request, call: Call, found: Response | BaseException) -> None:
        """It has a response, of which only the status is noted, or none."""
        call.ended_at = self.requests._now()
        call.agent = request.extensions[BY].agent
        if isinstance(found, Response):
            call.status = found.status_code
        else:
            call.error = kept_type(found, secured=self.secured)
        self.requests.sent(self.run_id, call)
