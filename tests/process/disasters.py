"""What happens to servers, their processes, their database and their clocks while callers call."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psycopg

from tests.process.load import Callers
from tests.process.servers import Server, until

QUICK = """
import runpy, sys, time
wrong = float(sys.argv.pop(1))
if wrong:
    seconds, nanoseconds = time.time, time.time_ns
    time.time, time.time_ns = lambda: seconds() + wrong, lambda: nanoseconds() + int(wrong * 1e9)
from postern.journal import retention, server_processes
server_processes.BEAT_EVERY, server_processes.SILENCE = 0.2, 1.5
retention.FIRST, retention.EVERY = 0.3, 0.3
sys.argv[0] = "postern"
runpy.run_module("postern", run_name="__main__")
"""
"""A server that beats, counts others as gone, and deletes old records a hundred times as soon as usual. Its first
argument is by how many seconds its clock is wrong."""
FROZEN = 3.0
"""Seconds for which a process is frozen that others shall count as gone."""
LONG_ENOUGH = 1.0
"""Seconds in which such a server has deleted several times."""
DAY = 86400.0


def writer_of(process: int) -> int:
    """The process that writes for this server; 0 if there is none at the moment."""
    for name in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):  # it has ended
            if name.read_text() == f"writer-{process}\n":
                return int(name.parent.name)
    return 0


@dataclass
class Scene:
    """Callers, the server that they call, and a second one on the same database. `owner` is a role of PostgreSQL that
    may do anything, `role` is that of the servers."""

    folder: Path
    environ: dict[str, str]
    callers: Callers
    random: Random
    many: int
    owner: str = ""
    role: str = ""
    file: Path | None = None
    servers: list[Server] = field(default_factory=list)
    happened: list[str] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)

    def begin(self, wrong: float = 0.0) -> Server:
        """A server whose clock is wrong by so many seconds, and which does not answer yet."""
        server = Server([str(wrong), "serve"], self.folder, self.environ, code=QUICK)
        self._stack.callback(server.close)
        return server

    def start(self, wrong: float = 0.0) -> Server:
        """The same when it answers."""
        server = self.begin(wrong)
        server.open()
        return server

    @property
    def server(self) -> Server:
        """The server that is called."""
        return self.servers[0]

    def turn_to(self, number: int) -> None:
        """Call this server from now on."""
        self.servers.insert(0, self.servers.pop(number))
        self.callers.go_to(self.server.port)

    def pause(self, most: float = 0.05) -> None:
        """A moment of random length, in which callers go on."""
        time.sleep(self.random.random() * most)

    def close(self) -> None:
        """End all servers."""
        self._stack.close()

    def writer_killed(self) -> None:
        """At any moment of a batch."""
        if writer := writer_of(self.server.process.pid):
            signal_to(writer, signal.SIGKILL)

    def writer_frozen(self) -> None:
        """For less time than callers wait."""
        if writer := writer_of(self.server.process.pid):
            signal_to(writer, signal.SIGSTOP)
            self.pause(1.0)
            signal_to(writer, signal.SIGCONT)

    def server_killed(self) -> None:
        """Another one takes its place, and the calls."""
        killed = self.server
        killed.process.kill()
        killed.process.wait(10)
        self.servers.append(self.start())
        self.servers.remove(killed)
        self.turn_to(0)

    def server_frozen(self) -> None:
        """For so long that the other one interrupts its runs. Callers go there meanwhile, and repeat what has a key."""
        frozen = self.server
        with stopped(frozen.process.pid):
            self.turn_to(1)
            self.callers.hang_up()
            time.sleep(FROZEN)

    def clock_wrong(self) -> None:
        """A server starts whose clock is 40 days ahead, or behind the next time, and deletes what is old."""
        wrong = self.start(DAY * (40 if self.happened.count("clock_wrong") % 2 else -40))
        until(lambda: wrong.client.get("/readyz").status_code == 200, what=lambda: wrong.output)
        time.sleep(LONG_ENOUGH)
        assert wrong.stop() == 0

    def backends_terminated(self) -> None:
        """Of the writers and the readers, again and again."""
        with psycopg.connect(self.owner, autocommit=True) as connection:
            for _ in range(self.many):
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'postern'"
                )
                self.pause()

    def rights_revoked(self) -> None:
        """The database answers, and refuses the statement."""
        with psycopg.connect(self.owner, autocommit=True) as connection:
            connection.execute(f"REVOKE INSERT, UPDATE ON runs FROM {self.role}")
            self.callers.wait_for(10, self.server, "turned_away")
            assert self.server.client.get("/readyz").status_code == 503
            connection.execute(f"GRANT INSERT, UPDATE ON runs TO {self.role}")

    def file_moved(self) -> None:
        """The file is where it was a moment later."""
        assert self.file is not None
        files = list(self.file.parent.glob(f"{self.file.name}*"))
        for path in files:
            path.rename(path.with_name(f"moved-{path.name}"))
        self.callers.wait_for(10, self.server, "turned_away")
        assert self.server.client.get("/readyz").status_code == 503
        for path in files:
            path.with_name(f"moved-{path.name}").rename(path)

    def happens(self, disaster: Callable[["Scene"], None]) -> None:
        """One of them, after which callers get replies again."""
        self.happened.append(disaster.__name__)
        self.callers.wait_for(self.random.randrange(1, 30), self.server)
        disaster(self)
        self.callers.wait_for(20, self.server)


EVERYWHERE = (
    Scene.writer_killed,
    Scene.writer_frozen,
    Scene.server_killed,
    Scene.server_frozen,
    Scene.clock_wrong,
)
ON_POSTGRESQL = (Scene.backends_terminated, Scene.rights_revoked)
ON_SQLITE = (Scene.file_moved,)


def signal_to(process: int, number: int) -> None:
    """Send a signal, if the process is still there."""
    with suppress(ProcessLookupError):
        os.kill(process, number)


@contextmanager
def stopped(process: int) -> Iterator[None]:
    """The server and its writer do nothing while the block runs."""
    family = [each for each in (process, writer_of(process)) if each]
    for each in family:
        signal_to(each, signal.SIGSTOP)
    try:
        yield
    finally:
        for each in family:
            signal_to(each, signal.SIGCONT)
