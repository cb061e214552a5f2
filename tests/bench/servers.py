"""The servers that are compared, each in a process of its own."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from postern.cli.workspace import OWN_APPLICATION
from postern.local_tenant import LocalTenant
from tests.bench.client import BODY

HERE = Path(__file__).parent
WORKFLOW = "greet"
ON_RECORD = "greet-on-record"


@dataclass(frozen=True, slots=True)
class Server:
    """A process that serves. `started` is the seconds from its start to its first answer to a caller with a token;
    `database` is "" for bare Starlette."""

    pid: int
    port: int
    started: float
    database: str = ""

    def url(self, workflow: str) -> str:
        """Where the workflow is."""
        return f"http://127.0.0.1:{self.port}/triggers/{workflow}"

    @property
    def memory(self) -> float:
        """Resident memory in MiB."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    def metrics(self) -> dict[str, float]:
        """The samples of `/metrics` by their names, those of one name together."""
        samples: dict[str, float] = {}
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            for line in answer.read().decode().splitlines():
                if not line.startswith("#"):
                    name, _, value = line.rpartition(" ")
                    name = name.partition("{")[0]
                    samples[name] = samples.get(name, 0.0) + float(value)
        return samples


@contextmanager
def bare(token: str, port: int) -> Iterator[Server]:
    """Starlette without anything."""
    options = ["--http", "httptools", "--loop", "uvloop", "--no-access-log", "--log-level", "warning"]
    command = [sys.executable, "-m", "uvicorn", "tests.bench.bare:app", "--port", str(port), *options]
    with _running(command, {}, token, port) as server:
        yield server


def settings_for(local: LocalTenant, port: int, database: str) -> dict[str, str]:
    """The settings of a server whose tenant is this one."""
    return {
        "POSTERN_TENANT_ID": local.tenant_id,
        "POSTERN_AUDIENCE": f"{local.audience},{local.client_id}",
        "POSTERN_AUTHORITY": local.authority,
        "POSTERN_CA_BUNDLE": str(local.ca_bundle),
        "POSTERN_WORKFLOWS": str(HERE / "workflows"),
        "POSTERN_DATABASE_URL": database,
        "POSTERN_PORT": str(port),
        "POSTERN_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "POSTERN_CLIENT_ID": local.client_id,
        "POSTERN_CLIENT_SECRET_NAME": local.applications[OWN_APPLICATION].client_secret_name,
        "POSTERN_KEY_VAULT_URL": local.key_vault_url,
        "POSTERN_AZURE_CREDENTIAL": "client_secret",
        "AZURE_TENANT_ID": local.tenant_id,
        "AZURE_CLIENT_ID": local.client_id,
        "AZURE_CLIENT_SECRET": local.client_secret(OWN_APPLICATION),
        "POSTERN_LOG_FORMAT": "json",
    }


@contextmanager
def postern(local: LocalTenant, token: str, port: int, database: str, *options: str, **more: str) -> Iterator[Server]:
    """Postern with a database, options of its command, and more settings."""
    settings = {**settings_for(local, port, database), **more}
    with _running([sys.executable, "-m", "postern", "serve", *options], settings, token, port, database) as server:
        yield server


@contextmanager
def _running(
    command: list[str], settings: Mapping[str, str], token: str, port: int, database: str = ""
) -> Iterator[Server]:
    """A process with its log thrown away, stopped at the end."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env={**os.environ, **settings}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _first_answer(process, port, token)
        yield Server(process.pid, port, time.perf_counter() - began, database)
    finally:
        process.terminate()
        process.wait(30)


def _first_answer(process: subprocess.Popen[bytes], port: int, token: str, seconds: float = 20.0) -> None:
    """Ask until the answer is 200."""
    url = f"http://127.0.0.1:{port}/triggers/{WORKFLOW}"
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    until = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(urllib.request.Request(url, BODY, headers), timeout=5)
        except OSError as error:
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"the server on port {port} gave no answer: {error}") from None
            time.sleep(0.005)
        else:
            return
