"""DBOS in its own thread: it starts and ends with the server, logs no secrets, and connects nowhere."""

import asyncio
import base64
import logging
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
import structlog
from dbos import DBOS, _dbos, _queue, _scheduler, _workflow_commands
from dbos._sys_db_postgres import BACKGROUND_JOB_LOCK_IDLE_TIMEOUT_MS
from dbos._utils import GlobalParams
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from postern import anonymous, workflow
from postern.durable.checkpoints import Checkpoints
from postern.durable.checkpoints_database import checkpoints_engine, checkpoints_file
from postern.durable.dbos_engine import STOP_SECONDS, DbosEngine
from postern.durable.dbos_intervals import JOBS_SECONDS, QUEUE_SECONDS, SCHEDULES_SECONDS
from postern.durable.dbos_log import DbosLog
from postern.durable.resumed_queue import NAME
from postern.durable.text_serializer import TextSerializer
from tests.databases import put_sqlite
from tests.durable.host import Host
from tests.process.preloaded import Process, environment

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

SECRET = "postgresql://postern:hunter2@host/db"

STARTS = """
import asyncio, sys
from postern.durable.dbos_engine import DbosEngine

async def main():
    engine = DbosEngine(sys.argv[1], sys.argv[2], None)
    await engine.start()
    await engine.stop()

asyncio.run(main())
"""


FORGED = "UPDATE {}operation_outputs SET output = :pickled, serialization = 'py_pickle' WHERE workflow_uuid = :run_id"
"""What somebody could do who can write the database of checkpoints."""


class Opens:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@workflow(access=anonymous(), durable=True)
async def resting(ctx) -> None:
    await ctx.sleep(0.5)


async def never(run_id: str, checkpoints: Checkpoints) -> bool:
    return True


def test_a_line_says_where_dbos_warned_and_nothing_of_its_text() -> None:
    clock = [0.0]
    handler = DbosLog(now=lambda: clock[0])
    record = logging.LogRecord("dbos", logging.WARNING, "/x/_queue.py", 7, f"gone: {SECRET}", (), None)
    failed = logging.LogRecord(
        "dbos", logging.ERROR, "/x/_core.py", 9, SECRET, (), (ValueError, ValueError(SECRET), None)
    )
    with structlog.testing.capture_logs() as lines:
        for each in (record, record, failed):
            handler.emit(each)
        clock[0] = 61.0
        handler.emit(record)
    warned = {"event": "dbos-reported", "log_level": "warning", "place": "_queue:7"}
    error = {"event": "dbos-reported", "log_level": "error", "place": "_core:9", "cause": "ValueError"}
    assert lines == [warned, error, warned]


async def test_variables_of_dbos_in_the_environment_change_nothing(
    new_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GlobalParams, "dbos_cloud", True)  # what DBOS__CLOUD=true sets
    for name in ("APPVERSION", "VMID", "CONDUCTOR_KEY", "CONDUCTOR_URL", "CONDUCTOR_APP_NAME"):
        monkeypatch.setenv(f"DBOS__{name}", "ws://127.0.0.1:9")
    engine = DbosEngine(new_database_url, "process", never)
    await engine.start()
    assert (GlobalParams.executor_id, GlobalParams.app_version) == ("process", "1")
    await engine.stop()


async def test_it_can_be_started_again_and_stops_in_time(new_database_url: str) -> None:
    engine = DbosEngine(new_database_url, "process", never)
    for _ in range(2):
        await engine.start()
        async with asyncio.timeout(STOP_SECONDS):
            await engine.stop()
        assert not engine.runs


async def test_a_start_that_is_cancelled_leaves_nothing_behind(new_database_url: str) -> None:
    engine = DbosEngine(new_database_url, "process", never)
    starting = asyncio.create_task(engine.start())
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await engine.stop()
    await engine.start()
    await engine.stop()


async def test_dbos_looks_seldom_for_what_does_not_occur_here(database_url: str) -> None:
    """The places are DBOS's own: another release may have others."""
    assert "_BACKGROUND_JOBS_INTERVAL_SEC" in _workflow_commands.background_jobs_thread.__code__.co_names
    engine = DbosEngine(database_url, "here", never)
    await engine.start()
    try:
        assert JOBS_SECONDS == _workflow_commands._BACKGROUND_JOBS_INTERVAL_SEC
        assert JOBS_SECONDS * 1000 < BACKGROUND_JOB_LOCK_IDLE_TIMEOUT_MS - 1000
        instance = _dbos._get_dbos_instance()
        (queue,) = instance._registry.internal_queues()
        assert queue._polling_interval_sec == QUEUE_SECONDS
        assert "_STARTUP_FAST_POLL_DURATION_SEC" in _scheduler.dynamic_scheduler_loop.__code__.co_names
        assert _scheduler._STARTUP_FAST_POLL_DURATION_SEC == 0
        assert "list_queues" in _queue.queue_thread.__code__.co_names
        assert [each.name for each in vars(instance._sys_db)["list_queues"](application_name="postern")] == [NAME]
        assert instance._config["runtimeConfig"]["scheduler_polling_interval_sec"] == SCHEDULES_SECONDS
    finally:
        await engine.stop()


@pytest.mark.process
def test_several_processes_make_the_tables_at_once(new_database_url: str) -> None:
    def start(name: str) -> Process:
        return Process([new_database_url, name], Path.cwd(), environment(), 0, 1, 2, code=STARTS)

    processes = [start(f"process-{number}") for number in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]


def test_an_error_is_no_result_of_a_step() -> None:
    error = OperationalError("INSERT", {}, Exception("full"))
    with pytest.raises(OperationalError):
        TextSerializer().serialize(error)


def test_the_file_of_checkpoints_is_for_its_owner_only_and_a_commit_is_on_disk(database_url: str) -> None:
    engine = checkpoints_engine(database_url)
    with engine.connect() as connection:
        if (path := checkpoints_file(database_url)) is not None:
            assert oct(path.stat().st_mode & 0o777) == "0o600"
            found: list[Any] = [
                connection.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")
            ]
            assert found == ["wal", 2]
        else:
            found = [connection.execute(text("SHOW idle_in_transaction_session_timeout")).scalar()]
            assert found == ["3s"]
    engine.dispose()


async def test_a_checkpoint_that_names_pickle_as_its_format_runs_no_code(durable_host: Host, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    durable_host.serve(resting)
    run_id = await durable_host.accept(resting)
    await durable_host.phase(run_id, "waiting")
    await durable_host.crash()
    pickled = base64.b64encode(pickle.dumps(Opens(marker))).decode()
    forged = {"pickled": pickled, "run_id": run_id}
    engine = checkpoints_engine(durable_host.url)
    prefix = "" if engine.dialect.name == "sqlite" else "dbos."
    with engine.begin() as connection:
        assert connection.execute(text(FORGED.format(prefix)), forged).rowcount == 1
    engine.dispose()
    await durable_host.take_over()
    row = await durable_host.phase(run_id, "parked")
    assert (row.reason, marker.exists()) == ("internal-error", False)


async def test_a_stop_during_the_start_waits_for_the_calls_of_dbos_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A thread of such a call would find no DBOS, and no event loop for its error."""

    async def nothing(run_id: str, checkpoints: Any) -> bool:
        return False

    begun, goes_on, ended = asyncio.Event(), threading.Event(), list[Any]()
    home, usual = asyncio.get_running_loop(), DBOS.register_queue

    def slow(*args: Any, **options: Any) -> Any:
        home.call_soon_threadsafe(begun.set)
        goes_on.wait(10)
        try:
            ended.append(usual(*args, **options).name)
        except BaseException as error:
            ended.append(error)
            raise

    monkeypatch.setattr(DBOS, "register_queue", slow)
    engine = DbosEngine(put_sqlite(tmp_path / "postern.db"), "node", nothing)
    starting = asyncio.create_task(engine.start())
    await asyncio.wait_for(begun.wait(), 20)
    starting.cancel()
    stopping = asyncio.create_task(engine.stop())
    await asyncio.wait([stopping], timeout=0.3)
    goes_on.set()
    await stopping
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert ended == [NAME]
    assert [each.getMessage() for each in caplog.records if each.name.startswith("concurrent")] == []
    assert not engine.runs
