"""Writers that are killed in a batch: no event is lost, and none is there twice."""

import asyncio
import json
import random
from collections.abc import Callable

import pytest
from sqlalchemy import Connection, select
from structlog.testing import capture_logs

from postern.journal.audit_event import Kind
from postern.journal.journal import Journal
from postern.journal.security_tables import audit_events
from postern.security.audit.log import AuditLog
from postern.security.audit.writer import AuditWriter
from tests.audit_log import audit_report

pytestmark = [pytest.mark.anyio, pytest.mark.process]


def kill_writer(journal: Journal) -> None:
    link = journal._writer._link
    if link is not None and link._process is not None:
        link._process.kill()


def runs(connection: Connection) -> list[str]:
    """What the events say, in their order."""
    bodies = connection.execute(select(audit_events.c.body).order_by(audit_events.c.number)).scalars()
    return [json.loads(body)["fields"]["run"] for body in bodies]


@pytest.mark.usefixtures("own_writers")
async def test_a_writer_that_is_killed_in_a_batch_leaves_a_chain_that_goes_on(
    database_url: str, campaign: Callable[[int, int], int], tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(str(tmp_path))
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    noted = 0
    with capture_logs():
        journal = Journal(database_url, patience=30.0)
        await journal.open()
        audit = AuditLog()
        writer = AuditWriter(audit, journal.node, journal.write)
        for _ in range(campaign(2, 60)):
            for _ in range(chance.randrange(1, 400)):
                audit.note(Kind.RECORD_VIEWED, fields={"run": str(noted)})
                noted += 1
            flushing = asyncio.ensure_future(writer.flush())
            for _ in range(chance.randrange(20)):
                await asyncio.sleep(0)
            kill_writer(journal)
            await flushing
            while writer.waiting:
                await writer.flush()
        written = await journal.read(runs)
        await journal.aclose()
    assert written == [str(number) for number in range(noted)], f"seed {seed}"
    assert audit_report(database_url).problems == [], f"seed {seed}"
