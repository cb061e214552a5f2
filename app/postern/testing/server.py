"""The application in this process, in an event loop and a thread of its own, without a port."""

import asyncio
import json
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import closing, suppress
from contextvars import Context
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar, cast

from httpx2 import ASGITransport
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from postern.assembly import create_app
from postern.assembly.asgi import Application
from postern.assembly.outside import Outside
from postern.http_client import AsyncBaseTransport, Request, Response
from postern.identity import Tenant
from postern.journal.refusal import Refusal
from postern.local_tenant import LocalTenant
from postern.local_tenant.defaults import OPERATOR, OWN_APPLICATION
from postern.logs import flush_logs
from postern.schedules.scheduler import Scheduler
from postern.settings import EntraAuth, Settings
from postern.testing.crash_plan import CrashPlan
from postern.testing.empty_database import put_database
from postern.testing.failing import KitFailure
from postern.testing.lines import Lines
from postern.testing.loop import TestLoop
from postern.testing.people import Sender, token_of, user
from postern.testing.project import ADDRESS, DATABASE, folder_of, project_settings
from postern.testing.reaching import StubbedConnections
from postern.testing.record import Record
from postern.testing.scene import Scene
from postern.testing.writing import start_writer

T = TypeVar("T")

Fields = Sequence[tuple[str | bytes, str | bytes]]
"""The header fields of a request."""

START_SECONDS = 60.0
STOP_SECONDS = 15.0

ACCEPTED = 202
RESTS = ("waiting", "parked", "ended")
"""The phases of a durable run that does nothing."""

LOOKING = 1.0
"""Seconds in which runs that the server starts by itself are waited for. Those that sleep take longer."""

OPERATORS_ADDRESS = "127.255.255.254"
"""The client address of the kit itself."""


class Server:
    """The application. `scene` is what the current test has set, and `spent` says that no later test may use it."""

    settings: Settings
    tenant: LocalTenant
    app: Application

    def __init__(self, project: Path, scratch: Path, kept: Path | None = None) -> None:
        self.scene = Scene()
        self.spent = False
        self.refusals: dict[str, Refusal] = {}
        self.lines = Lines()
        self._looking: list[Any] = []
        self.crashes = CrashPlan(self._failed)
        self._project, self._scratch = project, scratch
        self.settings, self.tenant = project_settings(project, scratch)
        if not (scratch / DATABASE).exists():
            put_database(scratch / DATABASE, kept)
        self._started: Future[None] = Future()
        self._ended_by: BaseException | None = None
        self._stopping: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="postern", daemon=True)

    @classmethod
    def start(cls, former: "Server | None" = None, kept: Path | None = None) -> Self:
        """The application of the project in the working directory, or of a `former` server, on its database. `kept` is
        a folder for an empty database. Raises UserFault for settings that cannot be used."""
        if former is None:
            server = cls(folder_of(Path.cwd()), Path(tempfile.mkdtemp(prefix="postern-test-")), kept)
        else:
            server = cls(former._project, former._scratch)
            server.refusals, server.lines, server.crashes = former.refusals, former.lines, former.crashes
            server.crashes.begin_again()
        server.lines.open()
        server._thread.start()
        try:
            server._started.result(START_SECONDS)
        except BaseException:
            server.stop()
            raise
        return server

    def stop(self, *, keep: bool = False) -> None:
        """Stop it, and delete its files, or `keep` them for the next one."""
        self.lines.pause()
        if self._loop is not None and self._stopping is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(STOP_SECONDS)
        if not keep:
            self.lines.close()
            shutil.rmtree(self._scratch, ignore_errors=True)

    def advance(self, seconds: float) -> None:
        """Move the timers of its loop ahead."""

        async def advance() -> None:
            cast("TestLoop", self._loop).advance(seconds)

        self.do(advance())

    def do(self, work: Coroutine[Any, Any, T], seconds: float | None = None) -> T:
        """The result of work in the application's loop."""
        try:
            return self.begin(work).result(seconds)
        except CancelledError:
            raise self._gone() from self._ended_by

    def begin(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Begin work in the application's loop."""
        if self._loop is None or self._loop.is_closed():
            work.close()
            raise self._gone() from self._ended_by
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def forget(self, *, keys: bool) -> None:
        """Forget what a test left. `keys`: it sent idempotency keys, which the next test may send too."""
        if keys:
            with closing(sqlite3.connect(self._scratch / DATABASE)) as database, database:
                database.execute("DELETE FROM idempotency_keys")
        self.lines.pause()
        self.scene = Scene(address="127.0.0.1")
        self.refusals.clear()
        self.lines.clear()

    def api(self, method: str, path: str, sender: Sender, body: bytes = b"") -> Response:
        """The response of the API to a caller."""
        token, headers = self.token(sender), []
        if token:
            headers.append(("Authorization", f"Bearer {token}"))
        if body:
            headers.append(("Content-Type", "application/json"))
        return self.do(self.send(method, path, OPERATORS_ADDRESS, headers, body))

    def read(self, path: str) -> Record | None:
        """A document of the API, as an operator gets it; None if there is none."""
        response = self.api("GET", path, user(OPERATOR))
        if response.status_code == 404:
            return None
        if response.status_code != 200:
            raise KitFailure(f"GET {path} got {response.status_code}: {response.text[:500]}")
        found: Record = Record.of(json.loads(response.content))
        return found

    def goes_on(self, scene: Scene) -> bool:
        """Whether something of a test is still under way: the next test must not see it."""
        if not all(reply.done() for reply in scene.replies):
            return True
        statuses = {0 if reply.exception() else reply.result().status_code for reply in scene.replies}
        if any(status == ACCEPTED or status < 200 or status >= 500 for status in statuses):
            self.look()
            return bool(self.unended())
        return False

    def look(self, *, schedules: bool = True) -> None:
        """Start the runs that the server starts by itself and that are due now, and wait a moment for their ends.
        Durable ones are accepted then. `schedules`: also those by the clock."""

        async def look() -> None:
            for each in self._looking:
                if not schedules and isinstance(each, Scheduler):
                    continue
                await each.step()
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOKING):
                        await each.settle()

        self.do(look())

    def next_due(self) -> float | None:
        """When the next run starts by the clock, in Unix seconds; None if none does."""

        async def next_due() -> float | None:
            found = [each.next_due() for each in self._looking if isinstance(each, Scheduler)]
            return min((at for at in found if at is not None), default=None)

        return self.do(next_due())

    def log_of(self, request_id: str) -> list[dict[str, Any]]:
        """The lines of a run, or of a rejected request, which the loop makes many together."""

        async def flush() -> None:
            flush_logs()

        self.do(flush())
        return self.lines.of(request_id)

    def unended(self) -> list[Record]:
        """The runs that have not ended."""
        pages = [self.read(f"/runs?limit=200&state={state}") for state in ("Waiting", "Running")]
        return [run for page in pages if page is not None for run in page.runs]

    def on_its_way(self) -> bool:
        """Whether a durable run has more to do before it ends or waits for something."""
        found = [self.read(f"/runs/{run.id}") for run in self.unended()]
        return any(run is not None and run.durable and run.durable.phase not in RESTS for run in found)

    async def send(self, method: str, url: str, address: str, headers: Fields, body: bytes) -> Response:
        """The response to a request of a client at this address."""
        fields = [(_bytes(name), _bytes(value)) for name, value in headers]
        request = Request(method, f"{ADDRESS}{url}", headers=fields, content=body)
        response = await self._transport(address).handle_async_request(request)
        await response.aread()
        return response

    def token(self, sender: Sender) -> str:
        """A token at this moment, "" for nobody."""
        return token_of(sender, self.tenant, time.time())

    def _gone(self) -> KitFailure:
        self.spent = True
        self._thread.join(STOP_SECONDS)
        return KitFailure(f"The application has ended: {self._ended_by!r}")

    # In the thread of the loop

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=TestLoop) as runner:
                self.app = create_app(self.settings, local_tokens=lambda _: "", outside=self._outside())
                runner.run(self._serve())
        except BaseException as error:
            self._ended_by = error
            if not self._started.done():
                self._started.set_exception(error)

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        async with self.app.router.lifespan_context(self.app):
            self._started.set_result(None)
            await self._stopping.wait()

    def _outside(self) -> Outside:
        connections = partial(
            StubbedConnections, tenant=self.tenant, scene=lambda: self.scene, here=self._here, sleep=_no_pause
        )
        return Outside(
            fetch_for=self._fetch_for,
            connections=connections,
            sleep=_no_pause,
            refused=self._refused,
            trial=False,
            start_writer=start_writer,
            step_kept=self._step_kept,
            durable_early=False,
            ticks=False,
            agents=False,
            started=self._looking.append,
        )

    def _fetch_for(self, _: Tenant) -> Callable[[], Any]:
        async def fetch() -> bytes:
            return json.dumps(self.tenant.jwks()).encode()

        return fetch

    def _failed(self, failure: KitFailure) -> None:
        self.scene.failures.append(failure)

    def _step_kept(self, run_id: str, label: str, ran: bool) -> bool:
        return self.crashes.kept(run_id, label, ran)

    def _refused(self, refusal: Refusal) -> None:
        self.refusals[refusal.request_id] = refusal

    def _transport(self, address: str) -> AsyncBaseTransport:
        return ASGITransport(_whole(self.app), client=(address, 40000))

    async def _here(self, request: Request, auth: Any) -> Response:
        """The response of a workflow of this project to another one, with the token that Entra would issue."""
        headers = dict(request.headers)
        if isinstance(auth, EntraAuth):
            token = self.tenant.token(OWN_APPLICATION, audience=_audience(auth), now=time.time())
            headers["authorization"] = f"Bearer {token}"
        sent = Request(request.method, request.url, headers=headers, content=await request.aread())
        reply = self._transport(self.scene.address).handle_async_request(sent)
        task: asyncio.Task[Response] = asyncio.get_running_loop().create_task(reply, context=Context())
        return await task  # a run has a task of its own, as over the wire


def _whole(app: Application) -> ASGIApp:
    """The application, for a client that reads replies to their ends: one that is cut off is an error, as over the
    wire."""

    async def read(scope: Scope, receive: Receive, send: Send) -> None:
        sent, more = 0, True

        async def count(message: Message) -> None:
            nonlocal sent, more
            if message["type"] == "http.response.body":
                sent, more = sent + len(message.get("body", b"")), message.get("more_body", False)
            await send(message)

        await app(scope, receive, count)
        if more:
            raise ConnectionResetError(
                f"The reply to {scope['method']} {scope['path']} was cut off after {sent} bytes. The record of the run "
                "says why: runs()[0].error"
            )

    return read


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def _audience(auth: EntraAuth) -> str:
    return auth.audience or auth.scopes[0].removesuffix("/.default")


async def _no_pause(_: float) -> None:
    """Do not wait between the attempts of a step or a call."""
    await asyncio.sleep(0)
