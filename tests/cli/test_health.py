"""`postern health`: one line and 0 or 1, for any response of a server or another process."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from postern.cli import health_probe
from postern.cli.health_probe import judged, reached_at
from tests.cli.conftest import Postern
from tests.process.servers import environment
from tests.tools import needed_ipv6

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"status":"ok"}'
NOT_READY = b'{"status": "not-ready", "checks": {"journal": "failing", "catalog": "ok", "\\u001b[2J": "failing"}}'


@contextmanager
def answering(answer: bytes, host: str = "127.0.0.1") -> Iterator[tuple[int, list[bytes]]]:
    """Something that listens, takes one request and says this; its port, and the request that came."""
    requests: list[bytes] = []
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                requests.append(connection.recv(65_536))
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], requests
        thread.join(10)


@pytest.mark.parametrize(("option", "path"), [([], b"/healthz"), (["--ready"], b"/readyz")], ids=["alive", "ready"])
def test_a_server_that_answers_200_is_healthy(postern: Postern, option: list[str], path: bytes):
    with answering(OK) as (port, requests):
        result = postern("health", *option, POSTERN_PORT=str(port))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"http://127.0.0.1:{port}{path.decode()} answers 200\n"
    assert requests[0].startswith(b"GET " + path + b" HTTP/1.1\r\n")
    assert b"authorization" not in requests[0].lower()


def test_a_server_that_is_not_ready_says_which_checks_fail_and_no_more(postern: Postern):
    head = f"HTTP/1.1 503 Service Unavailable\r\nContent-Length: {len(NOT_READY)}\r\n\r\n".encode()
    with answering(head + NOT_READY) as (port, _):
        result = postern("health", "--ready", POSTERN_PORT=str(port))
    assert (result.exit_code, result.stdout) == (1, f"http://127.0.0.1:{port}/readyz answers 503: journal\n")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(b"SSH-2.0-OpenSSH_9.2\r\n", "does not answer as an HTTP server does"), (b"", "cannot be reached")],
    ids=["another protocol", "nothing"],
)
def test_a_process_that_is_no_server_is_not_healthy(postern: Postern, answer: bytes, expected: str):
    with answering(answer) as (port, _):
        result = postern("health", POSTERN_PORT=str(port))
    assert (result.exit_code, result.stderr, result.stdout.count("\n")) == (1, "", 1)
    assert expected in result.stdout


def test_a_redirect_is_not_followed(postern: Postern):
    with answering(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n") as (port, _):
        result = postern("health", POSTERN_PORT=str(port))
    assert (result.exit_code, result.stdout) == (1, f"http://127.0.0.1:{port}/healthz answers 302\n")


def test_a_server_that_is_silent_is_not_waited_for(postern: Postern, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(health_probe, "PATIENCE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        result = postern("health", POSTERN_PORT=str(listener.getsockname()[1]))
    assert result.exit_code == 1
    assert result.stdout.endswith("/healthz does not answer within 0.1 s\n")


def test_it_needs_no_other_setting_than_host_and_port_and_tells_none(postern: Postern, folder: Path):
    (folder / ".env").write_text("POSTERN_TENANT_ID=planted-in-a-file\nPOSTERN_NO_SUCH=1\n", "ascii")
    (folder / "postern.toml").write_text("this is no toml", "ascii")
    with answering(OK) as (port, _):
        result = postern("health", POSTERN_PORT=str(port), POSTERN_AUDIENCE="", POSTERN_CLOUD="planted-cloud")
    assert (result.exit_code, result.stdout.count("\n")) == (0, 1)
    assert "planted" not in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("port", "expected"),
    [("eighty", "POSTERN_PORT (environment): 'eighty' is not a whole number"), ("0", "POSTERN_PORT is 0")],
)
def test_a_port_that_cannot_be_probed_is_exit_code_1_and_names_the_setting(postern: Postern, port: str, expected: str):
    """Docker reserves 2."""
    result = postern("health", POSTERN_PORT=port)
    assert (result.exit_code, result.stdout.count("\n")) == (1, 1)
    assert expected in result.stdout


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("::", "::1"),
        ("0:0:0:0:0:0:0:0", "::1"),
        ("127.0.0.1", "127.0.0.1"),
        ("10.1.2.3", "10.1.2.3"),
        ("localhost", "localhost"),
    ],
)
def test_a_server_that_listens_everywhere_is_probed_on_loopback(host: str, reached: str):
    assert reached_at(host) == reached


def test_an_address_of_ip_version_6_is_written_in_brackets(postern: Postern):
    needed_ipv6()
    with answering(OK, "::1") as (port, _):
        result = postern("health", POSTERN_HOST="::", POSTERN_PORT=str(port))
    assert (result.exit_code, result.stdout) == (0, f"http://[::1]:{port}/healthz answers 200\n")


@pytest.mark.parametrize("document", [None, [], {"checks": []}, {"checks": {"a b": "failing"}}])
def test_whatever_an_answer_says_is_judged_by_its_status(document: object):
    assert judged("u", 503, document) == (False, "u answers 503")
    assert judged("u", 200, document) == (True, "u answers 200")


@pytest.mark.process
def test_it_loads_neither_the_other_commands_nor_a_server(tmp_path: Path):
    """A container runs the probe every 30 seconds."""
    program = (
        "import sys\nsys.argv = ['postern', 'health', '--ready']\nfrom postern.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    print(stop.code)\nprint(*sys.modules)\n"
    )
    command = [sys.executable, "-c", program]
    environ = environment({"POSTERN_PORT": "1"})
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=20, check=True)
    line, code, modules = done.stdout.splitlines()
    assert line == "http://127.0.0.1:1/readyz cannot be reached: Connection refused"
    assert code == "1"
    heavy = {
        "postern.cli.commands",
        "postern.assembly",
        "typer",
        "rich",
        "starlette.applications",
        "uvicorn",
        "httpx2",
        "sqlalchemy",
        "cryptography",
    }
    assert not heavy & set(modules.split())
