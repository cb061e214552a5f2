"""Real `postern` processes: started in a folder with a clean environment, watched through files, stopped by signals."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from httpx2 import URL, Client, Response

from postern.local_tenant import LocalTenant
from tests.process.preloaded import ROOT, Process, environment, of_python

__all__ = ["INTERPRETER", "ROOT", "Server", "environment", "grams", "leaked", "running", "settings_of", "until"]

INTERPRETER = [sys.executable, "-m", "postern"]
"""For tests whose subject is the start, or the memory: otherwise processes are forked (see `preloaded`)."""


def until(condition: Callable[[], Any], seconds: float = 30.0, what: Callable[[], str] = lambda: "") -> Any:
    """What the condition gives, as soon as that is true; an assertion fails when that takes too long."""
    deadline = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what()}"
        time.sleep(0.01)


def settings_of(local: LocalTenant, workflows: Path) -> dict[str, str]:
    """The variables of an installation whose tenant is the local one."""
    return {
        "POSTERN_TENANT_ID": local.tenant_id,
        "POSTERN_AUDIENCE": ",".join(local.audiences),
        "POSTERN_AUTHORITY": local.authority,
        "POSTERN_CA_BUNDLE": str(local.ca_bundle),
        "POSTERN_WORKFLOWS": str(workflows),
        "POSTERN_PORT": "0",
    }


class Server:
    """A running `postern dev` or `postern serve`."""

    def __init__(
        self,
        arguments: list[str],
        folder: Path,
        environ: Mapping[str, str],
        interpreter: Sequence[str] = (),
        code: str = "",
    ) -> None:
        """`code` runs in place of the program."""
        self.folder = folder
        self._out = folder / f"stdout-{time.monotonic_ns()}"
        self._err = self._out.with_name(self._out.name.replace("stdout", "stderr"))
        environ = environment(environ)
        if not interpreter and of_python(environ) != of_python(environment()):
            interpreter = INTERPRETER
        self.process: Process | subprocess.Popen[bytes]
        with Path(os.devnull).open("rb") as nothing, self._out.open("wb") as out, self._err.open("wb") as err:
            if interpreter:
                command = [*interpreter, *arguments]
                self.process = subprocess.Popen(command, cwd=folder, env=environ, stdout=out, stderr=err)
            else:
                streams = (nothing.fileno(), out.fileno(), err.fileno())
                self.process = Process(arguments, folder, environ, *streams, code=code)
        self.address = ""
        self.client = Client(trust_env=False, timeout=20)

    def open(self) -> None:
        """Wait until it answers."""
        self.address = self.says(r"http://127\.0\.0\.1:[1-9][0-9]*")
        self.client.base_url = URL(self.address)
        until(lambda: self.client.get("/healthz").status_code == 200, what=lambda: self.output)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.address.rpartition(":")[2])

    @property
    def output(self) -> str:
        """All that it has said so far, on both streams."""
        return "".join(path.read_text(encoding="utf-8", errors="replace") for path in (self._out, self._err))

    def says(self, pattern: str, seconds: float = 30.0, after: int = 0) -> str:
        """The first text of the output that fits the pattern, as soon as it is there."""

        def found() -> str:
            match = re.search(pattern, self.output[after:])
            assert match or self.process.poll() is None, f"it has ended: {self.output}"
            return match[0] if match else ""

        return str(until(found, seconds, what=lambda: f"{pattern} in {self.output}"))

    def post(self, trigger: str, token: str = "", **more: Any) -> Response:
        """Call a trigger."""
        headers = {**more.pop("headers", {}), **({"Authorization": f"Bearer {token}"} if token else {})}
        return self.client.post(f"/triggers/{trigger}", headers=headers, **more)

    def answers(self, trigger: str, status: int, token: str = "", seconds: float = 30.0, **more: Any) -> Response:
        """The answer of a trigger, once it has this status."""
        last: list[Response] = []

        def received() -> Response | None:
            last[:] = [self.post(trigger, token, **more)]
            return last[0] if last[0].status_code == status else None

        found = until(received, seconds, what=lambda: f"{status}, but {last[0].status_code}: {last[0].text}")
        assert isinstance(found, Response)
        return found

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the signal; the exit code. Its client's idle connection would be waited for."""
        self.client.close()
        self.process.send_signal(number)
        return self.process.wait(20)

    def close(self) -> None:
        """End it, if it has not ended."""
        self.client.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)


@contextmanager
def running(
    command: str, folder: Path, environ: Mapping[str, str] | None = None, interpreter: Sequence[str] = ()
) -> Iterator[Server]:
    """The process while the block runs."""
    server = Server(command.split(), folder, environ or {}, interpreter)
    try:
        server.open()
        yield server
    finally:
        server.close()


def grams(*texts: str) -> set[str]:
    """Every piece of 12 characters of these texts."""
    return {text[n : n + 12] for text in texts for n in range(len(text) - 11)}


def leaked(secrets: set[str], output: str) -> set[str]:
    """The pieces that are in the output."""
    return secrets & grams(output)
