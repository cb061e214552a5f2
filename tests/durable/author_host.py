"""A durable engine for the examples of pages: its time passes as a test says, and it reaches what stands for other
systems."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from time import time
from typing import Any

from httpx2 import AsyncClient, MockTransport, Response
from sqlalchemy import select

from postern.access import Access, Caller, Policy, bind
from postern.authoring.workflow import Workflow
from postern.catalog import Trigger
from postern.journal.approvals import Decided, Verdict, decide, find
from postern.journal.run import actor
from postern.journal.schema import steps
from tests.durable.host import TENANT, Host

PEOPLE = {
    "lisa": "00000000-0000-4000-8000-00000000000a",
    "ada": "00000000-0000-4000-8000-00000000000b",
    "postern": "00000000-0000-4000-8000-00000000000c",
}
LISA = Caller("user", object_id=PEOPLE["lisa"], tenant_id=TENANT, name="Lisa")
ADA = Caller("user", object_id=PEOPLE["ada"], tenant_id=TENANT, name="Ada")


class Clock:
    """Wall-clock time, and what a test adds to it."""

    def __init__(self) -> None:
        self.passed = 0.0

    def __call__(self) -> float:
        return time() + self.passed


class AuthorHost(Host):
    """Runs that wait are in no server process's memory. `answer` replies for other systems."""

    def __init__(self, url: str) -> None:
        self.clock = Clock()
        self.answer: Any = lambda request: Response(404)
        super().__init__(url, held=0.0)

    def start(self) -> None:
        """Start an engine, whose clock is the test's."""
        super().start()
        engine = self.engine
        executions: Any = engine._executions
        services: Any = executions.services
        durable, approvals = services.step.__self__, services.approval.__self__
        for each in (engine, executions, durable, approvals, self.waits, self.signals):
            each._now = self.clock
        engine.use(replace(services, connection=self._connect), durable.checkpoint)

    def serve(self, *workflows: Workflow, digest: str = "1") -> None:
        """Serve these workflows, and no others, in a tenant with lisa."""
        self.triggers = {
            each.name: Trigger(each, self._bind(each.access), Path("test.py"), sha256=digest) for each in workflows
        }

    async def let_go(self, run_id: str) -> Any:
        """The row of a run in `durable_runs`, when it waits in no server process's memory."""

        async def reached() -> Any:
            row = await self.durable(run_id)
            over = row.wakes_at is not None and row.wakes_at <= self.clock()  # it has not been woken yet
            return row if row.phase == "waiting" and row.owner is None and not over else None

        return await self.until(reached)

    async def let_pass(self, run_id: str, days: float) -> None:
        """When the run waits, so many days pass."""
        await self.let_go(run_id)
        self.clock.passed += days * 86400
        self.engine.accepted()

    async def steps(self, run_id: str) -> list[str]:
        """The names of the steps in a run's record."""
        query = select(steps.c.name).where(steps.c.run_id == run_id).order_by(steps.c.number)
        found = await self.journal.read(lambda connection: connection.execute(query).scalars().all())
        return list(found)

    async def asked(self, run_id: str, name: str) -> Any:
        """The approval that a run waits for."""
        await self.let_go(run_id)
        return await self.journal.read(partial(find, run_id=run_id, name=name))

    async def approve(self, run_id: str, name: str) -> Verdict:
        """Approve what a run waits for, as lisa."""
        asked = await self.asked(run_id, name)
        decided = Decided(True, "", self.clock(), actor(LISA), LISA.object_id)
        verdict: Verdict = await self.journal.write(partial(decide, approval=asked, decided=decided))
        self.engine.accepted()
        return verdict

    def _connect(self, ctx: Any, name: str) -> AsyncClient:
        return AsyncClient(transport=MockTransport(self.answer), base_url=f"https://{name}.example")

    @staticmethod
    def _bind(access: Access) -> Policy:
        return bind(access, people=PEOPLE, tenants=[TENANT], audiences=["api://postern"])
