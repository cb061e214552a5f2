"""Links of agents through a real nginx, by the configuration of deploy/nginx."""

import os
import subprocess
from getpass import getuser
from pathlib import Path

import anyio
import pytest
import trustme

from tests.deploy.proxies import MAIN, NAME, nginx_path
from tests.gateway.agent.nodes import cluster
from tests.gateway.agent.targets import target
from tests.gateway.agent.test_agent import agent_of, all_reached, settings, until
from tests.gateway.agent.test_tunnels import echo, row, unused_port
from tests.process.servers import ROOT

pytestmark = [pytest.mark.anyio, pytest.mark.process]


def configured(folder: Path, ports: list[int], https: int) -> str:
    """deploy/nginx/postern.conf for these servers, under the name localhost."""
    text = (ROOT / "deploy" / "nginx" / "postern.conf").read_text("utf-8")
    for was, now in (
        ("127.0.0.1:8081", f"127.0.0.1:{ports[0]}"),
        ("127.0.0.1:8082", f"127.0.0.1:{ports[1]}"),
        ("listen 80", f"listen 127.0.0.1:{unused_port()}"),
        ("listen 443 ", f"listen 127.0.0.1:{https} "),
        (f"/etc/letsencrypt/live/{NAME}", str(folder)),
        ("/var/log/nginx", str(folder)),
        (NAME, "localhost"),
    ):
        assert was in text
        text = text.replace(was, now)
    return text


async def test_an_agent_reaches_all_servers_and_carries_tunnels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    nginx, authority, https = nginx_path(), trustme.CA(), unused_port()
    certificate = authority.issue_cert("localhost")
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(tmp_path / "fullchain.pem", append=True)
    certificate.private_key_pem.write_to_path(tmp_path / "privkey.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    user = f"user {getuser()};" if os.geteuid() == 0 else ""
    (tmp_path / "nginx.conf").write_text(MAIN.format(folder=tmp_path, user=user), "utf-8")
    async with target(echo) as port, cluster("one") as one, cluster("two") as two:
        for each in (one, two):
            monkeypatch.setattr(each.nodes[0].hub, "_nodes", lambda: ["one", "two"])
        ports = [int(each.url.rpartition(":")[2]) for each in (one, two)]
        (tmp_path / "postern.conf").write_text(configured(tmp_path, ports, https), "utf-8")
        command = [nginx, "-e", "stderr", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
        async with await anyio.open_process(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as proxy:
            given = settings(f"https://localhost:{https}", ca_bundle=tmp_path / "ca.pem", allow=(row(port),))
            async with agent_of(given):
                await until(lambda: all_reached(one) and all_reached(two))
                tunnel = await two.nodes[0].hub.open("madrid", "127.0.0.1", port, entry="x", ends_tls=False, wait=5)
                await tunnel.send(b"ping")
                assert await tunnel.receive() == b"ping"
                await tunnel.aclose()
            proxy.terminate()
