"""The agent as a process: its start, its signals, its end, and what it loads."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

from postern.gateway.hub import Hub
from postern.gateway.reasons import Reason
from postern.http_client import http_client
from postern.tunnels import TunnelRefused
from tests.gateway.agent.nodes import Cluster, cluster
from tests.gateway.agent.targets import target
from tests.gateway.agent.test_agent import ID, all_reached, until
from tests.gateway.agent.test_tunnels import echo, unused_port
from tests.process.identity_endpoint import identity_endpoint
from tests.process.servers import environment

pytestmark = [pytest.mark.anyio, pytest.mark.process]

PROGRAM = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules))))
sys.argv = ["postern", "gateway", "run"]
from postern.__main__ import main
main()
"""
NOT_LOADED = ("starlette", "sqlalchemy", "uvicorn", "uvloop", "alembic", "jinja2", "watchfiles", "dbos")


def written(folder: Path, at: Cluster, rows: Sequence[str], status_port: int = 0, more: str = "") -> None:
    """gateway.toml with a tunnel to each row."""
    head = f'name = "madrid"\nagent = "madrid-1"\nserver = "{at.url}"\ntenant_id = "{ID}"\naudience = "api://postern"\n'
    head += f"sign_in = {{ managed_identity = true }}\nstatus_port = {status_port}\nlog_format = 'json'\n{more}"
    text = head + "".join(f'[[allow]]\naddress = "{each}"\n' for each in rows)
    (folder / "gateway.toml").write_text(text, "utf-8")


@contextmanager
def agent_process(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """It runs in this folder while the block does. Its proxy variables name nothing that listens."""
    nowhere = f"http://127.0.0.1:{unused_port()}"
    with identity_endpoint("token-of-the-machine") as endpoint, (folder / "log").open("wb") as log:
        environ = environment(
            {**endpoint.variables, "HTTPS_PROXY": nowhere, "HTTP_PROXY": nowhere, "ALL_PROXY": nowhere}
        )
        command = [sys.executable, "-c", PROGRAM]
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def events(folder: Path, name: str) -> list[dict[str, Any]]:
    """The lines of the log with this event."""
    lines = (folder / "log").read_text("utf-8").splitlines()
    return [found for line in lines if line.startswith("{") and (found := json.loads(line))["event"] == name]


async def ask(hub: Hub, port: int, number: int) -> bytes:
    """One call through a new tunnel."""
    async with await hub.open("madrid", "127.0.0.1", port, entry="x", ends_tls=False, wait=5) as tunnel:
        await tunnel.send(b"ping %d" % number)
        return await tunnel.receive()


async def test_the_agent_reads_its_file_again_drains_under_load_and_loads_no_server(tmp_path: Path):
    status_port = unused_port()
    async with target(echo) as port, target(echo) as later, cluster("one", "two") as at:
        written(tmp_path, at, [f"127.0.0.1:{port}"], status_port)
        with agent_process(tmp_path) as process:
            await until(lambda: all_reached(at), 30)
            assert {token for node in at.nodes for token in node.tokens} == {"token-of-the-machine"}
            async with http_client() as client:
                health = (await client.get(f"http://127.0.0.1:{status_port}/healthz")).json()
                assert (health["status"], health["nodes"]) == ("ok", ["one", "two"])
                metrics = (await client.get(f"http://127.0.0.1:{status_port}/metrics")).text
                assert "postern_gateway_agent_links 2.0" in metrics

            hub = at.nodes[0].hub
            with pytest.raises(TunnelRefused) as refused:
                await ask(hub, later, 0)
            assert refused.value.reason is Reason.TARGET_NOT_ALLOWED
            written(tmp_path, at, [f"127.0.0.1:{port}", f"127.0.0.1:{later}"], status_port)
            process.send_signal(signal.SIGHUP)
            await until(lambda: events(tmp_path, "gateway_file_read"))
            assert await ask(hub, later, 1) == b"ping 1"
            (tmp_path / "gateway.toml").write_text("name = ", "utf-8")
            process.send_signal(signal.SIGHUP)
            await until(lambda: events(tmp_path, "gateway_file_faulty"))
            assert await ask(hub, later, 2) == b"ping 2"

            answers: list[bytes] = []
            async with anyio.create_task_group() as group:

                async def load(number: int) -> None:
                    async with await hub.open("madrid", "127.0.0.1", port, entry="x", ends_tls=False, wait=5) as tunnel:
                        while not tunnel.ended:
                            await tunnel.send(b"ping %d" % number)
                            answers.append(await tunnel.receive())

                for number in range(20):
                    group.start_soon(load, number)
                await until(lambda: len(set(answers)) == 20)
                process.send_signal(signal.SIGTERM)
            await until(lambda: process.poll() is not None)
            assert process.returncode == 0
            assert process.stdout is not None
            loaded = json.loads(process.stdout.read())
    assert "postern.gateway.agent.program" in loaded
    assert [name for name in loaded if name.partition(".")[0] in NOT_LOADED] == []
    assert "token-of-the-machine" not in (tmp_path / "log").read_text("utf-8")


async def test_calls_fail_at_once_when_the_agent_is_killed_and_each_had_run_once(tmp_path: Path):
    began: list[bytes] = []

    async def slow(stream: ByteStream) -> None:
        began.append(await stream.receive())
        await stream.receive()

    async with target(slow) as port, cluster("one") as at:
        written(tmp_path, at, [f"127.0.0.1:{port}"])
        with agent_process(tmp_path) as process:
            await until(lambda: all_reached(at), 30)
            failed: list[type[Exception]] = []

            async def call(number: int) -> None:
                try:
                    await ask(at.nodes[0].hub, port, number)
                except anyio.BrokenResourceError as error:
                    failed.append(type(error))

            async with anyio.create_task_group() as group:
                for number in range(20):
                    group.start_soon(call, number)
                await until(lambda: len(began) == 20)
                os.kill(process.pid, signal.SIGKILL)
                with anyio.fail_after(1):
                    await until(lambda: len(failed) == 20)
    assert sorted(began) == sorted(b"ping %d" % number for number in range(20))
