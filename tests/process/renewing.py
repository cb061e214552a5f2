"""Server processes that do nothing but renew grants: the real store, journal, seal and provider, without HTTP in front.
They are told what to do over a pipe, and can end or stop at a chosen moment of a refresh."""

import asyncio
import contextlib
import json
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Connection

from postern.connections.auth.sign_in_context import SignInContext
from postern.connections.faults import ConnectionFault
from postern.connections.grants.no_grant import NoGrant
from postern.connections.grants.oauth_provider import provider_of
from postern.connections.grants.provider import Provider
from postern.connections.grants.seal import Seal
from postern.connections.grants.server_grants import ServerGrants
from postern.connections.grants.tokens import Access, GrantTokens, Issued
from postern.connections.sealing.sealed_text import CannotOpen
from postern.connections.vault.secret import Secret
from postern.errors import Problem
from postern.http_client import http_client
from postern.journal import grants
from postern.journal.journal import Journal
from postern.journal.server_processes import ServerProcesses
from postern.journal.writing import writer, writer_process
from postern.settings import GrantedAuth
from tests.journal.forked import Writer
from tests.strict_provider import CLIENT_ID, CLIENT_SECRET

TAKEN, SENT, ANSWERED, WRITTEN = "taken", "sent", "answered", "written"
"""The moments of a refresh: the grant is taken and nothing sent; the provider has the request; its answer is read and
not written; the new tokens are written, and nobody has been told."""

NAME = "tickets"
AS_A_SERVER = writer_process.start_writer


@dataclass(frozen=True)
class Setting:
    """Where a process works."""

    folder: str
    database_url: str
    provider_url: str
    patience: float = 5.0

    @property
    def keys(self) -> Path:
        """The file that stands for the vault: versions of the key, of which the last is the newest."""
        return Path(self.folder, "keys.json")


@dataclass
class FileKeys:
    """The key as a vault has it. Without the file the vault is away."""

    path: Path
    known: dict[str, bytes] = field(default_factory=dict)

    async def newest(self) -> tuple[str, bytes]:
        return list(self._read().items())[-1]

    async def of(self, version: str) -> bytes:
        if version not in self.known:
            self.known |= self._read()
        if version not in self.known:
            raise CannotOpen("its key is not in the vault any more")
        return self.known[version]

    def _read(self) -> dict[str, bytes]:
        try:
            return {name: bytes.fromhex(key) for name, key in json.loads(self.path.read_text()).items()}
        except FileNotFoundError:
            raise ConnectionFault("POSTERN_GRANTS_KEY_NAME", "cannot be read", "Try again later") from None


class ClientSecret:
    """The client's secret, always the same."""

    async def read(self, name: str) -> Secret:
        return Secret(name, CLIENT_SECRET)

    async def read_again(self, name: str, refused: str) -> Secret:
        return Secret(name, CLIENT_SECRET)


@dataclass
class Moment:
    """What happens at which moment of the next refresh: a signal to this process, or a report and a wait for the
    parent's word."""

    at: str = ""
    number: int = 0
    report: Callable[[str], None] = print
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def come(self, moment: str) -> None:
        if self.at != moment:
            return
        self.at = ""
        if self.number:
            os.kill(os.getpid(), self.number)
            return
        self.report(moment)
        await self.go_on.wait()
        self.go_on.clear()


class AtMoments:
    """A provider that says when it is asked and when it has answered."""

    def __init__(self, inner: Provider, moment: Moment, url: str) -> None:
        self._inner = inner
        self._moment = moment
        self._url = url
        self.name, self.scopes = inner.name, inner.scopes

    async def refresh(self, tokens: GrantTokens, scopes: tuple[str, ...], tenant: str, claims: str = "") -> Issued:
        await self._moment.come(TAKEN)
        if self._moment.at == SENT:
            before = await self._requests()
            asked = asyncio.ensure_future(self._inner.refresh(tokens, scopes, tenant, claims))
            while await self._requests() == before:
                await asyncio.sleep(0.01)
            await self._moment.come(SENT)
            issued = await asked
        else:
            issued = await self._inner.refresh(tokens, scopes, tenant, claims)
        await self._moment.come(ANSWERED)
        return issued

    async def _requests(self) -> int:
        async with http_client() as http:
            report = (await http.get(f"{self._url}/report")).json()
        return sum(report["requests"].values())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def unacknowledged(connection: Connection, operation: Callable[[Connection], Any], marker: str) -> Any:
    """Commit, and end the writer before it can say so; once."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        commit = connection.dialect.do_commit

        def last_commit(dbapi: Any) -> None:
            commit(dbapi)
            os._exit(9)

        connection.dialect.do_commit = last_commit  # type: ignore[method-assign, assignment]
    return operation(connection)


class Worker:
    """One server process."""

    def __init__(self, setting: Setting, pipe: Pipe) -> None:
        self._setting = setting
        self._pipe = pipe
        self._moment = Moment(report=lambda moment: pipe.send(("at", moment)))
        self._marker = ""
        self.journal = Journal(setting.database_url, patience=setting.patience)
        auth = GrantedAuth.model_validate(
            {
                "flow": "authorization_code",
                "authorization_url": f"{setting.provider_url}/authorize",
                "token_url": f"{setting.provider_url}/token",
                "revocation_url": f"{setting.provider_url}/revoke",
                "client_id": CLIENT_ID,
                "client_secret": {"key_vault": "client-secret"},
                "scopes": ["read", "write"],
            }
        )
        self._http = http_client()
        context = SignInContext(ClientSecret(), self._http, "", None, None, None, None)
        provider: Any = AtMoments(provider_of(NAME, auth, context), self._moment, setting.provider_url)
        seal = Seal(FileKeys(setting.keys))
        self.grants = ServerGrants(
            self.journal.read, self._write, seal, lambda _: provider, self.journal.node, lambda: [NAME]
        )

    async def run(self) -> None:
        await self.journal.open()
        processes = ServerProcesses(
            self.journal.node, self.journal.read, self.journal.write, cancel=lambda _: None, running=lambda: 0
        )
        while not processes.known:
            with contextlib.suppress(Problem):  # of a writer that starts slowly
                await processes.look()
        beating = asyncio.ensure_future(processes.run())
        self._pipe.send(("ready", self.journal.node))
        loop = asyncio.get_running_loop()
        commands: asyncio.Queue[Any] = asyncio.Queue()
        loop.add_reader(self._pipe.fileno(), lambda: commands.put_nowait(self._received()))
        work: set[asyncio.Task[None]] = set()
        while (command := await commands.get()) is not None:
            task = asyncio.ensure_future(self._obey(*command))
            work.add(task)
            task.add_done_callback(work.discard)
        loop.remove_reader(self._pipe.fileno())
        beating.cancel()
        await asyncio.wait([beating])
        await self.grants.aclose()
        with contextlib.suppress(Problem):
            await processes.leave()
        await self._http.aclose()
        await self.journal.aclose()

    def _received(self) -> Any:
        try:
            return self._pipe.recv()
        except (EOFError, OSError):
            return None

    async def _obey(self, name: str, *arguments: Any) -> None:
        result = await getattr(self, f"_do_{name}")(*arguments)
        if result is not None:
            self._pipe.send(result)

    async def _do_at(self, moment: str, number: int) -> None:
        self._moment.at, self._moment.number = moment, number

    async def _do_go_on(self) -> None:
        self._moment.go_on.set()

    async def _do_unacknowledged(self, marker: str) -> None:
        self._marker = marker

    async def _do_store(self, owner: str, access_token: str, refresh_token: str, seconds: float) -> tuple[str, bool]:
        issued = Issued(GrantTokens(access_token, refresh_token), seconds)
        stored = await self.grants.store(NAME, owner, issued, "tenant/lisa", ("read", "write"), owner or "shared")
        return "stored", stored

    async def _do_access(self, owner: str) -> tuple[Any, ...]:
        began = time.monotonic()
        try:
            access = await self.grants.access(NAME, owner)
        except NoGrant as fault:
            return "broken", fault.reason, time.monotonic() - began
        except ConnectionFault as fault:
            return "fault", str(fault), time.monotonic() - began
        return "token", access.token, time.monotonic() - began

    async def _do_renew(self, owner: str, generation: int) -> None:
        """Renew the grant as the background does."""
        await self.grants.refresh(NAME, owner, generation)

    async def _do_challenged(self, owner: str, token: str, claims: str, callers: int) -> tuple[Any, ...]:
        """Callers whose token got the same claims challenge."""
        answers = (self.grants.renewed(NAME, owner, Access(token, 0), claims) for _ in range(callers))
        found = await asyncio.gather(*answers, return_exceptions=True)
        return "answers", {each.token if isinstance(each, Access) else repr(each) for each in found}

    async def _do_leave(self, owner: str) -> tuple[Any, ...]:
        """A caller that goes away, and one that times out."""
        caller = asyncio.ensure_future(self.grants.access(NAME, owner))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.grants.access(NAME, owner), 0.1)
        caller.cancel()
        await asyncio.wait([caller])
        return ("left",)

    async def _do_load(self, owners: list[str], callers: int, seconds: float) -> tuple[Any, ...]:
        """Callers who use grants in turns, as fast as they can."""
        until = time.monotonic() + seconds
        tokens: set[str] = set()
        faults: list[str] = []
        count, longest = 0, 0.0

        async def call(number: int) -> None:
            nonlocal count, longest
            while (began := time.monotonic()) < until:
                try:
                    tokens.add((await self.grants.access(NAME, owners[number % len(owners)])).token)
                except Exception as fault:
                    faults.append(repr(fault))
                longest = max(longest, time.monotonic() - began)
                count += 1
                number += 1
                await asyncio.sleep(0.002)

        await asyncio.gather(*(call(number) for number in range(callers)))
        return "load", count, sorted(tokens), faults, longest

    async def _write(self, operation: Any, undo: Any = None) -> Any:
        renews = operation.func is grants.renew if isinstance(operation, partial) else False
        if renews and self._marker:
            operation, self._marker = partial(unacknowledged, operation=operation, marker=self._marker), ""
        result = await self.journal.write(operation, undo)
        if renews:
            await self._moment.come(WRITTEN)
        return result


def work(setting: Setting, pipe: Pipe) -> None:
    """The main function of the process."""
    os.chdir(setting.folder)  # the writer finds the operations of tests on its import path, which never has this
    writer_process.start_writer = forked_writer
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    asyncio.run(Worker(setting, pipe).run())


def forked_writer(link: int, printed: int) -> Any:
    """The first writer is a fork, because each start of Python costs a third of a second. Those after it are started as
    ever: by then there are threads."""
    writer_process.start_writer = AS_A_SERVER
    process = os.fork()
    if process:
        return Writer(process)
    try:
        signal.set_wakeup_fd(-1)
        for number in [int(each.name) for each in Path("/proc/self/fd").iterdir()]:
            if number > 2 and number not in (link, printed):
                with contextlib.suppress(OSError):
                    os.close(number)
        sys.argv = ["-c", str(link)]
        writer.main()
    finally:
        os._exit(0)


class ServerProcess:
    """A process, as the test sees it."""

    def __init__(self, setting: Setting) -> None:
        self.pipe, its = multiprocessing.Pipe()
        self.process = _context().Process(target=work, args=(setting, its), daemon=True)
        self.process.start()
        its.close()

    @property
    def pid(self) -> int:
        return int(self.process.pid)

    def tell(self, *command: Any) -> None:
        self.pipe.send(command)

    def hear(self, seconds: float = 60.0) -> tuple[Any, ...]:
        assert self.pipe.poll(seconds), "the process does not answer"
        said: tuple[Any, ...] = self.pipe.recv()
        return said

    def ask(self, *command: Any, seconds: float = 60.0) -> tuple[Any, ...]:
        self.tell(*command)
        return self.hear(seconds)

    def died(self, seconds: float = 30.0) -> None:
        """Wait until it has been killed."""
        self.process.join(seconds)
        assert self.process.exitcode == -signal.SIGKILL

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self.pipe.send(None)
        self.process.join(20)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


@contextlib.contextmanager
def processes(setting: Setting, count: int) -> Iterator[list[ServerProcess]]:
    """So many processes that are ready."""
    started = [ServerProcess(setting) for _ in range(count)]
    try:
        for each in started:
            assert each.hear()[0] == "ready"
        yield started
    finally:
        for each in started:
            each.end()


def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "tests.process.renewing"])
    return context


def shown(report: Mapping[str, Any]) -> str:
    """A report of the provider, for a failed assertion."""
    return json.dumps(report, indent=1, sort_keys=True)[:2000]


if __name__ == "__main__":
    sys.exit("This is started by tests.")
