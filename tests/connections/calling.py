"""Small real servers on loopback that calls go to, and a Context whose calls go there."""

import asyncio
import math
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from starlette.requests import Request as Received
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from postern.access import ANYONE
from postern.authoring.call_result import Call
from postern.authoring.context import Context, Services
from postern.authoring.request import Request
from postern.call_chain import Chain
from postern.catalog import Trigger
from postern.connections.calls.calls import Calls
from postern.http_client import AsyncClient, Auth, http_client
from postern.settings import EntraAuth, load_settings

GUID = "00000000-0000-0000-0000-00000000000"
ENTRA = {
    "type": "entra",
    "client_id": f"{GUID}1",
    "client_secret": {"key_vault": "flows-secret"},
    "audience": "https://service.flow.microsoft.com/",
}
TOKEN = "a-token-that-is-nowhere"


@asynccontextmanager
async def serving(app: ASGIApp, http: Any = "auto") -> AsyncIterator[str]:
    """The address of the application while it listens. `http` is the protocol, by default uvicorn's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio does not see that it is TCP
        server = uvicorn.Server(
            uvicorn.Config(app, http=http, log_config=None, lifespan="off", timeout_graceful_shutdown=2)
        )
        task = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))
        async with asyncio.timeout(10):
            while not server.started:
                await asyncio.sleep(0.001)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


class Signed(Auth):
    """Signs with one token."""

    def auth_flow(self, request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {TOKEN}"
        yield request


@dataclass
class Counterpart:
    """Answers as it is reported, the last answer again and again, and keeps what it was received."""

    answers: list[Response | Callable[[Received], Response]] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        received = Received(scope, receive)
        self.received.append(received)
        self.bodies.append(await received.body())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        await (answer(received) if not isinstance(answer, Response) else answer)(scope, receive, send)


@dataclass
class Calling:
    """The caller's side: `ctx` is the Context of a run, and `noted` are its recorded calls."""

    ctx: Context
    calls: Calls
    noted: list[Call]
    waits: list[float]
    opened: list[tuple[str, Any]]


@asynccontextmanager
async def calling(
    folder: Path,
    triggers: dict[str, Any],
    served: dict[str, Trigger] | None = None,
    run_id: str = "run-1",
    depth: int | None = None,
    left: float = math.inf,
    **more: Any,
) -> AsyncIterator[Calling]:
    """Calls by these entries, over plain clients whose sign-in is a fixed token."""
    clients: dict[str, AsyncClient] = {}
    opened: list[tuple[str, Any]] = []
    waits: list[float] = []
    noted: list[Call] = []

    def opener(
        entry: str, url: str, auth: Any, *, exact: bool, seconds: float, response_bytes: int, signer: str, **_: Any
    ) -> AsyncClient:
        if entry not in clients:
            opened.append((entry, auth))
            clients[entry] = http_client(auth=Signed() if isinstance(auth, EntraAuth) else None)
        return clients[entry]

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def secret(name: str) -> str:
        raise LookupError(name)

    def connection(ctx: Context, name: str) -> Any:
        raise LookupError(name)

    settings = load_settings({}, folder=folder, defaults={"triggers": triggers, **more})
    calls = Calls(
        settings,
        lambda: served or {},
        opener,
        lambda _, call: noted.append(call),
        sleep=sleep,
        uniform=lambda low, high: high,
        left=lambda run_id: left,
    )
    services = Services(secret, connection, structlog.get_logger("test"), call=calls.call)
    request = Request("POST", "/triggers/x", chain=None if depth is None else Chain(depth))
    try:
        yield Calling(Context(request, ANYONE, run_id, "x", services), calls, noted, waits, opened)
    finally:
        calls.close()
        for client in clients.values():
            await client.aclose()


def problem(status: int, code: str, headers: dict[str, str] | None = None, **members: Any) -> Response:
    """A problem as a Postern says it."""
    document = {"status": status, "code": code, **members}
    return JSONResponse(document, status, headers, media_type="application/problem+json")
