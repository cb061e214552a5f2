"""Whether the server on this machine is healthy, checked from another process: for a container's health check.

The check runs every few seconds, beside a server that needs the machine's resources. So this imports the settings and
the standard library, and nothing that only other commands need.
"""

import ipaddress
import json
import sys
from http.client import HTTPConnection, HTTPException, HTTPResponse

from postern.settings import SettingsFault, load_address

PATIENCE = 3.0
"""Seconds to wait for a connection, and for each piece of the response."""

LARGEST = 65_536
"""Bytes of a response that are read."""

LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
"""The loopback address that reaches a server which listens on all addresses."""


def health(*, ready: bool) -> tuple[bool, str]:
    """Whether `/healthz` (with `ready`, `/readyz`) of this folder's server answers 200, and one line that says so. Only
    the host and the port of the settings are used. No token is sent, and no proxy of the environment is used."""
    path = "/readyz" if ready else "/healthz"
    try:
        host, port = load_address()
    except SettingsFault as fault:
        return False, "; ".join(map(str, fault.problems))
    if port == 0:
        return False, "POSTERN_PORT is 0, so the server's port is not known. Set a fixed port."
    url = f"http://{_in_url(reached_at(host))}:{port}{path}"
    connection = HTTPConnection(reached_at(host), port, timeout=PATIENCE)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        return judged(url, response.status, _document(response))
    except TimeoutError:
        return False, f"{url} does not answer within {PATIENCE:g} s"
    except OSError as error:
        return False, f"{url} cannot be reached: {error.strerror or type(error).__name__}"
    except HTTPException as error:
        return False, f"{url} does not answer as an HTTP server does: {type(error).__name__}"
    finally:
        connection.close()


def reached_at(host: str) -> str:
    """The address at which a server that listens on `host` is reached from its own machine."""
    try:
        return LOOPBACK.get(str(ipaddress.ip_address(host)), host)
    except ValueError:
        return host


def judged(url: str, status: int, document: object) -> tuple[bool, str]:
    """The result of a response. Of its text only the names of failing checks are repeated, if they look like names."""
    if status == 200:
        return True, f"{url} answers 200"
    checks = document.get("checks") if isinstance(document, dict) else None
    named = checks if isinstance(checks, dict) else {}
    failing = [name for name in named if name.isidentifier() and name.isascii() and named[name] != "ok"]
    return False, f"{url} answers {status}" + (f": {', '.join(failing)}" if failing else "")


def main() -> None:
    """`postern health` and `postern health --ready`, without the other commands. Docker defines only the exit codes 0
    and 1."""
    healthy, line = health(ready="--ready" in sys.argv)
    sys.stdout.write(f"{line}\n")
    sys.exit(0 if healthy else 1)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _document(response: HTTPResponse) -> object:
    try:
        return json.loads(response.read(LARGEST))
    except (ValueError, RecursionError):
        return None
