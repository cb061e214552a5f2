"""What a test sees of a request: the reply, and what is on record of its run."""

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from postern.testing.failing import KitFailure
from postern.testing.people import NOBODY, Sender, sender_of
from postern.testing.record import Record
from postern.testing.session import SESSION

if TYPE_CHECKING:
    from concurrent.futures import Future

    from postern.http_client import Headers, Response

RUN_ID = "x-run-id"
ENDED = ("Succeeded", "Failed", "Cancelled", "TimedOut", "Interrupted")
GOING_ON = 2.0
"""Real seconds that a run gets to leave a wait."""
PATIENCE = 10.0
"""Real seconds that `wait` gives a run to reach a state. Time that the test's clock moves does not count."""


class Result:
    """The reply to a request. What is on record is read when it is asked for."""

    def __init__(self, response: "Response", sender: Sender = NOBODY) -> None:
        self._sender = sender
        self.status: int = response.status_code
        self.headers: Headers = response.headers
        self.content: bytes = response.content

    def __repr__(self) -> str:
        run = self.headers.get(RUN_ID)
        more = f", run {run}" if run else ""
        return f"<Result {self.status}{more}{f', refused: {self.refused}' if self.refused else ''}>"

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body, read as JSON."""
        try:
            return json.loads(self.content)
        except ValueError:
            raise KitFailure(f"The reply {self.status} is no JSON: {self.text[:500]!r}") from None

    @property
    def refused(self) -> str | None:
        """Why no workflow ran: the name of the check that failed, such as `listed`, or the code of the problem. None if
        a workflow ran."""
        refusal = SESSION.server.refusals.get(self._id)
        return refusal.reason if refusal is not None else None

    @property
    def run(self) -> "Record | None":
        """The record of the run, as it is now and as `GET /runs/ID` shows it to operators; None if none was started, or
        it is not recorded."""
        run_id = self.headers.get(RUN_ID)
        return SESSION.server.read(f"/runs/{run_id}") if run_id is not None else None

    @property
    def steps(self) -> "list[Record]":
        """The recorded steps of the run, with their attempts."""
        run = self.run
        return run.steps if run is not None else []

    @property
    def calls(self) -> "list[Record]":
        """The recorded calls of the run."""
        run = self.run
        return run.calls if run is not None else []

    @property
    def log(self) -> list[Mapping[str, Any]]:
        """The lines of the log that belong to the run, or to the rejected request. `event` is their text."""
        return [*SESSION.server.log_of(self._id)]

    def wait(self, *states: str, seconds: float = PATIENCE) -> "Record":
        """The record of the run when it is in one of these states; without them, when it has ended or waits for
        something. Fails the test after so many real seconds."""
        until = time.perf_counter() + seconds
        server = SESSION.server
        while (run := self.run) is None or not _reached(run, states):
            if run is not None and not states and server.crashes.happened.is_set():
                break
            if run is None and self.headers.get(RUN_ID) is None:
                raise KitFailure(f"No run was started: {self!r}")
            if time.perf_counter() > until:
                state = run.state if run is not None else "not recorded"
                raise KitFailure(f"The run is {state} after {seconds:g} s, and not {' or '.join(states) or 'settled'}.")
            time.sleep(0.01)
        SESSION.check()
        return run

    def reply(self, *states: str, seconds: float = PATIENCE) -> "Result":
        """The reply of a durable run, which got a 202 when it was accepted: wait until it has ended, and fetch it."""
        self.wait(*(states or ENDED), seconds=seconds)
        response = SESSION.server.api("GET", f"/runs/{self.headers[RUN_ID]}/result", self._sender)
        return Result(response, self._sender)

    def signal(self, name: str, body: Any = None, *, as_: Sender | str | None = None) -> "Result":
        """Send a signal to the run, as its caller or as another one. A run that waits for it has gone on when this
        returns."""
        self.wait()
        waits = self._waits_for(name)
        sent = self._send(f"signals/{quote(name)}", body, as_)
        if waits:
            self._wait_until_it_goes_on(name)
        return sent

    def approve(self, name: str, *, as_: Sender | str, comment: str = "") -> "Result":
        """Approve what the run waits for under this name. The run has gone on when this returns."""
        return self._decide(name, as_, approved=True, comment=comment)

    def reject(self, name: str, *, as_: Sender | str, comment: str = "") -> "Result":
        """Reject it."""
        return self._decide(name, as_, approved=False, comment=comment)

    def cancel(self, *, as_: Sender | str | None = None) -> "Result":
        """Cancel the run."""
        return self._send("cancel", None, as_)

    def _decide(self, name: str, as_: Sender | str, **decision: Any) -> "Result":
        self.wait()
        decided = self._send(f"approvals/{quote(name)}", decision, as_)
        if decided.status < 300:
            self._wait_until_it_goes_on(name)
        return decided

    def _waits_for(self, name: str) -> bool:
        run = self.run
        durable = run.durable if run is not None else None
        return durable is not None and durable.phase == "waiting" and durable.waits_for == name

    def _wait_until_it_goes_on(self, name: str) -> None:
        """It may wait for the same name again: then it has gone on too."""
        until = time.perf_counter() + GOING_ON
        while self._waits_for(name) and time.perf_counter() < until:
            time.sleep(0.01)
        self.wait()

    def _send(self, path: str, body: Any, as_: Sender | str | None) -> "Result":
        if (run_id := self.headers.get(RUN_ID)) is None:
            raise KitFailure(f"No run was started: {self!r}")
        sender = sender_of(as_) if as_ is not None else self._sender
        content = b"" if body is None else json.dumps(body).encode()
        result = Result(SESSION.server.api("POST", f"/runs/{run_id}/{path}", sender, content), sender)
        if result.status >= 400 and result.status != 401:
            raise KitFailure(f"POST /runs/{run_id}/{path} got {result.status}: {result.text[:500]}")
        return result

    @property
    def _id(self) -> str:
        """The id of the run or the rejected request, which are of one kind."""
        if found := self.headers.get(RUN_ID):
            return found
        try:
            document = json.loads(self.content)
        except ValueError:
            return ""
        return str(document.get("request_id", "")) if isinstance(document, dict) else ""


class Started:
    """A request that was sent, and whose reply has not come yet."""

    def __init__(self, reply: "Future[Response]", sender: Sender) -> None:
        self._reply = reply
        self._sender = sender

    @property
    def done(self) -> bool:
        """Whether the reply is there."""
        return self._reply.done()

    def result(self, seconds: float = PATIENCE) -> Result:
        """The reply, after so many real seconds at most."""
        try:
            response = self._reply.result(seconds)
        except TimeoutError:
            raise KitFailure(f"There is no reply after {seconds:g} s.") from None
        finally:
            SESSION.check()
        return Result(response, self._sender)


def _reached(run: Record, states: tuple[str, ...]) -> bool:
    if states:
        return run.state in states
    return run.state in ENDED or (run.durable is not None and run.durable.phase in ("waiting", "parked"))
