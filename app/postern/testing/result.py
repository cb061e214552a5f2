"""What a test sees of a request: the reply, and what is on record of its run."""

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from postern.testing.failing import KitFailure
from postern.testing.session import SESSION

if TYPE_CHECKING:
    from concurrent.futures import Future

    from postern.http_client import Headers, Response

RUN_ID = "x-run-id"
PATIENCE = 10.0
"""Real seconds that `wait` gives a run to reach a state. Time that the test's clock moves does not count."""


class Result:
    """The reply to a request. What is on record is read when it is asked for."""

    def __init__(self, response: "Response") -> None:
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
        return read(f"/runs/{run_id}") if run_id is not None else None

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
        return [*SESSION.server.lines.of(self._id)]

    def wait(self, *states: str, seconds: float = PATIENCE) -> "Record":
        """The record of the run when it is in one of these states; without them, when it has ended or waits for
        something. Fails the test after so many real seconds."""
        until = time.perf_counter() + seconds
        while (run := self.run) is None or not _reached(run, states):
            if run is None and self.headers.get(RUN_ID) is None:
                raise KitFailure(f"No run was started: {self!r}")
            if time.perf_counter() > until:
                state = run.state if run is not None else "not recorded"
                raise KitFailure(f"The run is {state} after {seconds:g} s, and not {' or '.join(states) or 'settled'}.")
            time.sleep(0.01)
        SESSION.check()
        return run

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

    def __init__(self, reply: "Future[Response]") -> None:
        self._reply = reply

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
        return Result(response)


def read(path: str) -> "Record | None":
    """A document of the API, as an operator gets it; None if there is none."""
    response = SESSION.server.get(path)
    if response.status_code == 404:
        return None
    if response.status_code != 200:
        raise KitFailure(f"GET {path} got {response.status_code}: {response.text[:500]}")
    found: Record = Record.of(json.loads(response.content))
    return found


class Record(dict[str, Any]):
    """A JSON object whose members are attributes too: `run.state` is `run["state"]`."""

    @classmethod
    def of(cls, value: Any) -> Any:
        """The value, with each object in it as a Record."""
        if isinstance(value, dict):
            return cls((name, cls.of(member)) for name, member in value.items())
        return [cls.of(each) for each in value] if isinstance(value, list) else value

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the record has no {name}; it has {', '.join(self)}") from None


def _reached(run: Record, states: tuple[str, ...]) -> bool:
    if states:
        return run.state in states
    return run.state != "Running" and not (run.state == "Waiting" and run.durable.reason is None)
