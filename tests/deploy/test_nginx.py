"""Two nodes behind a real nginx with TLS, by the very configuration of deploy/nginx: who is believed about addresses
and schemes, where tokens are taken, and nodes that are replaced or killed under load."""

import json
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from postern.cli.diagnosis import public_url
from postern.local_tenant import LocalTenant
from postern.settings import load_settings
from tests.deploy.proxies import AUTHORITY, NAME, Said, Site, ask, behind_nginx, loading, nginx_path
from tests.postgres import new_database
from tests.process.load import records
from tests.process.servers import ROOT, settings_of, until

pytestmark = pytest.mark.process

WORKFLOWS = """
import os
from pathlib import Path
from typing import Annotated
import anyio
from dataclasses import dataclass
from postern import Context, Form, Reply, UploadFile, anonymous, tenant_users, workflow

@workflow(access=anonymous())
async def open(ctx: Context, number: int):
    return os.getpid()

@workflow(access=tenant_users())
async def guarded(ctx: Context, number: int):
    return os.getpid()

@workflow(access=anonymous())
async def headed(ctx: Context, size: int):
    return Reply(200, size, {"X-Large": "x" * size})

@workflow(access=anonymous(), methods=["GET", "POST"])
async def whence(ctx: Context):
    return ctx.request.client_address

@workflow(access=anonymous(), methods=["GET"])
async def events(ctx: Context):
    async def each():
        yield 1
        while not Path("seen").exists():
            await anyio.sleep(0.05)
        yield 2
    return Reply.events(each())

@dataclass
class Receipt:
    file: UploadFile

@workflow(access=anonymous())
async def receipt(ctx: Context, form: Annotated[Receipt, Form()]):
    return len(await form.file.read())
"""
OUTSIDE = "203.0.113.9"
SPOOFED = {
    "X_Forwarded_For": OUTSIDE,
    "X_Forwarded_Proto": "http",
    "X_Real_IP": OUTSIDE,
    "Forwarded": f"for={OUTSIDE};proto=http",
}


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, local_tenant: LocalTenant, request: pytest.FixtureRequest
) -> Iterator[Site]:
    """nginx and two nodes that share a PostgreSQL database, which believe 127.0.0.1."""
    nginx_path()
    folder = tmp_path_factory.mktemp("nginx")
    (folder / "workflows").mkdir()
    (folder / "workflows" / "work.py").write_text(WORKFLOWS, encoding="utf-8")
    postgres: str = request.getfixturevalue("postgres_url")
    with new_database(postgres, request.getfixturevalue("postgres_template")) as (_, url):
        environ = settings_of(local_tenant, folder / "workflows") | {
            "POSTERN_DATABASE_URL": url,
            "POSTERN_TRUSTED_PROXIES": "127.0.0.1",
            "POSTERN_HOST": "0.0.0.0",
            "POSTERN_OPERATORS": local_tenant.people["ada"],
            "POSTERN_LOG_FORMAT": "json",
        }
        with behind_nginx(folder, environ) as opened:
            yield opened


@pytest.fixture(scope="module")
def bearer(local_tenant: LocalTenant) -> dict[str, str]:
    return {"Authorization": f"Bearer {local_tenant.token('ada')}"}


@pytest.fixture(scope="module")
def own_address() -> str:
    """An address of this machine that is not loopback. Nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as received:
        received.connect(("198.51.100.1", 9))
        return str(received.getsockname()[0])


def test_the_address_of_a_client_is_the_one_that_nginx_saw(site: Site):
    """The client's own headers are ignored. A server that is called directly trusts only the proxy."""
    for source in ("127.0.0.1", "127.0.0.2"):
        for fields in ({}, SPOOFED):
            assert json.loads(ask(site.over_tls(source), "GET", "/triggers/whence", **fields).body) == source
    node = site.ports[0]
    assert json.loads(ask(site.plain(node, "127.0.0.2"), "GET", "/triggers/whence", **SPOOFED).body) == "127.0.0.2"
    assert json.loads(ask(site.plain(node), "GET", "/triggers/whence", **SPOOFED).body) == OUTSIDE


def test_a_token_comes_in_over_https_only(site: Site, bearer: dict[str, str]):
    """Over plain http it is refused by nginx and not redirected: the caller would not notice."""
    assert ask(site.over_tls("127.0.0.2"), "POST", "/triggers/guarded", "1", **bearer).status == 200
    assert ask(site.over_tls("127.0.0.2"), "GET", "/runs", **bearer, **SPOOFED).status == 200
    for method, fields in (("POST", bearer), ("GET", bearer), ("HEAD", bearer), ("POST", {}), ("PUT", {})):
        refused = ask(site.over_http("127.0.0.2"), method, "/triggers/guarded", **fields)
        assert (refused.status, "location" in refused.headers) == (403, False)
    led = ask(site.over_http(), "GET", "/triggers/whence?a=b")
    assert (led.status, led.headers["location"]) == (308, "https://postern.example.com/triggers/whence?a=b")


def test_an_event_arrives_before_the_next_one_is_sent(site: Site):
    with closing(site.over_tls()) as connection:
        connection.request("GET", "/triggers/events")
        answer = connection.getresponse()
        first = answer.readline()
        (site.folder / "seen").touch()
        assert (first, answer.read()) == (b"data: 1\n", b"\ndata: 2\n\n")


def test_a_form_with_a_file_comes_in_up_to_the_size_of_the_configuration(site: Site):
    for size, status in ((900_000, 200), (1_100_000, 413)):
        body = "\r\n".join(
            ["--b", 'Content-Disposition: form-data; name="file"; filename="a.txt"', "", "x" * size, "--b--", ""]
        )
        with closing(site.over_tls()) as connection:
            connection.request("POST", "/triggers/receipt", body, {"Content-Type": "multipart/form-data; boundary=b"})
            answer = connection.getresponse()
            assert (answer.status, answer.read() == b"900000") == (status, status == 200)


@pytest.mark.anyio
async def test_the_doctor_finds_the_certificate_the_proxys_headers_and_the_installation_behind_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    """By the name in the certificate, which leads to this machine."""
    resolve = socket.getaddrinfo

    def resolved(host: Any, *arguments: Any, **more: Any) -> Any:
        named = host.decode() if isinstance(host, bytes) else host
        return resolve("127.0.0.1" if named == NAME else host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    url = f"https://{NAME}:{site.https}"
    defaults = {"ca_bundle": str(site.folder / AUTHORITY), "database_url": site.environ["POSTERN_DATABASE_URL"]}
    settings = load_settings({}, folder=site.folder, defaults=defaults)
    certificate = await public_url.check_certificate(settings, url)
    found = await public_url.check_public_url(settings, url)
    assert [each.state for each in (*certificate, *found)] == ["ok"] * 3, (certificate, found)
    wrong = load_settings({}, folder=site.folder, defaults={**defaults, "ca_bundle": None})
    assert [each.state for each in await public_url.check_certificate(wrong, url)] == ["failed"]
    plain = await public_url.check_public_url(settings, f"http://127.0.0.1:{site.http}")
    assert [each.state for each in plain] == ["failed"]


# Tokens sent directly to a server: address, forwarding fields, and the response of a trigger that accepts the token.
STRAIGHT: list[tuple[str, dict[str, str], int]] = [
    ("127.0.0.1", {}, 200),
    ("127.0.0.2", {}, 200),
    ("127.0.0.1", {"X_Forwarded_For": OUTSIDE, "X_Forwarded_Proto": "https"}, 200),
    ("127.0.0.1", {"X_Forwarded_For": OUTSIDE, "X_Forwarded_Proto": "http"}, 401),
    ("127.0.0.1", {"X_Forwarded_For": OUTSIDE}, 401),
    ("127.0.0.2", {"X_Forwarded_For": OUTSIDE, "X_Forwarded_Proto": "https"}, 401),
    ("own", {}, 401),
    ("own", {"X_Forwarded_For": "127.0.0.1", "X_Forwarded_Proto": "https"}, 401),
]


@pytest.mark.parametrize(("source", "fields", "status"), STRAIGHT)
def test_a_node_takes_tokens_from_this_machine_and_by_the_proxys_word(
    site: Site, bearer: dict[str, str], own_address: str, source: str, fields: dict[str, str], status: int
):
    address = own_address if source == "own" else source
    for method, path in (("POST", "/triggers/guarded"), ("GET", "/runs")):
        said = ask(
            site.plain(site.ports[0], address, address),
            method,
            path,
            "1" if method == "POST" else None,
            **bearer,
            **fields,
        )
        assert said.status == status
        if status == 401:
            assert said.code == "insecure-transport"
            assert said.headers["www-authenticate"] == 'Bearer error="invalid_request"'
    assert ask(site.plain(site.ports[0], address, address), "GET", "/triggers/whence", **fields).status == 200


def test_what_is_for_operators_of_the_machine_is_not_reached_from_outside(site: Site):
    for path in (
        "/metrics",
        "/readyz",
        "//metrics",
        "/%6detrics",
        "/./metrics",
        "/x/../metrics",
        "/metrics?x",
        "/readyz?",
    ):
        assert ask(site.over_tls(), "GET", path).status == 404
    for path in ("/metrics", "/readyz"):
        assert ask(site.plain(site.ports[0]), "GET", path).status == 200
    assert ask(site.over_tls(), "GET", "/healthz").status == 200


def test_tls_is_new_and_stays(site: Site):
    """HTTP/2 is offered, nothing older than TLS 1.2 is, and the answer says that https is for good."""
    said = ask(site.over_tls(), "GET", "/healthz")
    assert said.headers["strict-transport-security"] == "max-age=31536000"
    assert said.headers["server"] == "nginx"
    site.trust.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", site.https), 5) as plain,
        site.trust.wrap_socket(plain, server_hostname=NAME) as secured,
    ):
        assert (secured.version(), secured.selected_alpn_protocol()) == ("TLSv1.3", "h2")
    site.trust.set_alpn_protocols(["http/1.1"])
    assert [speaks(version, site.https) for version in ("-tls1_1", "-tls1_2", "-tls1_3")] == [False, True, True]


def speaks(version: str, port: int) -> bool:
    """Whether a client that speaks nothing but this version of TLS is answered."""
    command = ["openssl", "s_client", version, "-cipher", "ALL:@SECLEVEL=0", "-connect", f"127.0.0.1:{port}"]
    command += ["-servername", NAME]
    return subprocess.run(command, input=b"", capture_output=True, timeout=10).returncode == 0


def assert_problem(said: Said, status: int) -> None:
    """An error of nginx itself: JSON as Postern's are, and without `code`."""
    assert (said.status, said.headers["content-type"]) == (status, "application/problem+json")
    document = json.loads(said.body)
    assert document.keys() == {"type", "title", "status", "detail"}
    assert (document["type"], document["status"]) == ("about:blank", status)
    assert document["title"] != "Error"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "x.postern.example.com", "_"])
def test_no_other_name_is_served(site: Site, host: str):
    """Neither over http, nor by a TLS name, nor by another name within the connection."""
    for path in ("/triggers/whence", "/healthz", "/.well-known/acme-challenge/x"):
        assert_problem(ask(site.plain(site.http), "GET", path, Host=host), 421)
        assert_problem(ask(site.over_tls(), "GET", path, Host=host), 421)
    with socket.create_connection(("127.0.0.1", site.https), 5) as plain, pytest.raises((ssl.SSLError, OSError)):
        site.trust.wrap_socket(plain, server_hostname=host)


def raw(site: Site, sent: bytes) -> Said:
    """The answer to these bytes over TLS."""
    with closing(site.over_tls()) as connection:
        connection.connect()
        assert connection.sock is not None
        connection.sock.sendall(sent)
        received = b"".join(iter(lambda: connection.sock.recv(65536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines)
    return Said(int(status.split()[1]), fields, body.decode())


HOST = f"Host: {NAME}\r\nConnection: close\r\n".encode()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GARBAGE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /%zz HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 40_000 + b"\r\n\r\n", 431),
        (b"POST /triggers/open HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999\r\n\r\n", 413),
        (b"GET /metrics HTTP/1.1\r\n" + HOST + b"\r\n", 404),
        (b"GET /postern-problem HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    ],
)
def test_errors_of_nginx_are_json_too(site: Site, sent: bytes, status: int):
    assert_problem(raw(site, sent), status)


def test_errors_of_postern_stay_as_they_are(site: Site):
    said = ask(site.over_tls(), "POST", "/triggers/none", "1")
    assert (said.status, said.code) == (404, "unknown-trigger")
    assert ask(site.over_tls(), "POST", "/triggers/open", '"x"').code == "invalid-body"


def test_bodies_as_large_as_postern_takes_come_through(site: Site):
    spaces = " " * (1_048_576 - 1)
    assert ask(site.over_tls(), "POST", "/triggers/open", spaces + "1").status == 200
    assert ask(site.over_tls(), "POST", "/triggers/open", spaces + "11").status == 413


def test_answers_with_large_headers_come_through(site: Site):
    assert ask(site.over_tls(), "POST", "/triggers/headed", "30000").status == 200


def test_the_log_of_nginx_names_the_trace_of_a_run_and_no_secret(site: Site, bearer: dict[str, str]):
    """Neither the query nor the token, also where a request fails, nor the secret of an invitation."""
    source = "127.0.0.3"
    said = ask(
        site.over_tls(source),
        "POST",
        "/triggers/guarded?sig=planted-secret",
        "1",
        **bearer,
        Cookie="planted-secret",
    )
    ask(site.over_tls(source), "POST", "/triggers/open?sig=planted-secret", "no number", **bearer)
    ask(site.over_tls(source), "GET", "/connect/my-profile/invitation/planted-secret?x=planted-secret")
    until(lambda: site.log.count('"client":"127.0.0.3"') == 3)
    assert '"path":"/connect/my-profile/invitation/…"' in site.log
    line: dict[str, Any] = next(json.loads(line) for line in site.log.splitlines() if '"client":"127.0.0.3"' in line)
    assert (line["path"], line["status"]) == ("/triggers/guarded", 200)
    run = next(row for row in records(site.environ["POSTERN_DATABASE_URL"]) if row["id"] == said.headers["x-run-id"])
    assert line["traceparent"].split("-")[1] == run["trace_id"]
    assert "planted" not in site.log
    assert bearer["Authorization"][-40:] not in site.log


def test_nodes_are_replaced_under_load_without_an_error_seen_by_a_caller(site: Site, local_tenant: LocalTenant):
    """Each in turn: SIGTERM, exit code 0, a new process on its port. All replies are recorded, and all servers run."""
    old = [site.nodes[port] for port in site.ports]
    with loading(site, local_tenant.token("ada")) as load:
        for port, node in zip(site.ports, old, strict=True):
            load.served_by(node)
            assert node.stop(signal.SIGTERM) == 0
            assert "Traceback" not in node.output
            load.served_by(site.node(port))
        load.served_by(site.nodes[site.ports[0]])
    assert load.failed == []
    new = [site.nodes[port] for port in site.ports]
    assert set(load.processes) == {node.process.pid for node in old + new}
    rows = {row["id"]: row for row in records(site.environ["POSTERN_DATABASE_URL"])}
    assert len({call.run_id for call in load.calls}) == len(load.calls)
    for call in load.calls:
        row = rows[call.run_id]
        assert (row["state"], row["inputs"], row["outputs"]) == ("Succeeded", str(call.number), str(call.process))


def test_a_node_that_is_killed_takes_with_it_what_it_was_doing_and_no_more(site: Site, local_tenant: LocalTenant):
    victim, other = (site.nodes[port] for port in site.ports)
    with loading(site, local_tenant.token("ada")) as load:
        load.served_by(victim)
        victim.process.send_signal(signal.SIGSTOP)
        load.held_up()  # all callers wait for it
        victim.process.kill()
        victim.process.wait(10)
        gone = time.monotonic()
        load.served_by(other, 100)
        failed = load.failed
        site.node(site.ports[0])
        load.served_by(site.nodes[site.ports[0]])
    # Once it is gone, nginx meets it only on connections that it kept open.
    assert len(load.failed) >= load.count
    assert len([call for call in load.failed if call.began > gone]) <= load.count
    assert all(call.status == 502 for call in load.failed)
    assert load.failed == failed
    assert not [call for call in load.calls if call.broke]


def test_while_no_node_answers_the_error_is_json_and_says_that_the_request_may_have_run(site: Site):
    for port in site.ports:
        site.nodes[port].close()
    said = ask(site.over_tls(), "POST", "/triggers/open", "1")
    assert_problem(said, 502)
    assert "Idempotency-Key" in json.loads(said.body)["detail"]
    for port in site.ports:
        site.node(port)


def test_the_configuration_passes_nginxs_own_check():
    nginx_path()
    done = subprocess.run(["sh", ROOT / "deploy/nginx/check.sh"], capture_output=True, text=True, timeout=20)
    assert (done.returncode, "test is successful" in done.stderr, "[warn]" in done.stderr) == (0, True, False)
