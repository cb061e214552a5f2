"""Measure: rounds of wrk against bare Starlette and Postern in turn, and the ratios of their medians."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from rich.console import Console

from app.local_tenant import LocalTenant, serve

HERE = Path(__file__).parent
BARE_PORT = 18081
POSTERN_PORT = 18082
BODY = b'{"name": "Ada", "tags": ["a", "b"]}'
console = Console(highlight=False)


def main() -> int:
    """Print the ratios. Exit code 2 where wrk is missing."""
    options = _options()
    if shutil.which("wrk") is None:
        console.print("make bench needs wrk: install Debian's package wrk.")
        return 2
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        local = stack.enter_context(serve(LocalTenant.open(folder / "tenant")))
        token = local.token("ada")
        environ = {**os.environ, "BENCH_TOKEN": token}
        stack.enter_context(_server(_bare(), BARE_PORT, environ))
        began = time.perf_counter()
        postern = stack.enter_context(_server(_postern(), POSTERN_PORT, environ | _settings(local)))
        _first_answer(POSTERN_PORT, token)
        started = time.perf_counter() - began
        memory_before = _memory(postern.pid)
        console.print("connections    bare/s  postern/s   ratio   (medians of alternating rounds)")
        for connections in options.connections:
            bare, ours = _rounds(connections, options, environ)
            console.print(f"{connections:11}  {bare:8.0f}   {ours:8.0f}   {ours / bare:5.2f}")
        console.print(f"start to first authenticated answer: {started:.2f} s")
        console.print(f"memory: {memory_before:.0f} MiB after the start, {_memory(postern.pid):.0f} MiB after the load")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    return parser.parse_args()


def _bare() -> list[str]:
    options = ["--http", "httptools", "--loop", "uvloop", "--no-access-log", "--log-level", "warning"]
    return [sys.executable, "-m", "uvicorn", "tests.bench.bare:app", "--port", str(BARE_PORT), *options]


def _postern() -> list[str]:
    return [sys.executable, "-m", "app", "serve"]


def _settings(local: LocalTenant) -> dict[str, str]:
    return {
        "POSTERN_TENANT_ID": local.tenant_id,
        "POSTERN_AUDIENCE": f"{local.audience},{local.client_id}",
        "POSTERN_AUTHORITY": local.authority,
        "POSTERN_CA_BUNDLE": str(local.ca_bundle),
        "POSTERN_WORKFLOWS": str(HERE / "workflows"),
        "POSTERN_PORT": str(POSTERN_PORT),
        "POSTERN_LOG_FORMAT": "json",
    }


@contextmanager
def _server(command: list[str], port: int, environ: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a process of its own, its log thrown away, stopped at the end."""
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _first_answer(port, environ["BENCH_TOKEN"])
        yield process
    finally:
        process.terminate()
        process.wait(30)


def _first_answer(port: int, token: str, seconds: float = 20.0) -> None:
    """Ask until the answer is 200."""
    url = f"http://127.0.0.1:{port}/triggers/greet"
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    until = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(urllib.request.Request(url, BODY, headers), timeout=5)
        except OSError as error:
            if time.monotonic() > until:
                raise SystemExit(f"the server on port {port} gave no answer: {error}") from None
            time.sleep(0.005)
        else:
            return


def _rounds(connections: int, options: argparse.Namespace, environ: Mapping[str, str]) -> tuple[float, float]:
    """The median rates of both servers, measured in turn so that a drift of the machine's speed meets both."""
    rates: dict[int, list[float]] = {BARE_PORT: [], POSTERN_PORT: []}
    for round_ in range(options.rounds):
        for port in (BARE_PORT, POSTERN_PORT) if round_ % 2 else (POSTERN_PORT, BARE_PORT):
            rates[port].append(_wrk(port, connections, options.seconds, environ))
    return median(rates[BARE_PORT]), median(rates[POSTERN_PORT])


def _wrk(port: int, connections: int, seconds: int, environ: Mapping[str, str]) -> float:
    url = f"http://127.0.0.1:{port}/triggers/greet"
    load = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(HERE / "load.lua"), url]
    printed = subprocess.run(load, env=environ, capture_output=True, text=True, check=True).stdout
    rate, failed = next(line.split()[1:] for line in printed.splitlines() if line.startswith("RESULT"))
    if failed != "0":
        raise SystemExit(f"{failed} requests failed at {url}: the rate means nothing")
    return float(rate)


def _memory(pid: int) -> float:
    """Resident memory in MiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))


if __name__ == "__main__":
    sys.exit(main())
