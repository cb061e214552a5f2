"""The processes of a measurement: a server, its agents, and a private system."""

import json
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme
from httpx2 import Client

from postern.local_tenant import LocalTenant
from tests.ports import free_port
from tests.process.agents import AGENT, write_agent
from tests.process.servers import INTERPRETER, ROOT, Server, settings_of, until

WORKFLOWS = Path(__file__).with_name("workflows")
MIB = 1024 * 1024
MOST_BYTES = 1_000_000_000
ENTRIES = 4
"""An entry has 100 connections, of which one run holds three quarters: so many entries are for 200 at a time."""
DIRECT = [f"direct-{number}" for number in range(ENTRIES)]
TUNNEL = [f"tunnel-{number}" for number in range(ENTRIES)]
FAR = "far"
"""The gateway whose agent has the delay."""
START_SECONDS = 180.0
MANY = 20
"""Gateways of the many agents."""


def memory(pid: int) -> float:
    """Resident memory in MiB."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))


@dataclass
class Agent:
    """An agent's process, which can be started again."""

    folder: Path
    status_port: int
    process: Server

    @property
    def pid(self) -> int:
        """The process that runs now."""
        return self.process.process.pid

    def start(self) -> None:
        """Start it again."""
        self.process = _agent_process(self.folder)

    def kill(self, number: int) -> None:
        """Send a signal."""
        self.process.process.send_signal(number)

    def health(self) -> dict[str, Any]:
        """What its page on loopback says; nothing before it listens."""
        with suppress(OSError, ValueError):
            request = urllib.request.urlopen(f"http://127.0.0.1:{self.status_port}/healthz", timeout=5)
            return dict(json.load(request))
        return {}


@dataclass
class Site:
    """What the rows measure. `server` may be replaced: see `restart`."""

    folder: Path
    tenant: LocalTenant
    target: int
    port: int
    stack: ExitStack
    server: Server = field(init=False)
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = self.stack.enter_context(Client(trust_env=False, timeout=600))
        self.client.base_url = f"http://127.0.0.1:{self.port}"
        self.start()
        self.stack.callback(lambda: self.server.close())

    def start(self) -> None:
        """Start the server."""
        self.server = start_server(self.folder, self.tenant, self.port)

    def run(self, workflow: str, **body: Any) -> dict[str, Any]:
        """What a workflow measured."""
        response = self.client.post(f"/triggers/{workflow}", json=body)
        if response.status_code != 200:
            raise SystemExit(f"{workflow} answered {response.status_code}: {response.text[:500]}")
        found = response.json()
        return found if isinstance(found, dict) else {"result": found}

    def agents(self) -> int:
        """How many are connected, over all gateways."""
        with suppress(OSError, ValueError):
            text = urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5).read().decode()
            lines = [line for line in text.splitlines() if line.startswith("postern_gateway_agents{")]
            return sum(int(float(line.rpartition(" ")[2])) for line in lines)
        return 0

    def seen(self, kind: str) -> int:
        """How many requests of this kind the target got."""
        context = ssl.create_default_context(cafile=str(self.folder / "private-ca.pem"))
        url = f"https://localhost:{self.target}/seen/{kind}"
        return int(urllib.request.urlopen(url, timeout=10, context=context).read())

    @contextmanager
    def agent(self, name: str, gateway: str = "madrid", server: str = "") -> Iterator[Agent]:
        """An agent whose link is there."""
        folder, status_port = self.folder / name, free_port()
        row = f'[[allow]]\naddress = "localhost:{self.target}"\n'
        at = server or f"http://127.0.0.1:{self.port}"
        write_agent(folder, self.tenant, at, row, name=gateway, agent=name, status_port=status_port)
        made = Agent(folder, status_port, _agent_process(folder))
        try:
            linked(made)
            yield made
        finally:
            made.process.close()

    @contextmanager
    def two(self) -> Iterator[tuple[Agent, Agent]]:
        """Two agents of one gateway."""
        with self.agent("madrid-1") as one, self.agent("madrid-2") as other:
            yield one, other


def linked(agent: Agent) -> None:
    """Wait for its link."""
    until(lambda: agent.health().get("links"), 60, lambda: agent.process.output[-2000:])


def start_server(folder: Path, tenant: LocalTenant, port: int, workers: int = 1) -> Server:
    """A server that answers, also if the machine is busy."""
    settings = settings_of(tenant, WORKFLOWS) | {"POSTERN_PORT": str(port), "POSTERN_LOG_FORMAT": "json"}
    server = Server(["serve", "--workers", str(workers)], folder, settings, INTERPRETER)
    until(lambda: _answers(port), START_SECONDS, lambda: server.output[-2000:])
    return server


def _answers(port: int) -> bool:
    with suppress(OSError):
        return bool(urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=60).status == 200)
    return False


@contextmanager
def target(folder: Path) -> Iterator[int]:
    """The port of the private system, whose authority is in `private-ca.pem`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "private-ca.pem")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "target.pem")
    port = free_port()
    options = ["--http", "httptools", "--loop", "uvloop", "--no-access-log", "--log-level", "warning"]
    options += ["--timeout-keep-alive", "60", "--timeout-graceful-shutdown", "1", "--port", str(port)]
    command = [sys.executable, "-m", "uvicorn", "tests.bench.gateway.target:app", "--ssl-keyfile", "target.pem"]
    command = [*command, "--ssl-certfile", "target.pem", "--app-dir", str(ROOT), *options]
    with (folder / "target.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            yield port
        finally:
            process.terminate()
            process.wait(30)


def write_server(folder: Path, tenant: LocalTenant, port: int) -> None:
    """postern.toml: direct entries and entries by the gateways, to the private system at this port."""
    common = f'base_url = "https://localhost:{port}"\nca_bundle = "private-ca.pem"\nauth = {{ type = "none" }}\n'
    common += f"timeout = 120\nmax_response_bytes = {MOST_BYTES}\n"
    ways = dict.fromkeys(DIRECT, "") | dict.fromkeys(TUNNEL, 'gateway = "madrid"\n') | {FAR: 'gateway = "far"\n'}
    gateways = ["madrid", FAR, *[f"g{number}" for number in range(MANY)]]
    text = f'[people]\nagent = "{tenant.directory.applications[AGENT].object_id}"\n'
    text += "".join(f'[gateways.{name}]\nagents = ["agent"]\n' for name in gateways)
    text += "".join(f"[connections.{name}]\n{common}{way}" for name, way in ways.items())
    (folder / "postern.toml").write_text(text, "utf-8")


def _agent_process(folder: Path) -> Server:
    return Server(["gateway", "run"], folder, {}, INTERPRETER)


def waited(condition: Callable[[], object], seconds: float, what: Callable[[], str]) -> None:
    """Wait for what another process does. `what` says what is missing."""
    until(condition, seconds, what)
