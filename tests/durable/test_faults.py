"""What becomes of durable runs when something else than their code fails: they wait, go on by themselves, and repeat no
step that has ended."""

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, make_url, text

from postern import anonymous, workflow
from postern.connections.sealing.sealed_text import CannotOpen
from postern.durable import dbos_engine, first_checkpoints
from postern.durable.seals import NoSeal
from tests.databases import make_tables
from tests.durable.host import Host
from tests.process.postgres import own_postgres

pytestmark = pytest.mark.anyio


class Seen:
    """What the code of a test did, and the gate before its last step, new in each test's event loop."""

    done: list[str]
    result: str
    begun: asyncio.Event
    open: asyncio.Event


@pytest.fixture(autouse=True)
async def nothing_seen() -> None:
    Seen.done, Seen.result = [], "3"
    Seen.begun, Seen.open = asyncio.Event(), asyncio.Event()


@pytest.fixture
def troubles(monkeypatch: pytest.MonkeyPatch) -> "asyncio.Queue[str]":
    """The causes for which a checkpoint is tried again."""
    found: asyncio.Queue[str] = asyncio.Queue()
    loop: list[asyncio.AbstractEventLoop] = []

    class Log:
        def warning(self, name: str, **fields: Any) -> None:
            if name == "checkpoint-not-kept":
                loop[0].call_soon_threadsafe(found.put_nowait, fields["cause"])

    for module in (first_checkpoints, dbos_engine):
        monkeypatch.setattr(module, "log", Log())
    monkeypatch.setattr(Seen, "loop", loop, raising=False)
    return found


async def one() -> str:
    Seen.done.append("one")
    return "1"


async def two() -> str:
    Seen.done.append("two")
    return "2"


async def gate() -> str:
    Seen.done.append("gate")
    Seen.begun.set()
    await Seen.open.wait()
    return Seen.result


@workflow(access=anonymous(), durable=True)
async def work(ctx) -> str:
    return "".join([await ctx.step(one), await ctx.step(gate), await ctx.step(two)])


@asynccontextmanager
async def opened(url: str, checkpoints: str = "") -> AsyncIterator[Host]:
    host = Host(url, checkpoints=checkpoints)
    await host.open()
    try:
        yield host
    finally:
        await host.close()


async def at_its_gate(host: Host, *, again: bool) -> str:
    """The id of a run whose step `gate` is under way: in its first execution, or in another one."""
    host.serve(work)
    run_id = await host.accept(work)
    await asyncio.wait_for(Seen.begun.wait(), 20)
    if again:
        Seen.begun.clear()
        await host.crash()
        await host.take_over()
        await asyncio.wait_for(Seen.begun.wait(), 20)
        Seen.done.remove("gate")
    return run_id


async def ends_once(host: Host, run_id: str) -> None:
    """The run goes on, and ends with each of its steps called once."""
    row = await host.outcome(run_id)
    assert row.state == "Succeeded", row.error_traceback
    assert Seen.done == ["one", "gate", "two"]


@pytest.mark.parametrize("durable_host", [{"most": 100_000}], ids=["most"], indirect=True)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("again", [False, True], ids=["first", "again"])
async def test_a_step_that_ends_while_the_disk_is_full_is_kept_when_there_is_room(
    durable_host: Host, troubles: "asyncio.Queue[str]", again: bool
) -> None:
    Seen.loop.append(asyncio.get_running_loop())  # type: ignore[attr-defined]
    run_id = await at_its_gate(durable_host, again=again)
    Seen.result = "3" * 50_000  # more than the pages have room for
    with full(durable_host):
        Seen.open.set()
        assert await asyncio.wait_for(troubles.get(), 20) == "OperationalError"
        assert (await durable_host.durable(run_id)).phase == "running"
    await ends_once(durable_host, run_id)


@contextmanager
def full(host: Host) -> Iterator[None]:
    """The file of checkpoints cannot grow."""
    engine: Any = host.engine.store.dbos._engine

    def limit(connection: Any, *_: Any) -> None:
        connection.execute("PRAGMA max_page_count=1")  # it becomes the number of pages that there are

    def free(connection: Any, *_: Any) -> None:
        connection.execute("PRAGMA max_page_count=1073741823")

    with engine.connect() as connection:  # no page is free
        connection.execute(text("VACUUM"))
    event.listen(engine, "checkout", limit)
    yield
    event.remove(engine, "checkout", limit)
    event.listen(engine, "checkout", free)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_an_outcome_that_the_journal_has_no_room_for_is_recorded_when_there_is(durable_host: Host) -> None:
    durable_host.serve(work)
    run_id = await durable_host.accept(work)
    await asyncio.wait_for(Seen.begun.wait(), 20)
    writer = durable_host.journal._writer._link._process.pid  # type: ignore[union-attr]
    soft, hard = resource.prlimit(writer, resource.RLIMIT_FSIZE, (1, -1))
    Seen.open.set()

    async def unavailable() -> bool:
        return not durable_host.journal.available

    await durable_host.until(unavailable)
    resource.prlimit(writer, resource.RLIMIT_FSIZE, (soft, hard))
    await ends_once(durable_host, run_id)


@pytest.mark.process
async def test_a_step_that_ends_while_the_socket_of_the_database_is_gone_is_kept_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, troubles: "asyncio.Queue[str]"
) -> None:
    Seen.loop.append(asyncio.get_running_loop())  # type: ignore[attr-defined]
    monkeypatch.chdir(tmp_path)
    with own_postgres() as postgres:
        make_tables(postgres.url)
        async with opened(postgres.url) as host:
            host.serve(work)
            run_id = await host.accept(work)
            await asyncio.wait_for(Seen.begun.wait(), 20)
            await asyncio.to_thread(postgres.crash)
            Seen.open.set()
            assert await asyncio.wait_for(troubles.get(), 20) == "OperationalError"
            await asyncio.to_thread(postgres.start)
            await ends_once(host, run_id)


@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "again"),
    [("127.0.0.1", False), ("127.0.0.1", True), ("database.test", False)],
    ids=["tcp", "again", "name"],
)
async def test_a_step_that_ends_while_the_database_is_not_reachable_is_kept_when_it_is(
    name: str,
    again: bool,
    postgres_databases: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    troubles: "asyncio.Queue[str]",
) -> None:
    Seen.loop.append(asyncio.get_running_loop())  # type: ignore[attr-defined]
    monkeypatch.chdir(tmp_path)
    named = [True]
    known = socket.getaddrinfo

    def resolve(host: Any, *more: Any, **options: Any) -> Any:
        if host == "database.test":
            if not named[0]:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            host = "127.0.0.1"
        return known(host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with postgres_databases.one() as url:
        async with Forward(url) as forward, opened(forward.url(), forward.url(name)) as host:
            run_id = await at_its_gate(host, again=again)
            named[0] = False
            await forward.cut(listening=name == "database.test")
            Seen.open.set()
            assert await asyncio.wait_for(troubles.get(), 20) == "OperationalError"
            named[0] = True
            await forward.listen()
            await ends_once(host, run_id)


class Forward:
    """A port that leads to the socket of a database."""

    def __init__(self, url: str) -> None:
        self._to = make_url(url)
        self._port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def url(self, name: str = "127.0.0.1") -> str:
        """The URL of the database by this port."""
        return self._to.set(host=name, port=self._port, query={}).render_as_string(hide_password=False)

    async def __aenter__(self) -> "Forward":
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut(listening=False)

    async def listen(self) -> None:
        """Take connections."""
        if self._server is None:
            self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self._port)
            self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self, *, listening: bool) -> None:
        """End all connections, and refuse others unless it is still `listening`."""
        if not listening and self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        folder = self._to.query["host"]
        back, out = await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.{self._to.port or 5432}")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, out))
                group.create_task(_copy(back, writer))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            for each in (out, writer):
                each.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
    raise ConnectionError


Code = Callable[..., Any]


def changed(function: Code, **options: Any) -> Any:
    """The workflow `work` with other code."""
    return workflow(access=anonymous(), durable=True, name="work", **options)(function)


async def swapped(ctx) -> str:
    return "".join([await ctx.step(gate), await ctx.step(one), await ctx.step(two)])


async def added(ctx) -> str:
    try:
        await ctx.step(two)
    except BaseException:  # an author's bare except: the run is parked all the same
        return "caught"
    return "".join([await ctx.step(one), await ctx.step(gate), await ctx.step(two)])


async def other_body(ctx: Any, body: int) -> str:
    return "other"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (changed(swapped), "workflow-changed"),
        (changed(added), "workflow-changed"),
        (changed(other_body), "workflow-changed"),
        (None, "workflow-missing"),
    ],
    ids=["swapped", "added", "other-body", "missing"],
)
async def test_a_run_whose_code_does_not_fit_is_parked_until_code_that_fits_is_there(
    durable_host: Host, code: Any, reason: str
) -> None:
    durable_host.serve(work)
    run_id = await durable_host.accept(work)
    await asyncio.wait_for(Seen.begun.wait(), 20)
    await durable_host.crash()
    durable_host.serve(*([code] if code else []), digest="2")
    await durable_host.take_over()
    row = await durable_host.phase(run_id, "parked")
    assert (row.reason, row.owner) == (reason, None)
    assert (await durable_host.row(run_id)).state == "Waiting"
    attempt = row.attempt
    durable_host.serve(*([code] if code else []), digest="2")  # the same code once more changes nothing
    await durable_host.engine.reconcile()
    assert (await durable_host.durable(run_id)).attempt == attempt
    Seen.open.set()
    durable_host.serve(work, digest="3")
    outcome = await durable_host.outcome(run_id)
    assert (outcome.state, outcome.outputs) == ("Succeeded", '"132"')
    assert Seen.done == ["one", "gate", "gate", "two"]


async def test_a_run_that_nothing_here_runs_is_put_back(durable_host: Host) -> None:
    durable_host.serve(work)
    run_id = await durable_host.accept(work)
    await asyncio.wait_for(Seen.begun.wait(), 20)
    execution = durable_host.engine.executions[run_id]
    execution.leave()
    Seen.open.set()
    await durable_host.reconcile(run_id)
    assert (await durable_host.outcome(run_id)).state == "Succeeded"
    assert (await durable_host.durable(run_id)).deaths == 0


class LostKey(NoSeal):
    """Seals whose key is gone."""

    gone = True

    async def open(self, run_id: str, column: str, kept: str, key_version: str | None) -> str:
        """The text, if the key is there."""
        if self.gone:
            raise CannotOpen("the version of the key is not there")
        return kept


@pytest.mark.process
async def test_a_run_whose_key_is_gone_is_parked_and_goes_on_when_it_is_there(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    host = Host(database_url)
    host.seals = seals = LostKey()
    await host.open()
    try:
        host.serve(work)
        await host.engine.reconcile()  # the first one, which tries keys at once
        run_id = await host.accept(work)
        row = await host.phase(run_id, "parked")
        assert row.reason == "key-unavailable"
        seals.gone = False
        await host.engine.reconcile()
        assert (await host.durable(run_id)).phase == "parked"  # it is not tried at each look
        host.engine._keys_tried = float("-inf")
        Seen.open.set()
        await host.engine.reconcile()
        await ends_once(host, run_id)
    finally:
        await host.close()
