"""The server process: addresses, signals and the graceful stop, with real processes."""

import asyncio
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Self

import pytest
from starlette.requests import ClientDisconnect

from postern.logs import Coalesced
from postern.server import cycle, stop_deadline
from postern.server.process import (
    AddressFault,
    Server,
    bind,
    bound_address,
    quieten_lifespan,
    run,
    server_config,
)
from postern.server.protocol import GuardedProtocol
from postern.server.stop_deadline import StopDeadline
from tests.process.servers import until
from tests.tools import needed_filter

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


ROOT = Path(__file__).parents[2]

APPLICATION = """
import asyncio, os, threading, time
from concurrent.futures import ThreadPoolExecutor

class Application:
    def __init__(self):
        self.draining = False
        self.running = 0
        self.go_on = None
        self.threads = ThreadPoolExecutor()

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            self.go_on, self.end = asyncio.Event(), asyncio.Event()
            scope["state"]["draining"] = lambda: setattr(self, "draining", True)
            scope["state"]["closing"] = lambda: print("closing", flush=True)
            scope["state"]["idle"] = lambda: not self.running
            await receive()
            if "BROKEN" in os.environ:
                return await send({"type": "lifespan.startup.failed", "message": ""})
            await send({"type": "lifespan.startup.complete"})
            if "ENDS" in os.environ:
                await self.end.wait()
                raise RuntimeError("the application has ended")
            await receive()
            print("lifespan over", flush=True)
            return await send({"type": "lifespan.shutdown.complete"})
        status = 503 if self.draining and scope["path"] == "/readyz" else 200
        if scope["path"] == "/slow":
            self.running += 1
            print("running", os.getpid(), flush=True)
            await self.go_on.wait()
            self.running -= 1
        if scope["path"] == "/thread":
            self.running += 1
            print("running", os.getpid(), flush=True)
            await asyncio.get_running_loop().run_in_executor(self.threads, time.sleep, 60)
        if scope["path"] == "/left":
            asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)
            print("running", os.getpid(), flush=True)
        if scope["path"] == "/library":
            threading.Thread(target=time.sleep, args=(60,)).start()
            print("running", os.getpid(), flush=True)
        if scope["path"] == "/stuck":
            print("running", os.getpid(), flush=True)
            for _ in range(6000):  # a signal that comes just before one sleep of a minute would wait for its end
                time.sleep(0.01)
        if scope["path"] == "/go-on":
            self.go_on.set()
        if scope["path"] == "/end":
            self.end.set()
        if scope["path"] == "/die":
            os._exit(1)
        body = b"%d" % os.getpid()
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

application = Application()
"""

PROGRAM = """
import os, sys
from postern.server import stop_deadline, workers
from postern.server.process import run, server_config

stop_deadline.FLUSH_SECONDS = float(os.environ.get("FLUSH", 0.3))

if __name__ == "__main__":
    workers.KILL_AFTER = float(os.environ.get("KILL_AFTER", workers.KILL_AFTER))
    config = server_config("application:application", port=int(sys.argv[3]), workers=int(sys.argv[1]))
    sys.exit(run(config, grace=float(sys.argv[2]), ready=lambda address: print("ready", address, flush=True)))
"""


class Process:
    """A server in a process of its own, that runs APPLICATION."""

    def __init__(self, folder: Path, workers: int, grace: float, environment: dict[str, str], port: int = 0) -> None:
        (folder / "application.py").write_text(APPLICATION)
        (folder / "program.py").write_text(PROGRAM)
        self.log = folder / "stderr"
        with self.log.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, str(folder / "program.py"), str(workers), str(grace), str(port)],
                env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", **environment},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        self.port = int(self.says("ready .*:([0-9]+)"))

    def says(self, pattern: str) -> str:
        """Read lines of its output until one fits; the group of the pattern."""
        assert self.process.stdout
        for line in self.process.stdout:
            if found := re.search(pattern, line):
                return found[1] if found.groups() else found[0]
        raise AssertionError(f"it ended without saying {pattern}: {self.log.read_text()}")

    def signal(self, number: int = signal.SIGTERM) -> None:
        """SIGINT goes to the whole group, as a terminal sends it."""
        if number == signal.SIGINT:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def exit_code(self) -> int:
        return self.process.wait(10)


@contextmanager
def process(
    folder: Path, workers: int = 1, grace: float = 20.0, port: int = 0, **environment: str
) -> Iterator[Process]:
    started = Process(folder, workers, grace, environment, port)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait(10)
        if started.process.stdout:
            started.process.stdout.close()


class Connection:
    """A keep-alive connection that speaks just enough HTTP."""

    closes = False
    """Whether the last answer said that the connection is closed."""

    def __init__(self, port: int) -> None:
        self.connect(port)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self, port: int) -> None:
        """Begin anew."""
        if hasattr(self, "socket"):
            self.close()
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.file = self.socket.makefile("rb")

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def ask(self, path: str) -> None:
        self.socket.sendall(b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" % path.encode())

    def answer(self) -> tuple[int, int]:
        """The status and the id of the process that answered; 0 when the connection ended."""
        head = self.file.readline()
        if not head:
            return 0, 0
        self.closes = False
        while (line := self.file.readline()) != b"\r\n":
            self.closes |= line.lower() == b"connection: close\r\n"
            if line.lower().startswith(b"content-length"):
                length = int(line.split(b":")[1])
        return int(head.split()[1]), int(self.file.read(length))


def get(port: int, path: str = "/") -> tuple[int, int]:
    with Connection(port) as connection:
        connection.ask(path)
        return connection.answer()


def refuses(port: int) -> bool:
    """Whether nothing listens there."""
    try:
        with Connection(port):
            return False
    except ConnectionRefusedError:
        return True


STOPS = [(1, signal.SIGTERM), (2, signal.SIGTERM), (2, signal.SIGINT)]


@pytest.mark.parametrize(("workers", "number"), STOPS)
@pytest.mark.process
def test_a_stop_ends_what_runs_and_refuses_new_connections(tmp_path, workers, number):
    """The port can be taken by another process at once, while the answers that are due are still given."""
    with process(tmp_path, workers) as server, Connection(server.port) as slow:
        slow.ask("/slow")
        busy = int(server.says("running ([0-9]+)"))
        with Connection(server.port) as same:
            while True:  # a connection to the worker that is busy, which alone can have it go on
                same.ask("/")
                if same.answer() == (200, busy):
                    break
                same.connect(server.port)
            server.signal(number)
            until(lambda: refuses(server.port))
            (tmp_path / "next").mkdir()
            with process(tmp_path / "next", port=server.port) as successor:
                assert get(server.port)[0] == 200
                assert server.process.poll() is None
                same.ask("/go-on")
                assert (same.answer(), same.closes) == ((200, busy), True)
                assert (slow.answer(), slow.closes) == ((200, busy), True)
                assert server.exit_code() == 0
                server.says("closing")
                server.says("lifespan over")
                assert "Traceback" not in server.log.read_text()
                successor.signal()
                assert successor.exit_code() == 0


@pytest.mark.process
def test_a_server_whose_application_has_ended_ends_too(tmp_path):
    """It would serve on, and nothing would be recorded."""
    with process(tmp_path, ENDS="1") as server:
        assert get(server.port, "/end")[0] == 200
        server.says("application-ended")
        assert server.exit_code() == 1


@pytest.mark.process
def test_connections_that_are_open_are_served_while_the_server_drains(tmp_path):
    """The idle and the new one once more each, with `Connection: close`; readiness has gone at once."""
    with process(tmp_path) as server:
        with Connection(server.port) as used, Connection(server.port) as new, Connection(server.port) as silent:
            used.ask("/")
            assert used.answer()[0] == 200
            assert not used.closes
            server.signal()
            until(lambda: refuses(server.port))
            used.ask("/readyz")
            assert (used.answer()[0], used.closes) == (503, True)
            new.ask("/")
            assert (new.answer()[0], new.closes) == (200, True)
            assert [connection.answer() for connection in (used, new)] == [(0, 0), (0, 0)]
            assert server.process.poll() is None
            silent.ask("/")
            assert (silent.answer()[0], silent.closes) == (200, True)
        assert server.exit_code() == 0


@pytest.mark.process
def test_no_connection_is_reset_by_a_stop(tmp_path):
    """Callers that open a connection for each request get an answer or are refused, whenever that is."""
    needed_filter()
    broken: list[BaseException] = []
    answered: list[int] = []

    def call(port: int) -> None:
        while True:
            try:
                with Connection(port) as connection:
                    connection.ask("/")
                    answered.append(connection.answer()[0])
            except ConnectionRefusedError:
                return
            except OSError as error:
                broken.append(error)
                return

    with process(tmp_path) as server:
        callers = [threading.Thread(target=call, args=(server.port,)) for _ in range(8)]
        for caller in callers:
            caller.start()
        until(lambda: len(answered) > 200)
        server.signal()
        for caller in callers:
            caller.join(10)
        assert server.exit_code() == 0
    assert broken == []
    assert set(answered) == {200}


@pytest.mark.parametrize(("number", "idle_is_served"), [(signal.SIGTERM, True), (signal.SIGINT, False)])
async def test_idle_connections_are_kept_for_a_proxy_and_closed_at_once_for_a_terminal(number, idle_is_served):
    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    config = server_config(application, port=0, lifespan="off")
    server = Server(config, idle=0.3)
    listener = bind(config)
    port = listener.getsockname()[1]
    task = asyncio.create_task(server._serve([listener]))
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    for reader, writer in clients:
        writer.write(request)
        await reader.readuntil(b"\r\n\r\n")
    server.handle_exit(number, None)
    (reader, writer), (idle, _) = clients
    while listener.fileno() >= 0:
        await asyncio.sleep(0.005)
    if idle_is_served:
        writer.write(request)
        assert b"connection: close" in await asyncio.wait_for(reader.read(), 5)
    assert await asyncio.wait_for(idle.read(), 5) == b""
    await asyncio.wait_for(task, 5)
    for _, writer in clients:
        writer.close()


@pytest.mark.parametrize(("workers", "path"), [(1, "/slow"), (2, "/slow"), (1, "/thread"), (2, "/thread")])
@pytest.mark.process
def test_the_grace_is_bounded(tmp_path, workers, path):
    """A request that does not end is cut off, and the stop is still graceful. Nor is a thread waited for."""
    with process(tmp_path, workers, grace=0.2) as server, Connection(server.port) as slow:
        slow.ask(path)
        server.says("running")
        server.signal()
        assert server.exit_code() == 0


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("path", ["/left", "/library"])
@pytest.mark.process
def test_threads_that_were_left_behind_do_not_hold_a_stop_beyond_its_grace(tmp_path, workers, path):
    """Their requests have their replies, so nothing seems to run; but the interpreter waits for its threads."""
    with process(tmp_path, workers, grace=0.5, KILL_AFTER="60", FLUSH="60") as server:
        assert get(server.port, path)[0] == 200
        server.signal()
        server.says("lifespan over")
        server.says("stop-cut-short.*finished=True")
        assert server.exit_code() == 0
        assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.process
def test_code_that_holds_the_event_loop_does_not_hold_a_stop(tmp_path, workers):
    """The deadline begins with the signal, and needs no event loop."""
    with process(tmp_path, workers, grace=0.2, KILL_AFTER="60") as server, Connection(server.port) as stuck:
        stuck.ask("/stuck")
        server.says("running")
        server.signal()
        server.says("stop-cut-short.*finished=False")
        assert server.exit_code() == 0


@pytest.mark.process
def test_a_stop_that_leaves_no_thread_ends_at_once_and_cuts_nothing_short(tmp_path):
    with process(tmp_path, grace=60) as server:
        assert get(server.port)[0] == 200
        server.signal()
        assert server.exit_code() == 0
        assert server.process.stdout
        assert "stop-cut-short" not in server.process.stdout.read()


async def test_the_last_line_of_a_stop_cannot_hold_it(monkeypatch):
    """Nobody reads the stream of the log."""
    never, ended = threading.Event(), threading.Event()
    monkeypatch.setattr(stop_deadline, "flush_logs", never.wait)
    monkeypatch.setattr(stop_deadline, "SAY_SECONDS", 0.01)
    deadline = StopDeadline(0.0, ended.set)
    deadline.finish()
    assert not ended.is_set()
    for _ in range(2):
        deadline.arm()
    assert ended.wait(10)
    never.set()


@pytest.mark.parametrize(("workers", "path"), [(1, "/slow"), (2, "/slow"), (1, "/thread")])
@pytest.mark.process
def test_a_second_signal_ends_at_once(tmp_path, workers, path):
    with process(tmp_path, workers) as server, Connection(server.port) as slow:
        slow.ask(path)
        server.says("running ([0-9]+)")
        server.signal()
        until(lambda: refuses(server.port))
        server.signal()
        assert server.exit_code() == 128 + signal.SIGTERM
        assert "Traceback" not in server.log.read_text()


@pytest.mark.process
def test_a_worker_that_does_not_end_is_killed_and_the_exit_code_says_so(tmp_path):
    """Something holds up its event loop."""
    with process(tmp_path, 2, grace=0.2, KILL_AFTER="0.2", FLUSH="60") as server, Connection(server.port) as stuck:
        stuck.ask("/stuck")
        server.says("running")
        server.signal()
        assert server.exit_code() == 128 + signal.SIGKILL


@pytest.mark.process
def test_a_worker_that_dies_is_replaced(tmp_path):
    with process(tmp_path, 2) as server:
        with Connection(server.port) as connection:
            connection.ask("/")
            _, victim = connection.answer()
            connection.ask("/die")
            assert connection.answer() == (0, 0)
        alive: set[int] = set()
        while len(alive) < 2:
            alive.add(get(server.port)[1])
        assert victim not in alive
        server.signal()
        assert server.exit_code() == 0


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.process
def test_an_application_that_does_not_start_is_exit_code_3(tmp_path, workers):
    with process(tmp_path, workers, BROKEN="yes") as server:
        assert server.exit_code() == 3


def test_a_port_in_use_is_one_line_that_names_the_setting(capsys):
    with bind(server_config("app:none", port=0)) as listener:
        port = listener.getsockname()[1]
        assert run(server_config("app:none", port=port)) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"postern: port {port} on 127.0.0.1 is already in use: set POSTERN_PORT")
    assert error.count("\n") == 1


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_a_host_that_is_not_ours_names_the_setting(host):
    with pytest.raises(AddressFault, match="POSTERN_HOST"):
        bind(server_config("app:none", host=host, port=0))


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "http://127.0.0.1:"), ("::1", "http://[::1]:")])
def test_port_0_takes_a_free_port_and_the_address_says_which(host, shown):
    config = server_config("app:none", host=host, port=0)
    with bind(config) as listener:
        assert bound_address(config, listener) == shown + str(listener.getsockname()[1])


def test_an_inherited_socket_is_used():
    with (
        bind(server_config("app:none", port=0)) as first,
        bind(server_config("app:none", fd=os.dup(first.fileno()))) as second,
    ):
        assert second.getsockname() == first.getsockname()


def test_the_configuration_is_closed_by_default(monkeypatch):
    """No websockets, no server header, no access log; forwarded headers are believed from named proxies only."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    monkeypatch.setenv("WEB_CONCURRENCY", "7")
    config = server_config("app:none")
    assert (config.http, config.ws, config.workers) == (GuardedProtocol, "none", 1)
    assert (config.proxy_headers, config.server_header, config.access_log) == (False, False, False)
    assert config.forwarded_allow_ips == []
    behind = server_config("app:none", trusted_proxies=["10.0.0.0/8"])
    assert (behind.proxy_headers, behind.forwarded_allow_ips) == (True, ["10.0.0.0/8", "::ffff:10.0.0.0/104"])


def test_several_workers_need_an_import_string():
    with pytest.raises(ValueError, match="import string"):
        server_config(lambda: None, workers=2)


async def test_clients_that_disconnect_cost_one_line_for_many_and_no_traceback(caplog, monkeypatch):
    """Also where the application lets ClientDisconnect out."""

    async def application(scope, receive, send):
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect

    lines: list[tuple[str, dict[str, object]]] = []
    abandoned = Coalesced("request-abandoned")
    monkeypatch.setattr(cycle, "_abandoned", abandoned)
    monkeypatch.setattr(cycle, "log", SimpleNamespace(info=lambda event, **fields: lines.append((event, fields))))
    config = server_config(application, port=0, lifespan="off")
    server = Server(config)
    caplog.set_level(logging.INFO, logger="uvicorn.error")
    listener = bind(config)
    task = asyncio.create_task(server._serve([listener]))
    for _ in range(20):
        _, writer = await asyncio.open_connection("127.0.0.1", listener.getsockname()[1])
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        await writer.drain()
        while not server.server_state.tasks:
            await asyncio.sleep(0.001)
        writer.close()
        await writer.wait_closed()
        while server.server_state.tasks:
            await asyncio.sleep(0.001)
    abandoned.write()
    server.should_exit = True
    await task
    assert [(event, fields["error"], fields["times"]) for event, fields in lines] == [
        ("request-abandoned", "ClientDisconnect", 1),
        ("request-abandoned", "ClientDisconnect", 19),
    ]
    assert not [record for record in caplog.records if record.exc_info]


def test_a_lifespan_that_is_cut_off_leaves_no_traceback():
    text = "Traceback (most recent call last):\n  …\nasyncio.exceptions.CancelledError\n"
    logger = logging.getLogger("uvicorn.error")
    quieten_lifespan()
    assert not logger.filter(logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, text, (), None))
    assert logger.filter(logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, "anything else", (), None))


def test_the_filter_for_the_lifespan_is_installed_once():
    quieten_lifespan()
    before = len(logging.getLogger("uvicorn.error").filters)
    quieten_lifespan()
    assert len(logging.getLogger("uvicorn.error").filters) == before
