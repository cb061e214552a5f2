"""A real server and a real agent: workflows reach private systems over the agent's link."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from postern.local_tenant import LocalTenant
from tests.process.agents import AGENT, tenant_with_agent, write_agent
from tests.process.servers import Server, running, settings_of, until

WORKFLOWS = """
from postern import anonymous, workflow

@workflow(access=anonymous())
async def through(ctx, body: dict) -> dict:
    answer = await ctx.connection(body["entry"]).request(body.get("method", "GET"), body["path"])
    return {"status": answer.status_code, "text": answer.text[:500]}
"""


class Target(BaseHTTPRequestHandler):
    """A private system that says what it got."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        """Say it."""
        body = f"{self.command} {self.path} for {self.headers['Host']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer  # noqa: N815 - the names of http.server

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def private_system(tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Its port on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Target) as system:
        if tls is not None:
            system.socket = tls.wrap_socket(system.socket, server_side=True)
        threading.Thread(target=system.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield system.server_address[1]
        finally:
            system.shutdown()


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTenant]:
    """A local tenant where one application has the role of agents."""
    with tenant_with_agent(tmp_path_factory.mktemp("tenant")) as tenant:
        yield tenant


class Site:
    """The server, the agent's folder, and the ports of the private systems."""

    def __init__(self, server: Server, folder: Path, tls_port: int, port: int) -> None:
        self.server = server
        self.folder = folder
        self.tls_port = tls_port
        self.port = port

    def call(self, entry: str, path: str, method: str = "GET") -> tuple[int, str]:
        """What a run got from the private system: its status and text; of a failed run the code."""
        reply = self.server.post("through", json={"entry": entry, "path": path, "method": method})
        found = reply.json()
        return (found["status"], found["text"]) if reply.status_code == 200 else (reply.status_code, reply.text)

    @contextmanager
    def agent(self, command: str = "run") -> Iterator[Server]:
        """A process of the agent."""
        process = Server(["gateway", command], self.folder, {})
        try:
            yield process
        finally:
            process.close()


@pytest.fixture(scope="module")
def site(tenant: LocalTenant, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder, beside = tmp_path_factory.mktemp("server"), tmp_path_factory.mktemp("agent")
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(folder / "private-ca.pem")
    (folder / "workflows").mkdir()
    (folder / "workflows" / "through.py").write_text(WORKFLOWS, "utf-8")
    with private_system(context) as tls_port, private_system() as port:
        (folder / "postern.toml").write_text(
            f"""
[people]
madrid-1 = "{tenant.directory.applications[AGENT].object_id}"
[gateways.madrid]
agents = ["madrid-1"]
[connections.erp]
base_url = "https://localhost:{tls_port}/api"
gateway = "madrid"
ca_bundle = "{folder / "private-ca.pem"}"
auth = {{ type = "none" }}
[connections.stock]
base_url = "http://localhost:{port}"
gateway = "madrid"
tls = "gateway"
auth = {{ type = "none" }}
[connections.other]
base_url = "https://localhost:1/"
gateway = "madrid"
auth = {{ type = "none" }}
""",
            "utf-8",
        )
        settings = settings_of(tenant, folder / "workflows")
        with running("serve", folder, settings) as server:
            rows = f"""
[[allow]]
address = "localhost:{tls_port}"
[[allow]]
address = "localhost:{port}"
scheme = "http"
methods = ["GET"]
paths = ["/items"]
"""
            write_agent(beside, tenant, server.address, rows, agent="madrid-host")
            yield Site(server, beside, tls_port, port)


def test_a_workflow_reaches_private_systems_by_the_agent_and_the_check_finds_every_stage_well(site: Site):
    with site.agent() as agent:
        agent.says("gateway_linked")
        assert site.call("erp", "/orders/7") == (200, f"GET /api/orders/7 for localhost:{site.tls_port}")
        assert site.call("stock", "/items/7") == (200, f"GET /items/7 for localhost:{site.port}")
        for path, method in (("/admin", "GET"), ("/items", "POST")):
            assert "200" not in str(site.call("stock", path, method)[0])
        assert site.call("other", "/")[0] != 200
        until(lambda: "tunnel_refused" in agent.output)
        log = [json.loads(line) for line in agent.output.splitlines() if line.startswith("{")]
        refused = [each for each in log if each["event"] == "request_refused"]
        assert {each["method"] for each in refused} == {"GET", "POST"}
        assert {each["reason"] for each in log if each["event"] == "tunnel_refused"} == {"target-not-allowed"}
        with site.agent("check") as check:
            assert check.process.wait(30) == 0, check.output
            for stage in ("sign-in", "role", "link", "nodes", "target"):
                assert f"ok       {stage}" in check.output, check.output
        assert agent.stop() == 0
    assert "Bearer" not in agent.output
