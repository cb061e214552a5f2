"""What a caller sends to a durable run. The API and the console share it, so access and the lines in the log are the
same."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from structlog.typing import FilteringBoundLogger

from postern.access import Caller, Refused, admit
from postern.api.access import Standing, is_anonymous
from postern.api.run_audit import RunAudit
from postern.authoring.asked import wait_name
from postern.authoring.workflow import MAX_ELEMENTS
from postern.catalog import Trigger
from postern.elements import has_more_elements
from postern.errors import Problem, problem
from postern.ids import new_id
from postern.journal.reading.records import RunRecord
from postern.journal.run import actor
from postern.journal.signals import MOST_BYTES, Arrival, Sent
from postern.json_parser import parse
from postern.runs.idempotency import check_key, scope_of, secured_fingerprint


class SendSignal(Protocol):
    """Keeps a signal. Returns what became of it, and when it was sent."""

    async def __call__(self, sent: Sent, /) -> tuple[Arrival, float]: ...


class Sender(NamedTuple):
    """Who sends a signal to a run, from `address`."""

    record: RunRecord
    caller: Caller
    address: str


def check_sender(record: RunRecord, trigger: Trigger | None, what: Standing, sender: Caller) -> None:
    """Check that a caller may send signals to a run. If its author says who may (`signals=`), `admit` decides, and
    nobody else may. Otherwise the run's caller and operators may. The id of an anonymous caller's run does not tell
    its caller from others, and of a workflow that is not served nobody knows what its author says: these are for
    operators. Raises Refused, and Problem `unknown-run` or `forbidden`."""
    if trigger is not None and trigger.signals is not None:
        try:
            return admit(trigger.signals, sender)
        except Refused as refused:
            if what is Standing.NONE:
                raise problem("unknown-run", reason=refused.failed.name) from None
            raise
    if what is Standing.NONE:
        raise problem("unknown-run")
    if what is Standing.OPERATOR or (what is Standing.OWNER and trigger is not None):
        return None
    raise problem("forbidden")


def signal_name(text: str) -> str:
    """The name in the path. Raises Problem."""
    try:
        return wait_name(text)
    except ValueError:
        detail = "The name has at most 100 lower-case letters, digits, and single hyphens between them."
        raise problem("invalid-path", detail=detail) from None


def checked_body(body: bytes) -> str:
    """The JSON text of a body; `null` if there is none. Raises Problem."""
    if not body:
        return "null"
    if has_more_elements(body, MAX_ELEMENTS):
        raise problem("too-many-elements", limit_elements=MAX_ELEMENTS)
    try:
        text = body.decode().removeprefix("\ufeff")
        parse(text)
    except ValueError:
        raise problem("invalid-json") from None
    return text


@dataclass(frozen=True, slots=True)
class SignalActions:
    """Sends signals. `keep` is None where no run is durable. A body has at most `most_bytes`."""

    keep: SendSignal | None
    max_body_bytes: int
    log: FilteringBoundLogger
    now: Callable[[], float]
    audit: RunAudit = field(default_factory=RunAudit)

    @property
    def most_bytes(self) -> int:
        """The most bytes of a body."""
        return min(self.max_body_bytes, MOST_BYTES)

    async def send(self, sender: Sender, name: str, body: bytes, keys: Sequence[bytes] = ()) -> float:
        """Send a signal, and return when it was sent. `keys` are the fields Idempotency-Key: of a repeated request,
        this is the time of the first one. Raises Problem."""
        record, caller, address = sender
        text = checked_body(body)
        key = check_key(keys) if keys else None
        its_id = new_id() if key is None else scope_of(record.id, caller, key)
        which = "" if key is None else secured_fingerprint(key, "POST", name, b"", "", body)
        sent = Sent(record.id, its_id, name, self.now(), actor(caller), len(body), text, print=which)
        arrival, at = await self.keep(sent) if self.keep is not None else (Arrival.NOT_DURABLE, 0.0)
        if (wrong := _problem(arrival)) is not None:
            raise wrong
        if arrival is Arrival.ARRIVED:
            self._note(record, caller, address, name)
            self.audit.signalled(caller, record, address, name)
        return at

    def _note(self, record: RunRecord, caller: Caller, address: str, name: str) -> None:
        """Log it. The id of an anonymous caller's run gives access to it, so it is left out."""
        self.log.info(
            "signal-sent",
            run_id="" if is_anonymous(record) else record.id,
            workflow=record.workflow,
            signal=name,
            caller=caller.kind,
            object_id=caller.object_id,
            client_id=caller.client_id,
            client_address=address,
        )


def _problem(arrival: Arrival) -> Problem | None:
    """Why a signal was not kept; None if it was."""
    match arrival:
        case Arrival.ANOTHER:
            return problem("idempotency-key-reused")
        case Arrival.ENDED:
            return problem("run-ended")
        case Arrival.FULL:
            return problem("too-many-signals")
        case Arrival.NOT_DURABLE:
            return problem("run-not-durable")
    return None
