"""Measure the console's pages on a database with many runs: python -m tests.bench.console --runs 1000000."""

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import quantiles

from httpx2 import Client
from rich.console import Console
from sqlalchemy import Engine, delete, insert, select

from postern.journal.schema import runs, steps
from postern.local_tenant import LocalTenant, serve
from tests.bench.seed import WORKFLOWS, open_database, seed
from tests.bench.servers import postern
from tests.ports import free_port

console = Console(highlight=False, width=120)
STEPS = 20_000
RUN = re.compile(r'href="[^"]*(/console/runs/[0-9a-f-]{36})"')


def main() -> int:
    """Seed a database, or use one that is there, and print how long each page takes."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        url = options.url or f"sqlite:///{folder}/postern.db"
        engine = open_database(url)
        if options.runs:
            seed(engine, options.runs)
        long_run = _long_run(engine)
        engine.dispose()
        with serve(LocalTenant.open(Path(folder) / "tenant")) as local:
            port = free_port()
            local.sign_ins.redirect_uris.add(f"http://127.0.0.1:{port}/console/callback")
            with (
                postern(local, local.token("ada"), port, url) as server,
                Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as client,
            ):
                _sign_in(client)
                console.print(f"{'milliseconds to the first byte, warm':48} {'p50':>7} {'p95':>7} {'most':>7}   KB")
                for name, path in _pages(client, long_run).items():
                    _measure(client, name, path, options.rounds)
                console.print(f"memory of the server: {server.memory:.0f} MiB")
    return 0


def _sign_in(client: Client) -> None:
    """Sign in as ada, who is an operator."""
    began = client.get("/console/sign-in")
    if began.status_code != 302:
        raise SystemExit(f"the console does not let anybody sign in: {began.status_code} {began.text}")
    chosen = client.post(began.headers["location"], data={"person": "ada"})
    client.get(chosen.headers["location"])


def _long_run(engine: Engine) -> str:
    """The id of the newest run, which gets STEPS steps, some of them failed."""
    with engine.begin() as connection:
        run_id, began = connection.execute(
            select(runs.c.id, runs.c.started_at).order_by(runs.c.id.desc()).limit(1)
        ).one()
        connection.execute(delete(steps).where(steps.c.run_id == run_id))
        rows = [
            {
                "run_id": run_id,
                "number": number,
                "name": f"step-{number}",
                "succeeded": int(number % 997 != 0),
                "attempts": json.dumps([[began + number / 1000, began + (number + 1) / 1000, ""]]),
            }
            for number in range(1, STEPS + 1)
        ]
        connection.execute(insert(steps), rows)
    return str(run_id)


def _pages(client: Client, long_run: str) -> Mapping[str, str]:
    """The pages by name."""
    run = RUN.findall(client.get("/console/runs").raise_for_status().text)[1]
    failed = RUN.findall(client.get("/console/runs?state=Failed").text)[0]
    workflow = WORKFLOWS[3]
    return {
        "home": "/console",
        "runs": "/console/runs",
        "runs, failed": "/console/runs?state=Failed",
        "runs, workflow": f"/console/runs?workflow={workflow}",
        "runs, text (frequent)": "/console/runs?text=urgent",
        "runs, text (nowhere)": "/console/runs?text=nowhere+to+be+found",
        "a run": run,
        "a failed run": failed,
        f"a run of {STEPS} steps": f"/console/runs/{long_run}",
        "resubmit": f"{run}/resubmit",
        "refusals": "/console/refusals",
        "workflows": "/console/workflows",
        "connections": "/console/connections",
        "secrets": "/console/secrets",
        "explain": "/console/explain",
        "sessions": "/console/sessions",
    }


def _measure(client: Client, name: str, path: str, rounds: int) -> None:
    times = []
    size = 0
    for number in range(rounds + 3):
        began = time.perf_counter()
        with client.stream("GET", path) as response:
            took = (time.perf_counter() - began) * 1000  # the head is here
            size = sum(map(len, response.iter_raw()))
        if response.status_code != 200:
            console.print(f"{name:48} {response.status_code}")
            return
        if number >= 3:
            times.append(took)
    percentiles = quantiles(times, n=100, method="inclusive")
    console.print(f"{name:48} {percentiles[49]:7.1f} {percentiles[94]:7.1f} {max(times):7.1f} {size / 1000:6.1f}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.console", description=__doc__)
    parser.add_argument("--url", default="", help="a database that is there: sqlite:///FILE or postgresql://...")
    parser.add_argument("--runs", type=int, default=0, help="how many runs to add")
    parser.add_argument("--rounds", type=int, default=60, help="how often each page is requested")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
