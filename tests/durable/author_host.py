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
from postern.durable.approvals import Approvals
from postern.durable.signals import Signals
from postern.ids import new_id
from postern.journal.approvals import Decided, Verdict, decide, find
from postern.journal.run import actor
from postern.journal.schema import steps
from postern.journal.signals import Arrival, Sent
from tests.durable.host import Host

TENANT = "00000000-0000-4000-8000-000000000001"
PEOPLE = {"lisa": "00000000-0000-4000-8000-00000000000a", "postern": "00000000-0000-4000-8000-00000000000b"}
LISA = Caller("user", object_id=PEOPLE["lisa"], tenant_id=TENANT, name="Lisa")
ADA = Caller("user", object_id="00000000-0000-4000-8000-00000000000c", tenant_id=TENANT, name="Ada")


def bound(access: Access) -> Policy:
    """The policy of an access mode in this tenant."""
    return bind(access, people=PEOPLE, tenants=[TENANT], audiences=["api://postern"])


class Clock:
    """Wall-clock time, and what a test adds to it."""

    def __init__(self) -> None:
        self.passed = 0.0

    def __call__(self) -> float:
        return time() + self.passed


class AuthorHost(Host):
    """Runs that wait are in no server process's memory. `answer` replies for
    other systems."""

    def __init__(self, url: str) -> None:
        self.clock = Clock()
        self.answer: Any = lambda request: Response(404)
        super().__init__(url, held=0.0)

    def start(self) -> None:
        """Start an engine, whose clock is the test's."""
        super().start()
        engine, journal = self.engine, self.journal
        executions: Any = engine._executions
        services: Any = executions.services
        durable = services.sleep.__self__
        waits = durable._waits
        engine._now = executions._now = durable._now = waits._now = self.clock
        shared = durable, waits, engine.execution_of, journal.read, journal.write, self.seals
        self.signals = Signals(*shared, engine.accepted, now=self.clock)
        approvals = Approvals(*shared, bound, now=self.clock)
        services = replace(
            services, wait_for=self.signals.wait_for, approval=approvals.approval, connection=self._connect
        )
        engine.use(services, durable.checkpoint)

    def serve(self, *workflows: Workflow, digest: str = "1") -> None:
        """Serve these workflows, and no others, in a tenant with lisa."""
        self.triggers = {
            each.name: Trigger(each, bound(each.access), Path("test.py"), sha256=digest) for each in workflows
        }

    async def waits(self, run_id: str) -> Any:
        """The row of a run in `durable_runs`, when it waits in no server process's memory."""

        async def let_go() -> Any:
            row = await self.durable(run_id)
            over = row.wakes_at is not None and row.wakes_at <= self.clock()  # it has not been woken yet
            return row if row.phase == "waiting" and row.owner is None and not over else None

        return await self.until(let_go)

    async def let_pass(self, run_id: str, days: float) -> None:
        """When the run waits, so many days pass."""
        await self.waits(run_id)
        self.clock.passed += days * 86400
        self.engine.accepted()

    async def steps(self, run_id: str) -> list[str]:
        """The names of the steps in a run's record."""
        query = select(steps.c.name).where(steps.c.run_id == run_id).order_by(steps.c.number)
        found = await self.journal.read(lambda connection: connection.execute(query).scalars().all())
        return list(found)

    async def signal(self, run_id: str, name: str, body: str) -> Arrival:
        """Send a signal to a run, as lisa."""
        sent = Sent(run_id, new_id(), name, self.clock(), actor(LISA), len(body), body)
        arrival, _ = await self.signals.send(sent)
        return arrival

    async def asked(self, run_id: str, name: str) -> Any:
        """The approval that a run waits for."""
        await self.waits(run_id)
        return await self.journal.read(partial(find, run_id=run_id, name=name))

    async def decide(self, run_id: str, name: str, *, approved: bool, comment: str = "") -> Verdict:
        """Decide an approval that a run waits for, as lisa."""
        asked = await self.asked(run_id, name)
        object_id = LISA.object_id
        decided = Decided(approved, comment, self.clock(), actor(LISA), object_id)
        verdict: Verdict = await self.journal.write(partial(decide, approval=asked, decided=decided))
        self.engine.accepted()
        return verdict

    def _connect(self, ctx: Any, name: str) -> AsyncClient:
        return AsyncClient(transport=MockTransport(self.answer), base_url=f"https://{name}.example")
