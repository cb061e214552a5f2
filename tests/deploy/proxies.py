"""A real nginx with the configuration of deploy/nginx, two `postern serve` behind it, and callers in front of it."""

import itertools
import json
import os
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from getpass import getuser
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NamedTuple

import trustme
from httpx2 import URL

from tests.ports import free_port
from tests.process.servers import ROOT, Server, until
from tests.tools import needed

NAME = "postern.example.com"
AUTHORITY = "authority.pem"
"""The file of the authority that issued nginx's certificate."""
MAIN = """
daemon off;
{user}
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/postern.conf;
}}
"""


def nginx_path() -> str:
    """Where nginx is: Debian has it where only root's PATH looks. See `tests.tools.cannot`."""
    return needed("nginx", f"{os.environ.get('PATH', '')}:/usr/sbin")


class Said(NamedTuple):
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def code(self) -> str:
        """Of the problem that it is."""
        return str(json.loads(self.body)["code"])


def ask(connection: HTTPConnection, method: str, path: str, body: str | None = None, **fields: str) -> Said:
    """The answer to the only request of a connection. Fields are written with underscores."""
    with closing(connection):
        return exchange(connection, method, path, body, **fields)


def exchange(connection: HTTPConnection, method: str, path: str, body: str | None = None, **fields: str) -> Said:
    """The same, on a connection that stays."""
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    if body is not None:
        headers["Content-Type"] = "application/json"
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    content = answer.read().decode()
    return Said(answer.status, {name.lower(): value for name, value in answer.getheaders()}, content)


class _Named(HTTPConnection):
    """A connection to a name that is this machine's."""

    def __init__(self, port: int, source: str, trust: ssl.SSLContext | None = None) -> None:
        super().__init__(NAME, port, timeout=20)
        self._source, self._trust = source, trust

    def connect(self) -> None:
        self.sock = socket.create_connection(("127.0.0.1", self.port), 20, (self._source, 0))
        if self._trust is not None:
            self.sock = self._trust.wrap_socket(self.sock, server_hostname=NAME)


@dataclass
class Site:
    """nginx, its two nodes, and what belongs to them."""

    folder: Path
    trust: ssl.SSLContext
    environ: Mapping[str, str]
    ports: tuple[int, int]
    https: int = field(default_factory=free_port)
    http: int = field(default_factory=free_port)
    nodes: dict[int, Server] = field(default_factory=dict)

    def node(self, port: int) -> Server:
        """Start the node of this port, and wait until it is ready."""
        if port in self.nodes:
            self.nodes[port].close()
        server = self.nodes[port] = Server(["serve"], self.folder, {**self.environ, "POSTERN_PORT": str(port)})
        server.address = f"http://127.0.0.1:{port}"
        server.client.base_url = URL(server.address)
        server.says(f"http://0.0.0.0:{port}", 20)
        until(lambda: server.client.get("/readyz").status_code == 200, 20, lambda: server.output)
        return server

    def close(self) -> None:
        """End all nodes."""
        for node in self.nodes.values():
            node.close()

    def over_tls(self, source: str = "127.0.0.1") -> HTTPConnection:
        """A connection to nginx from this address."""
        return _Named(self.https, source, self.trust)

    def over_http(self, source: str = "127.0.0.1") -> HTTPConnection:
        """The same without TLS."""
        return _Named(self.http, source)

    def plain(self, port: int, source: str = "127.0.0.1", host: str = "127.0.0.1") -> HTTPConnection:
        """A connection without TLS and by address, to a node or to nginx."""
        return HTTPConnection(host, port, timeout=20, source_address=(source, 0))

    @property
    def log(self) -> str:
        """All that nginx wrote."""
        return "".join(path.read_text(encoding="utf-8") for path in sorted(self.folder.glob("nginx/*.log")))


@contextmanager
def behind_nginx(folder: Path, environ: Mapping[str, str]) -> Iterator[Site]:
    """Two nodes behind nginx."""
    nginx = nginx_path()
    place = folder / "nginx"
    place.mkdir()
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", NAME)
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(place / "fullchain.pem", append=True)
    certificate.private_key_pem.write_to_path(place / "privkey.pem")
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    authority.cert_pem.write_to_path(folder / AUTHORITY)
    site = Site(folder, trust, environ, (free_port(), free_port()))
    (place / "postern.conf").write_text(_substituted(site), encoding="utf-8")
    user = f"user {getuser()};" if os.geteuid() == 0 else ""
    (place / "nginx.conf").write_text(MAIN.format(folder=place, user=user), encoding="utf-8")
    with ExitStack() as running:
        running.callback(site.close)
        for port in site.ports:
            site.node(port)
        proxy = subprocess.Popen([nginx, "-e", "stderr", "-p", place, "-c", place / "nginx.conf"])
        running.callback(proxy.wait, 10)
        running.callback(proxy.terminate)
        until(lambda: _answers(site), 10, lambda: f"{proxy.poll()}")
        yield site


def _substituted(site: Site) -> str:
    """deploy/nginx/postern.conf with this test's ports and places, and nothing else changed."""
    text = (ROOT / "deploy" / "nginx" / "postern.conf").read_text(encoding="utf-8")
    place = str(site.folder / "nginx")
    for was, now in (
        ("127.0.0.1:8081", f"127.0.0.1:{site.ports[0]}"),
        ("127.0.0.1:8082", f"127.0.0.1:{site.ports[1]}"),
        ("listen 80", f"listen 127.0.0.1:{site.http}"),
        ("listen 443 ", f"listen 127.0.0.1:{site.https} "),
        (f"/etc/letsencrypt/live/{NAME}", place),
        ("/var/log/nginx", place),
        ("/var/www/postern", place),
    ):
        assert was in text
        text = text.replace(was, now)
    return text


def _answers(site: Site) -> bool:
    try:
        return ask(site.over_tls(), "GET", "/healthz").status == 200
    except OSError:
        return False


class Call(NamedTuple):
    """One call of the load: the answer, or what broke."""

    number: int
    status: int
    process: int
    run_id: str
    began: float
    broke: str = ""


class Load:
    """Callers in threads that each send the next request when the last one was answered, with keep-alive over TLS.
    Every second has a token, and now and then one begins a new connection."""

    def __init__(self, site: Site, token: str, count: int) -> None:
        self.count = count
        self.calls: list[Call] = []
        self._house = site
        self._token = token
        self._numbers = itertools.count(1)
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def served_by(self, server: Server, more: int = 30) -> None:
        """Wait until this process has answered so many more."""
        before = self.processes[server.process.pid]
        until(lambda: self.processes[server.process.pid] >= before + more, 20, lambda: f"{self.calls[-5:]}")

    def held_up(self) -> None:
        """Wait until nobody gets an answer any more."""

        def nothing_comes() -> bool:
            before = len(self.calls)
            return not self._stopping.wait(0.2) and len(self.calls) == before

        until(nothing_comes, 20)

    @property
    def processes(self) -> Counter[int]:
        """How many calls each process answered."""
        return Counter(call.process for call in list(self.calls))

    @property
    def failed(self) -> list[Call]:
        """Those that were not answered with 200."""
        return [call for call in list(self.calls) if call.status != 200]

    def stop(self) -> None:
        """Return when every caller has its last answer."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)
        assert not [thread for thread in self._threads if thread.is_alive()]

    def _work(self) -> None:
        connection = self._house.over_tls()
        while not self._stopping.is_set():
            number = next(self._numbers)
            if number % 11 == 0:
                connection.close()
            self.calls.append(self._call(connection, number))
        connection.close()

    def _call(self, connection: HTTPConnection, number: int) -> Call:
        trigger, fields = ("open", {}) if number % 2 else ("guarded", {"Authorization": f"Bearer {self._token}"})
        began = time.monotonic()
        try:
            said = ask(connection, "POST", f"/triggers/{trigger}", str(number), **fields)
        except (OSError, HTTPException) as error:
            connection.close()
            return Call(number, 0, 0, "", began, repr(error))
        process = json.loads(said.body) if said.status == 200 else 0
        return Call(number, said.status, process, said.headers.get("x-run-id", ""), began)


@contextmanager
def loading(site: Site, token: str, count: int = 8) -> Iterator[Load]:
    """Callers while the block runs."""
    load = Load(site, token, count)
    try:
        yield load
    finally:
        load.stop()
