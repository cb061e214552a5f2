"""The server process: sockets, signals, and a stop that loses nothing.

On SIGTERM or SIGINT the server accepts no new connections, so that a proxy uses another server process, and notifies
the application. Requests on open connections are served, each response with `Connection: close`. After SIGTERM, idle
connections stay open for IDLE seconds, because a proxy may have sent a request already. The process ends when no
connection is left and nothing runs, or when the grace period is over. A second signal ends it at once. Threads that
code of authors or of libraries left behind are waited for until the grace period is over, and no longer.
"""

import errno
import logging
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, cast

import structlog
import uvicorn
from uvicorn.config import LifespanType

from postern import collector
from postern.allocator import return_free_pages
from postern.logs import flush_logs
from postern.networks import as_mapped
from postern.runs.pauses import PAUSES
from postern.server.listener import accepted, block_new
from postern.server.main_task import run_to_end
from postern.server.protocol import GuardedProtocol
from postern.server.stop_deadline import StopDeadline
from postern.server.workers import Workers

EXIT_USAGE = 2
GRACE = 30.0
"""Seconds that running requests have to end after a signal."""
IDLE = 5.0
"""Seconds after SIGTERM in which idle connections are still served. A proxy must close its own earlier (for nginx:
keepalive_timeout of the upstream), or it may send a request that is lost."""

SWITCH_INTERVAL = 0.0005
"""Seconds after which a waiting thread gets the interpreter. With Python's 5 ms, a `def` workflow that computes would
delay the event loop by that long each time."""

LINK_MESSAGE_BYTES = 2**20
"""Of one message of a link."""

log = structlog.get_logger("postern.server")


class AddressFault(OSError):
    """The server cannot listen on the configured address; the message says which setting to change."""


class Server(uvicorn.Server):
    """One process. The application may set three functions in the lifespan's state: `draining` is called once when the
    stop begins, `idle` returns whether nothing is running any more, and `closing` is called when nothing may begin any
    more. `exits`: end the process itself if something is cut off."""

    def __init__(
        self, config: uvicorn.Config, *, grace: float = GRACE, idle: float = IDLE, exits: bool = False
    ) -> None:
        super().__init__(config)
        self._exits = exits
        self.grace = grace
        self.idle = idle
        self.stop_signal = 0
        self._deadline: float | None = None
        self._stop_deadline = StopDeadline(grace, lambda: os._exit(self.exit_code)) if exits else None
        self._draining = False
        self._grace_over = False
        self._application_ended = False
        self._listeners: list[socket.socket] = []
        quieten_lifespan()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Load and start the application."""
        self._listeners = sockets or []
        await super().startup(sockets=sockets)
        sys.setswitchinterval(SWITCH_INTERVAL)
        collector.loaded()

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve in an event loop of its own."""
        run_to_end(self.serve(sockets), self.config.get_loop_factory())

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a stop signal. If something is cut off, the process ends here with `exits`: asyncio would wait
        for tasks that swallow their cancellation."""
        await super().serve(sockets)
        if self._stop_deadline is not None:
            self._stop_deadline.finish()
        if self.cuts_off and self._exits:
            _end_process(self.exit_code)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop. A second signal ends the process at once, also while the application still starts."""
        if sig == signal.SIGINT and multiprocessing.parent_process() is not None:
            return  # a terminal signals the whole group: the parent decides, and sends SIGTERM
        if sig == signal.SIGINT and (leave := PAUSES.leave) is not None:
            leave()
            _end_process(128 + sig)
        if self.force_exit or (self.stop_signal and not self.started):
            os._exit(128 + sig)  # the event loop does not get to it
        if self.stop_signal:
            self.force_exit = self.should_exit = True
        self.stop_signal = sig
        if self._deadline is None:
            self._deadline = time.monotonic() + self.grace
        if self._stop_deadline is not None:
            self._stop_deadline.arm()

    @property
    def cuts_off(self) -> bool:
        """Whether the process ends although something is still running."""
        return self.force_exit or self._grace_over or self._application_ended

    @property
    def exit_code(self) -> int:
        """0 after a graceful stop, 128 and the signal after a forced one, 1 if the application ended by itself."""
        if self.force_exit:
            return 128 + self.stop_signal
        return int(self._application_ended)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: begin a requested stop, and end when possible. Each second: return free memory."""
        if counter % 10 == 0:
            return_free_pages()
        if getattr(self.lifespan, "error_occurred", False) and not self.should_exit:
            # Without it nothing is recorded, and recorded runs would wait for ever. uvicorn would go on serving.
            log.critical("application-ended", fix="the process ends: let your supervisor start it again")
            self._application_ended = self.should_exit = True
        if self.stop_signal and not self.should_exit:
            try:
                if not self._draining:
                    self._draining = True
                    await self._begin_to_stop()
                if self._may_end():
                    self.should_exit = True  # never False: a second signal sets it too
                    self._notify("closing")
            except Exception:
                log.exception("drain-failed")
                self.should_exit = True
        return await super().on_tick(counter)

    async def _begin_to_stop(self) -> None:
        log.info("draining", grace=self.grace)
        self._notify("draining")
        shared = self.config.fd is not None or multiprocessing.parent_process() is not None
        for listener in self._listeners:
            if not shared:  # a shared socket is closed by its owner: other processes may still use it
                block_new(listener)
            await accepted(listener)
        for server in self.servers:
            server.close()
        for listener in self._listeners:
            listener.close()

    def _may_end(self) -> bool:
        connections = cast("set[GuardedProtocol]", self.server_state.connections)
        for connection in list(connections):
            connection.drain(0 if self.stop_signal == signal.SIGINT else self.idle)
        awaited = any(connection.awaited for connection in connections)
        idle: Callable[[], bool] | None = self.lifespan.state.get("idle")
        if not awaited and (idle is None or idle()):
            return True
        if time.monotonic() < cast("float", self._deadline):
            return False
        log.warning("grace-over", grace=self.grace)
        self._grace_over = True
        self.config.timeout_graceful_shutdown = 0
        return True

    def _notify(self, what: str) -> None:
        if notify := self.lifespan.state.get(what):
            notify()


def server_config(
    app: Any,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    workers: int = 1,
    trusted_proxies: Sequence[str] = (),
    fd: int | None = None,
    factory: bool = False,
    lifespan: LifespanType = "on",
    backlog: int = 2048,
    certificate: Path | None = None,
    private_key: Path | None = None,
) -> uvicorn.Config:
    """uvicorn's settings for Postern. `app` is an ASGI application, or with `factory` a callable that makes it; for
    several workers the import string of either. `trusted_proxies` are addresses and networks whose X-Forwarded-For and
    X-Forwarded-Proto are trusted; with none, those headers are ignored. `fd` is an inherited listening socket."""
    if workers > 1 and not isinstance(app, str):
        raise ValueError("several workers need the application as an import string: module:attribute")
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        fd=fd,
        workers=workers,
        factory=factory,
        lifespan=lifespan,
        backlog=backlog,
        loop="uvloop" if sys.platform != "win32" else "auto",
        http=GuardedProtocol,
        ws="none",  # see GuardedProtocol: it upgrades nothing but links, with these limits
        ws_max_size=LINK_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        interface="asgi3",
        access_log=False,  # it prints query strings
        log_config=None,
        server_header=False,
        date_header=True,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=_both_forms(trusted_proxies),
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
        ssl_certfile=certificate,
        ssl_keyfile=private_key,
    )


def _both_forms(proxies: Iterable[str]) -> list[str]:
    """The proxies as they are written, and IPv4 ones as IPv6 too: a proxy on a dual-stack socket may write the proxy
    before it so, which would pass for the client else. A list, so that uvicorn does not read the environment."""
    return [form for proxy in proxies for form in dict.fromkeys((proxy, as_mapped(proxy)))]


def bind(config: uvicorn.Config) -> socket.socket:
    """A socket that already listens on the configured address; port 0 means any free port. Raises AddressFault.

    It listens at once because two sockets may bind one port as long as neither listens.
    """
    if config.fd is not None:
        return socket.socket(fileno=config.fd)
    host, port = config.host, config.port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, OverflowError) as error:
        raise AddressFault(
            f"the host {host} cannot be resolved: set POSTERN_HOST to an address of this machine"
        ) from error
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(config.backlog)
    except OSError as error:
        listener.close()
        raise AddressFault(_address_fault(error, host, port)) from error
    return listener


def bound_address(config: uvicorn.Config, listener: socket.socket) -> str:
    """The URL at which the server is reached from this machine, with the port that was really taken."""
    host, port = listener.getsockname()[:2]
    scheme = "https" if config.is_ssl else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def run(
    config: uvicorn.Config,
    *,
    listener: socket.socket | None = None,
    grace: float = GRACE,
    ready: Callable[[str], None] | None = None,
) -> int:
    """Serve until a stop signal, and return the exit code of the process: 0 after a graceful stop, 2 if it cannot
    listen on the address, 3 if the application does not start. `ready` gets the bound address beforehand."""
    try:
        listener = listener or bind(config)
    except AddressFault as fault:
        sys.stderr.write(f"postern: {fault}\n")
        return EXIT_USAGE
    with listener:
        address = bound_address(config, listener)
        log.info("listening", address=address, workers=config.workers)
        if ready is not None:
            ready(address)
        if config.workers > 1:
            return Workers(serve, config, listener, grace=grace).run()
        return serve(config, listener, grace)


def serve(config: uvicorn.Config, listener: socket.socket, grace: float) -> int:
    """One process: serve on the socket until a stop signal, and return the exit code. If something is cut off, the
    process ends here: threads of workflows cannot be stopped, and Python would wait for them."""
    server = Server(config, grace=grace, exits=True)
    try:
        if not config.loaded:
            config.load()  # in the main thread, and before the event loop: modules of authors may run one of their own
        server.run(sockets=[listener])
    except SystemExit as stop:  # uvicorn's way to say that the application did not start
        return stop.code if isinstance(stop.code, int) else 1
    except OSError:  # uvloop's, of connections out that are still open
        if not server.force_exit:
            raise
    if server.cuts_off:
        _end_process(server.exit_code)
    return server.exit_code


def _end_process(code: int) -> NoReturn:
    flush_logs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def quieten_lifespan() -> None:
    """No traceback in the log of a lifespan that a second signal cut off."""
    logger = logging.getLogger("uvicorn.error")
    if not any(isinstance(each, _CutOff) for each in logger.filters):
        logger.addFilter(_CutOff())


class _CutOff(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).rstrip().endswith("CancelledError")


def _address_fault(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is already in use: set POSTERN_PORT or --port to another one (0: any free one)"
    if error.errno == errno.EACCES:
        return f"port {port} is not allowed for this user: set POSTERN_PORT to 1024 or above"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine: set POSTERN_HOST (0.0.0.0 for all, 127.0.0.1 for local use)"
    return f"cannot listen on {host} port {port} ({error.strerror}): see POSTERN_HOST and POSTERN_PORT"
