"""Serves the local tenant: uvicorn with TLS, on loopback, in a thread with its own event loop."""

import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from postern.local_tenant.listener import listen
from postern.local_tenant.state import HOST, SERVER_FILE, SERVER_KEY_FILE, TenantFault, hold_folder

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from postern.local_tenant.tenant import LocalTenant

_PATIENCE = 15.0  # seconds to start, and to stop


@contextmanager
def serve(tenant: "LocalTenant", *, clock: Callable[[], float] = time.time) -> "Iterator[LocalTenant]":
    """Serve the tenant, and its pages for people, while the block runs. It listens when the block begins. Its ports are
    the previous ones if those are free, else others, which are written to `state.json`. `clock`: seconds since 1970,
    for tests. Raises TenantFault if another process serves it."""
    from postern.local_tenant.app import create_app, create_sign_in_app  # a command that only mints needs no server

    with (
        hold_folder(tenant.folder),
        listen(urlsplit(tenant.authority).port or 0) as listener,
        listen(urlsplit(tenant.sign_in_url).port or 0) as pages,
    ):
        tenant.moved_to(listener.getsockname()[1], pages.getsockname()[1])
        certificate = {"ssl_certfile": tenant.folder / SERVER_FILE, "ssl_keyfile": tenant.folder / SERVER_KEY_FILE}
        with (
            _running(create_app(tenant, clock), listener, certificate),
            _running(create_sign_in_app(tenant, clock), pages, {}),
        ):
            yield tenant


@contextmanager
def serve_identity(tenant: "LocalTenant", *, clock: Callable[[], float] = time.time) -> Iterator[dict[str, str]]:
    """Serve the tenant's managed identities while the block runs, in plain HTTP on loopback, as App Service and
    Container Apps do for a container. The block gets the two variables of their contract."""
    from postern.local_tenant.app import create_identity_app

    secret = secrets.token_urlsafe(24)
    listener = listen(0)
    with listener:
        url = f"http://{HOST}:{listener.getsockname()[1]}/msi/token"
        with _running(create_identity_app(tenant, clock, secret), listener, {}):
            yield {"IDENTITY_ENDPOINT": url, "IDENTITY_HEADER": secret}


@contextmanager
def _running(app: "ASGIApp", listener: socket.socket, certificate: dict[str, Path]) -> Iterator[None]:
    import asyncio  # like all of this function, for a tenant that is served: a command that makes a token serves none

    import uvicorn

    from postern.server.protocol import GuardedProtocol

    ready = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready.set()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            for connection in list(self.server_state.connections):
                # It was closed because it was idle and is waiting: after a second close it could not be aborted.
                if connection.transport is not None and connection.transport.is_closing():
                    connection.transport.abort()
            await super().shutdown(sockets)
            # Under TLS a closed connection waits for the peer's close_notify, which an idle client never sends.
            for connection in list(self.server_state.connections):
                if connection.transport is not None:
                    connection.transport.abort()
            await asyncio.sleep(0.01)  # a turn or two of the loop, in which they close

    server = Server(
        uvicorn.Config(
            app,
            http=GuardedProtocol,  # with its limits on slow clients, and on those that do not read
            ssl_certfile=certificate.get("ssl_certfile"),
            ssl_keyfile=certificate.get("ssl_keyfile"),
            loop="asyncio",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
    )

    def run() -> None:
        try:
            server.run(sockets=[listener])
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="local-tenant", daemon=True)
    thread.start()
    try:
        ready.wait(_PATIENCE)
        if not server.started:
            raise TenantFault("the local tenant's server did not start; the log says why")
        yield
    finally:
        server.should_exit = True
        thread.join(_PATIENCE)
