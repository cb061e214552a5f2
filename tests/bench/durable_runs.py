"""Durable runs in this process, of Postern or of DBOS alone by the same call: prints what they took as JSON.

Arguments: `bare` or `postern`, the URL of a database, how many steps a run has, how many runs, how many at a time.
With `idle` in place of the steps: so many runs that sleep, and the seconds for which they are watched.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any

from dbos import DBOS, SetWorkflowID
from sqlalchemy import text

from postern import anonymous, workflow
from postern.durable.across_loops import new_event_loop
from postern.durable.checkpoints_database import checkpoints_engine, checkpoints_url
from postern.durable.dbos_engine import threads
from postern.durable.dbos_log import route
from postern.errors import Problem
from postern.ids import new_id
from tests.databases import make_tables
from tests.durable.host import Host

Run = Callable[[], Awaitable[None]]


async def work(number: int) -> int:
    """A step."""
    return number


@workflow(access=anonymous(), durable=True)
async def steps_0(ctx) -> int:
    return 0


@workflow(access=anonymous(), durable=True)
async def steps_3(ctx) -> int:
    for number in range(3):
        await ctx.step(work, number)
    return 3


@workflow(access=anonymous(), durable=True)
async def sleeping(ctx) -> int:
    await ctx.sleep("1d")
    return 0


@asynccontextmanager
async def of_postern(url: str, steps: int) -> AsyncIterator[Run]:
    """Runs of Postern: accepted, executed, and recorded."""
    make_tables(url)
    ended: dict[str, asyncio.Event] = {}

    class Noting(Host):
        def _has_ended(self, run: Any) -> None:
            ended.setdefault(run.id, asyncio.Event()).set()

    host = Noting(url)
    HOSTS.append(host)
    host.serve(steps_0, steps_3, sleeping)
    await host.open()
    chosen = {0: steps_0, 3: steps_3}[steps]

    async def run() -> None:
        run_id = await host.accept(chosen)
        await ended.setdefault(run_id, asyncio.Event()).wait()
        del ended[run_id]

    yield run
    await host.close()


@asynccontextmanager
async def of_dbos(url: str, steps: int) -> AsyncIterator[Run]:
    """Workflows of DBOS alone, with the same settings, by the same call."""
    engine = checkpoints_engine(url)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    route()
    DBOS(
        config={
            "name": "bare",
            "system_database_url": checkpoints_url(url),
            "system_database_engine": engine,
            "application_version": "1",
            "max_executor_threads": threads(url),
            "use_listen_notify": False,
            "enable_otlp": False,
        }
    )

    @DBOS.workflow(name="run")
    async def dispatch(run_id: str) -> str:
        for number in range(steps):
            await DBOS.run_step_async({"name": "work"}, work, number)
        return ""

    DBOS.launch()

    async def run() -> None:
        run_id = new_id()
        with SetWorkflowID(run_id):
            handle = await DBOS.start_workflow_async(dispatch, run_id)
        await handle.get_result()

    yield run
    await asyncio.to_thread(DBOS.destroy, destroy_registry=True)
    engine.dispose()


async def measure(run: Run, count: int, at_once: int) -> dict[str, float]:
    """Runs a second, milliseconds of one from its beginning to its end, and CPU of this process."""
    times: list[float] = []
    left = iter(range(count))

    async def caller() -> None:
        for _ in left:
            began = time.perf_counter()
            await run()
            times.append(time.perf_counter() - began)

    for _ in range(4):
        await run()
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(at_once)))
    passed = time.perf_counter() - began
    cuts = quantiles(times, n=100)
    return {
        "rate": count / passed,
        "p50": 1000 * cuts[49],
        "p99": 1000 * cuts[98],
        "cpu_ms": 1000 * (time.process_time() - cpu) / count,
    }


async def idle(url: str, count: int, seconds: float) -> dict[str, float]:
    """What it costs that so many runs sleep: percent of a core with the writer's process, KiB a run, and how often a
    thread of this process is woken in a second."""
    async with of_postern(url, 0):
        host = HOSTS[-1]
        before = _memory()
        turns = asyncio.Semaphore(64)

        async def one() -> None:
            async with turns:
                while True:
                    try:
                        await host.accept(sleeping)
                    except Problem:  # too many wait to be started
                        await asyncio.sleep(0.5)
                    else:
                        return

        await asyncio.gather(*(one() for _ in range(count)))

        async def asleep() -> bool:
            query = text("SELECT count(*) FROM durable_runs WHERE phase = 'waiting'")
            found: int = await host.journal.read(lambda connection: connection.execute(query).scalar_one())
            return found == count

        while not await asleep():
            await asyncio.sleep(0.2)
        await asyncio.sleep(1)
        memory = _memory() - before
        writer: Any = host.journal._writer._link._process  # type: ignore[union-attr]
        began, cpu, woken = time.perf_counter(), _seconds(writer.pid), _switches()
        await asyncio.sleep(seconds)
        passed = time.perf_counter() - began
        used, wakes = _seconds(writer.pid) - cpu, _switches() - woken
        return {"cpu": 100 * used / passed, "kib": memory / count if count else 0.0, "wakes": wakes / passed}


def _seconds(writer: int) -> float:
    """Processor seconds of this process and of the writer's."""
    fields = Path(f"/proc/{writer}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return time.process_time() + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _switches() -> int:
    """How often the threads of this process have gone to sleep."""
    found = 0
    for path in Path("/proc/self/task").iterdir():
        lines = (path / "status").read_text(encoding="ascii").splitlines()
        found += sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
    return found


def _memory() -> float:
    """Resident memory in KiB."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - at once
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024


HOSTS: list[Host] = []


async def main() -> None:
    """Measure, and print."""
    kind, url, steps, count, more = sys.argv[1:]
    if steps == "idle":
        print(json.dumps(await idle(url, int(count), float(more))))
        return
    async with {"bare": of_dbos, "postern": of_postern}[kind](url, int(steps)) as run:
        print(json.dumps(await measure(run, int(count), int(more))))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=new_event_loop) as runner:  # the server's
        runner.run(main())
