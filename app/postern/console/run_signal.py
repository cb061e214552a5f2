"""Send a signal to a durable run: a form for those who may, which does what the run API does."""

from dataclasses import dataclass
from typing import Any

from postern.api.run_actions import Seen
from postern.api.signal_actions import Sender, SignalActions, check_sender, signal_name
from postern.console.form import form_of
from postern.console.page import PageRoute, SeeOther, Shown, Visit, unproved
from postern.console.run_pages import HERE, seen_run
from postern.console.run_words import sentence
from postern.console.services import Services
from postern.errors import Problem, problem
from postern.ids import is_id, new_id
from postern.journal.durable_runs import Reason
from postern.plain_text import plain

SHOWN_AGAIN = frozenset({"invalid-path", "invalid-json", "too-many-elements", "run-ended", "too-many-signals"})
"""Problems that are said in the form, which keeps what was typed."""
LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class RunSignal:
    """The page and its form."""

    services: Services

    @property
    def routes(self) -> tuple[PageRoute, ...]:
        """Where they are."""
        return (
            PageRoute("GET", "/console/runs/{id}/signal", self.ask),
            PageRoute("POST", "/console/runs/{id}/signal", self.send),
        )

    async def ask(self, visit: Visit) -> Shown:
        """The form, with the name that the run waits for."""
        seen = await self._seen(visit)
        durable = seen.record.durable
        waits = durable is not None and durable.reason == Reason.SIGNAL
        return self._shown(seen, (durable.waits_for or "") if durable is not None and waits else "", "", new_id())

    async def send(self, visit: Visit) -> Shown | SeeOther:
        """Send it, once: a form that is sent again is the same signal. Then go on to the run."""
        seen = await self._seen(visit)
        fields = await form_of(visit, 4 * self._actions.most_bytes)
        name, body, key = fields.get("name", "").strip(), fields.get("body", ""), fields.get("key", "")
        if not is_id(key):
            raise problem("bad-request", detail="The form is not complete: open it again.")
        seen = await self._seen(visit)  # again: access may have ended while the form arrived
        sender = Sender(seen.record, unproved(visit.viewer.caller), seen.address)
        content = body.strip().encode()
        try:
            if len(content) > self._actions.most_bytes:
                raise problem("body-too-large", detail=f"A signal has at most {self._actions.most_bytes} bytes.")
            await self._actions.send(sender, signal_name(name), content, [key.encode()])
        except Problem as wrong:
            if wrong.code not in SHOWN_AGAIN | {"body-too-large"}:
                raise
            return self._shown(seen, name, body, key, wrong.detail, wrong.status)
        return SeeOther(f"/console/runs/{seen.record.id}")

    @property
    def _actions(self) -> SignalActions:
        if self.services.signals is None:
            raise problem("not-found")
        return self.services.signals

    async def _seen(self, visit: Visit) -> Seen:
        """The run, if the person may send signals to it. Raises Problem, and Refused, which is recorded with its
        checks."""
        seen = await seen_run(self.services, visit)
        trigger = self.services.snapshot().triggers.get(seen.record.workflow)
        check_sender(seen.record, trigger, seen.standing, unproved(visit.viewer.caller))
        if seen.record.durable is None:
            raise problem("run-not-durable")
        return seen

    def _shown(self, seen: Seen, name: str, body: str, key: str, wrong: str = "", status: int = 200) -> Shown:
        values: dict[str, Any] = {
            "id": seen.record.id,
            "workflow": plain(seen.record.workflow),
            "sentence": sentence(seen.record, "", self.services.now()),
            "ended": seen.record.ended,
            "name": plain(name)[:LONGEST_NAME],
            "body": body,
            "key": key,
            "wrong": wrong,
        }
        return Shown("run_signal.html", values, HERE, status)
