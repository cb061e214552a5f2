"""The runs that agents look at, with the access of the run API. Loaded when the SDK is."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from postern.access import ANYONE, Caller
from postern.api.results import retry_after
from postern.api.run_actions import RunActions, Seen, see
from postern.assembly.api_needs import ApiNeeds
from postern.assembly.api_pages import ApiActions
from postern.assembly.foundation import Foundation
from postern.assembly.installation import installation_of
from postern.errors import problem
from postern.ids import is_id
from postern.journal.reading.queries import find_run
from postern.journal.run import State
from postern.journal.shares import holder_of
from postern.mcp.later import RunView
from postern.triggers.rejections import address_of
from postern.triggers.reply import Answer
from postern.triggers.secure_transport import Scope


@dataclass(frozen=True, slots=True)
class AgentsRuns:
    """See `mcp.later.Runs`. `made` returns what the run API does."""

    base: Foundation
    needs: ApiNeeds
    made: Callable[[], ApiActions]

    async def view(self, run_id: str, scope: Scope, caller: Caller) -> RunView:
        """The run as it is now."""
        return self._view(await self._seen(run_id, scope, caller))

    async def until_ended(self, run_id: str, scope: Scope, caller: Caller, seconds: float) -> RunView:
        """The run when it has ended, or as it is after so many seconds."""
        seen = await self._seen(run_id, scope, caller)
        if not seen.record.ended and await self.made().results.waits.until_ended(run_id, seconds, seen.holder):
            seen = await self._seen(run_id, scope, caller)
        return self._view(seen)

    async def result(self, run_id: str, scope: Scope, caller: Caller) -> Answer:
        """The reply of a run that has ended."""
        seen = await self._seen(run_id, scope, caller)
        self._actions.note_view(seen)
        return await self.made().results.of(seen.record, secured=seen.own)

    async def cancel(self, run_id: str, scope: Scope, caller: Caller) -> None:
        """Ask for the end of a run."""
        await self._actions.cancel(await self._seen(run_id, scope, caller))

    @property
    def _actions(self) -> RunActions:
        base, made = self.base, self.made()
        return RunActions(
            base.journal.read,
            base.journal.write,
            self.needs.runs.runner.cancel,
            made.resubmit,
            base.catalog.snapshot,
            base.log,
            base.outside.now,
            made.run_audit,
            made.durable,
        )

    async def _seen(self, run_id: str, scope: Scope, caller: Caller) -> Seen:
        if not is_id(run_id):
            raise problem("unknown-run")
        here, address = self.made().underway(run_id), address_of(scope)
        who = holder_of(ANYONE.kind, "", "", address)  # only the record says which callers may see it
        record = await self.base.journal.read(partial(find_run, run_id=run_id), who) or here
        return see(installation_of(self.base.settings), record, caller, address)

    def _view(self, seen: Seen) -> RunView:
        record, now = seen.record, self.base.outside.now()
        waits_for = record.durable.waits_for if record.durable is not None else None
        return RunView(
            record.id,
            record.state,
            record.ended,
            record.started_at,
            record.ended_at or record.started_at,
            f"The run waits for {waits_for}." if record.state is State.WAITING and waits_for else "",
            retry_after(record.durable, now),
        )
