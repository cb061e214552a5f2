"""`ctx.approval`: a durable run waits for a person's decision, which becomes a checkpoint."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from time import time
from typing import Any

import structlog
from pydantic_core import to_json

from postern.access import Access, Anonymous, Policy, TenantUsers
from postern.access.written import written
from postern.authoring.asked import Asked
from postern.authoring.context import Context
from postern.authoring.plain import type_name
from postern.authoring.waits import Decision
from postern.durable.checkpoints import Left
from postern.durable.decisions import is_genuine
from postern.durable.durable_steps import DurableSteps
from postern.durable.execution import Execution
from postern.durable.results import failed, read
from postern.durable.seals import Seals
from postern.durable.waits import Waits
from postern.journal.approvals import Approval, Begun, ask_again, begin, column_of, decision, time_out
from postern.journal.durable_runs import Reason
from postern.journal.reading.behind import behind

MOST_DATA = 16 * 1024
"""Bytes of the JSON that an approver sees."""

NOBODY_YET = frozenset({""})
"""Nobody is known who is behind the run; but who resumes it later may not decide. Nobody has this id."""

log = structlog.get_logger("postern.durable")

Journal = Callable[[Callable[[Any], Any]], Awaitable[Any]]


class Approvals:
    """The approvals that durable runs ask for. `read` and `write` are the journal's. `bind` makes the policy of those
    who may decide, or raises AccessFault."""

    def __init__(
        self,
        steps: DurableSteps,
        waits: Waits,
        execution_of: Callable[[str], Execution],
        read: Journal,
        write: Journal,
        seals: Seals,
        bind: Callable[[Access], Policy],
        now: Callable[[], float] = time,
    ) -> None:
        self._steps = steps
        self._waits = waits
        self._execution_of = execution_of
        self._read = read
        self._write = write
        self._seals = seals
        self._bind = bind
        self._now = now

    async def approval(self, ctx: Context, asked: Asked) -> Decision:
        """What people decide, or that the time was over, which is counted from the first execution. Raises ValueError
        and TypeError for what cannot be asked, and StepError if nobody here could decide."""
        who, execution = people_only(asked.who), self._execution_of(ctx.run_id)
        data = data_of(asked.data)

        async def start(number: int) -> str:
            try:
                self._bind(who)
            except ValueError as error:  # AccessFault
                return failed(error, secured=ctx.secured)
            approval = await self._begin(execution, asked, written(who), data, number)
            return json.dumps({"value": [number, approval.until, sorted(approval.barred)]})

        async def end(_: int) -> str:
            return await self._decided(execution, approval)

        execution.check_own_code()
        found = read(await self._steps.checkpoint(ctx, f"ask {asked.name}", execution.unharmed(start)), None)
        number, until, barred = found
        workflow = execution.run.workflow.name
        approval = Approval(
            *(execution.run_id, number, asked.name, workflow, written(who), frozenset(barred), False, 0.0, until)
        )
        decided = json.loads(await self._steps.checkpoint(ctx, f"approval {asked.name}", execution.unharmed(end)))
        return Decision(*decided)

    async def _begin(self, execution: Execution, asked: Asked, who: str, data: str, number: int) -> Approval:
        """Ask for it. Returns what was asked, also if that was in an earlier execution."""
        run, now = execution.run, self._now()
        kept, version = await self._seals.seal(run.id, column_of(number), data)
        causes = await self._read(partial(behind, run_id=run.id))
        approval = Approval(
            run.id,
            number,
            asked.name,
            run.workflow.name,
            who,
            frozenset() if asked.self_approval else causes.object_ids or NOBODY_YET,
            not causes.known,
            now,
            None if asked.timeout is None else now + asked.timeout,
            key_version=version,
            data=kept,
        )
        begun: Begun | None = await self._write(partial(begin, hold=execution.hold, asked=approval))
        if begun is None:
            raise execution.gone()
        return replace(approval, until=begun.until, barred=begun.barred)

    async def _decided(self, execution: Execution, asked: Approval) -> str:
        """The members of the decision as JSON."""
        number, until = asked.number, asked.until
        found: list[Approval] = []

        async def decided() -> bool:
            approval = await self._read(partial(decision, run_id=execution.run_id, number=number))
            found.extend([approval] if approval is not None else [])
            return approval is not None

        if not await self._waits.wait(execution, Reason.APPROVAL, asked.name, until, decided):
            if await self._write(partial(time_out, hold=execution.hold, number=number)):
                return json.dumps(["timed-out"])
            if not await decided():  # neither in time nor over: another server process runs the run
                raise execution.gone()
        one = found[0]
        if not await is_genuine(self._seals, one, asked):
            raise await self._not_genuine(execution, asked)
        return json.dumps([one.state, one.comment or "", json.loads(one.decided_by or "{}"), one.decided_at])

    async def _not_genuine(self, execution: Execution, asked: Approval) -> Left:
        """What ends the execution whose decision Postern did not write. It is no decision: the approval waits again."""
        run = execution.run
        log.error("decision-not-verified", run_id=run.id, workflow=run.workflow.name, approval=asked.name)
        await self._write(partial(ask_again, hold=execution.hold, asked=asked))
        execution.park = Reason.UNVERIFIED
        return execution.gone()


def people_only(who: object) -> TenantUsers:
    """The access mode of those who may decide: people only, whatever the mode says of applications."""
    if isinstance(who, TenantUsers):
        return replace(who, apps=False)
    if isinstance(who, Anonymous):
        raise ValueError("who=anonymous(): a decision is a person's. Write tenant_users() or specific_users(...)")  # noqa: TRY004 - it is a mode, and not one of people
    raise TypeError(f"who= takes an access mode of people, not {type_name(who)}: write specific_users(...)")


def data_of(data: Any) -> str:
    """The JSON of what the approver sees. Raises ValueError and TypeError."""
    try:
        content = to_json(data, inf_nan_mode="null")
    except Exception as error:
        raise TypeError(f"data= cannot be written as JSON ({type_name(error)})") from error
    if len(content) > MOST_DATA:
        raise ValueError(f"data= has {len(content)} bytes of JSON, and an approver gets at most {MOST_DATA}")
    return content.decode()
