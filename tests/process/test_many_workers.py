"""Several processes on one database: nothing is lost, no caller sees a lock error, and one key is one run."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from httpx2 import AsyncClient, Limits, Response
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from postern.journal.database.engine import open_engine
from postern.journal.durable_runs import NODE
from postern.journal.schema import nodes
from tests.audit_log import assert_audited
from tests.process.load import (
    PATIENCE,
    assert_kept,
    assert_undisturbed,
    calling,
    folder_of_workflows,
    none_stays_running,
    records,
)
from tests.process.servers import running, until

AT_ONCE = 50
RAN = """
from pathlib import Path
from uuid import uuid4
from postern import anonymous, workflow

@workflow(access=anonymous())
async def leaves_a_trace(ctx, order: str):
    Path("ran", f"{order} {uuid4()}").touch()
    return order
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    folder_of_workflows(tmp_path)
    (tmp_path / "workflows" / "ran.py").write_text(RAN, encoding="utf-8")
    (tmp_path / "ran").mkdir()
    return {"POSTERN_PORT": "0", "POSTERN_LOG_FORMAT": "json"}


def processes(url: str) -> int:
    """How many server processes are on record, without the row that all of them share for durable runs; 0 before the
    table is there."""
    engine = open_engine(url, writing=False)
    try:
        with engine.connect() as connection:
            return connection.execute(select(func.count()).where(nodes.c.id != NODE)).scalar_one()
    except DBAPIError:
        return 0
    finally:
        engine.dispose()


def test_workers_that_share_a_file_lose_nothing_and_show_no_lock(tmp_path, environ, campaign, capsys):
    url = f"sqlite:///{tmp_path / 'postern.db'}"
    with (
        calling(count=16) as callers,
        running("serve --workers 3", tmp_path, environ | {"POSTERN_DATABASE_URL": url}) as server,
    ):
        until(lambda: processes(url) == 3, PATIENCE, lambda: f"{processes(url)} processes: {server.output}")
        callers.go_to(server.port)
        callers.wait_for(campaign(400, 20_000), server)
        until(lambda: len({row["node"] for row in records(url)}) == 3, PATIENCE)
        callers.stop()
        none_stays_running(url, server)
        assert server.stop() == 0
        assert_undisturbed(server)
        assert "journal-unavailable" not in server.output
        assert "journal-write-failed" not in server.output
    states = assert_kept(url, callers)
    assert_audited(url, 3)
    assert callers.broken == []
    assert callers.turned_away == []
    assert states.total() == len(callers.replies)
    slowest = max(reply.seconds for reply in callers.replies)
    with capsys.disabled():
        print(f" [{len(callers.replies)} replies checked, the slowest after {slowest:.2f} s]", end="")


def test_the_runs_of_a_process_that_was_killed_are_interrupted_by_another(tmp_path, environ):
    url = f"sqlite:///{tmp_path / 'postern.db'}"
    environ |= {"POSTERN_DATABASE_URL": url}
    with (
        running("serve", tmp_path, environ) as first,
        calling(count=3, triggers=("hold",)) as callers,
        running("serve", tmp_path, environ) as other,
    ):
        callers.go_to(first.port)
        until(lambda: len(records(url)) == 3, PATIENCE)
        first.process.kill()
        first.process.wait(10)
        none_stays_running(url, other)
        assert {row["state"] for row in records(url)} == {"Interrupted"}


@pytest.mark.anyio
async def test_requests_with_one_key_at_two_processes_are_one_run(tmp_path, environ, database_url):
    """While it runs, the others get run-in-progress; afterwards they get its reply."""
    environ |= {"POSTERN_DATABASE_URL": database_url}
    with running("serve", tmp_path, environ) as one, running("serve", tmp_path, environ) as other:
        addresses = [one.address, other.address]
        async with AsyncClient(trust_env=False, timeout=30, limits=Limits(max_connections=AT_ONCE)) as client:

            async def ask(number: int, trigger: str, order: str) -> Response:
                url = f"{addresses[number % 2]}/triggers/{trigger}"
                answer = await client.post(url, json=order, headers={"Idempotency-Key": f"key-{order}"})
                if trigger == "hold" and answer.status_code != 200:  # a 503 too: what holds the run must not wait
                    reported.append(answer)
                    if len(reported) == AT_ONCE - 1:
                        (tmp_path / "go-on").touch()
                return answer

            async def all_ask(trigger: str, order: str) -> Sequence[Response]:
                return await asyncio.gather(*(ask(number, trigger, order) for number in range(AT_ONCE)))

            reported: list[Response] = []
            held = await all_ask("hold", "held")
            assert Counter(answer.status_code for answer in held) == {200: 1, 409: AT_ONCE - 1}
            assert {answer.json()["code"] for answer in reported} == {"run-in-progress"}
            assert all(answer.headers["retry-after"].isdigit() for answer in reported)
            again = await all_ask("hold", "held")
            assert {answer.headers.get("idempotent-replayed") for answer in again} == {"true"}
            assert len({answer.headers["x-run-id"] for answer in [*held, *again]}) == 1

            orders = [f"order-{number}" for number in range(4)]
            for answers in await asyncio.gather(*(all_ask("leaves-a-trace", order) for order in orders)):
                replied = [answer for answer in answers if answer.status_code == 200]
                assert {answer.json()["code"] for answer in answers if answer not in replied} <= {"run-in-progress"}
                assert len({answer.headers["x-run-id"] for answer in answers}) == 1
                assert sum("idempotent-replayed" not in answer.headers for answer in replied) == 1
        assert_undisturbed(one)
        assert_undisturbed(other)
    traces = [path.name.split()[0] for path in (tmp_path / "ran").iterdir()]
    assert sorted(traces) == orders
    assert sorted(json.loads(row["inputs"]) for row in records(database_url)) == ["held", *orders]
