"""The application in this process, in an event loop and a thread of its own, without a port."""

import asyncio
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from contextvars import Context
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

from httpx2 import ASGITransport

from postern.assembly import create_app
from postern.assembly.asgi import Application
from postern.assembly.outside import Outside
from postern.http_client import AsyncBaseTransport, Request, Response
from postern.identity import Tenant
from postern.journal.refusal import Refusal
from postern.local_tenant import LocalTenant
from postern.local_tenant.defaults import OPERATOR, OWN_APPLICATION
from postern.settings import EntraAuth, Settings
from postern.testing.lines import Lines
from postern.testing.people import Sender, token_of, user
from postern.testing.project import ADDRESS, folder_of, project_settings
from postern.testing.reaching import StubbedConnections
from postern.testing.scene import Scene
from postern.testing.writing import start_writer

T = TypeVar("T")

START_SECONDS = 60.0
STOP_SECONDS = 15.0

OPERATORS_ADDRESS = "127.255.255.254"
"""The client address of the kit itself."""


class Server:
    """The application. `scene` is what the current test has set, and `spent` says that no later test may use it."""

    settings: Settings
    tenant: LocalTenant
    app: Application

    def __init__(self, project: Path, scratch: Path) -> None:
        self.scene = Scene()
        self.spent = False
        self.refusals: dict[str, Refusal] = {}
        self.lines = Lines()
        self._scratch = scratch
        self.settings, self.tenant = project_settings(project, scratch)
        self._started: Future[None] = Future()
        self._stopping: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="postern", daemon=True)

    @classmethod
    def start(cls) -> Self:
        """The application of the project in the working directory. Raises UserFault for settings that cannot be
        used."""
        server = cls(folder_of(Path.cwd()), Path(tempfile.mkdtemp(prefix="postern-test-")))
        server._thread.start()
        server._started.result(START_SECONDS)
        return server

    def stop(self) -> None:
        """Stop it, and delete its files."""
        if self._loop is not None and self._stopping is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(STOP_SECONDS)
        self.lines.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def do(self, work: Coroutine[Any, Any, T], seconds: float | None = None) -> T:
        """The result of work in the application's loop."""
        return self.begin(work).result(seconds)

    def begin(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Begin work in the application's loop."""
        if self._loop is None:
            raise RuntimeError("the application does not run")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def forget(self, scene: Scene) -> None:
        """Forget what a test left in memory."""
        self.scene = Scene(address="127.0.0.1")
        self.refusals.clear()
        self.lines.clear()

    def get(self, path: str) -> Response:
        """The response to an operator's GET."""
        headers = [("Authorization", f"Bearer {self.token(user(OPERATOR))}")]
        return self.do(self.send("GET", path, OPERATORS_ADDRESS, headers, b""))

    async def send(self, method: str, url: str, address: str, headers: list[tuple[str, str]], body: bytes) -> Response:
        """The response to a request of a client at this address."""
        request = Request(method, f"{ADDRESS}{url}", headers=headers, content=body)
        response = await self._transport(address).handle_async_request(request)
        await response.aread()
        return response

    def token(self, sender: Sender) -> str:
        """A token at this moment, "" for nobody."""
        return token_of(sender, self.tenant, time.time())

    # In the thread of the loop

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
                self.app = create_app(self.settings, local_tokens=lambda _: "", outside=self._outside())
                runner.run(self._serve())
        except BaseException as error:
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
        return Outside(self._fetch_for, connections, _no_pause, self._refused, trial=False, start_writer=start_writer)

    def _fetch_for(self, _: Tenant) -> Callable[[], Any]:
        async def fetch() -> bytes:
            return _json(self.tenant.jwks())

        return fetch

    def _refused(self, refusal: Refusal) -> None:
        self.refusals[refusal.request_id] = refusal

    def _transport(self, address: str) -> AsyncBaseTransport:
        return ASGITransport(self.app, client=(address, 40000))

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


def _audience(auth: EntraAuth) -> str:
    return auth.audience or auth.scopes[0].removesuffix("/.default")


async def _no_pause(_: float) -> None:
    """Do not wait between the attempts of a step or a call."""
    await asyncio.sleep(0)


def _json(document: Mapping[str, Any]) -> bytes:
    from json import dumps

    return dumps(document).encode()
