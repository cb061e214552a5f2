"""What a request costs the server's event loop, step by step, and what each feature that is on adds: processor time
without a network, all states in turn. What other threads and processes do (the writer, exports of telemetry) is not in
it: see `cost.py`."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table
from sqlalchemy import create_engine, insert

from postern.journal.schema import revocations
from postern.local_tenant import LocalTenant
from tests.bench.in_process import STEPS
from tests.bench.servers import ON_RECORD, WORKFLOW, settings_for
from tests.databases import put_sqlite

LIMITS = '[limits]\nper_caller = "10000000/second"\nper_address = "10000000/second"\n'
"""Rates that nothing reaches."""


@dataclass(frozen=True, slots=True)
class Feature:
    """What is on or off beside the usual state: settings, options of the process, and `prepare`, which gets the folder
    and returns more settings."""

    name: str
    settings: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    prepare: Callable[[Path], Mapping[str, str]] = lambda _: {}


def with_limits(folder: Path) -> Mapping[str, str]:
    """Both rates."""
    path = folder / "limits.toml"
    path.write_text(LIMITS, encoding="utf-8")
    return {"POSTERN_CONFIG": str(path)}


def with_revocation(folder: Path) -> Mapping[str, str]:
    """The access of somebody else has ended."""
    engine, now = create_engine(put_sqlite(folder / "postern.db")), time.time()
    subject = {"kind": "caller", "tenant_id": "another", "subject": "another", "name": ""}
    made = {"not_before": now, "reason": "", "made_by": "{}", "made_at": now}
    with engine.begin() as connection:
        connection.execute(insert(revocations).values(id="another", **subject, **made))
    engine.dispose()
    return {}


FEATURES = (
    Feature("usual"),
    Feature("without audit and findings", options=("--without-audit",)),
    Feature("with limits", prepare=with_limits),
    Feature("without console", {"POSTERN_CONSOLE": "off"}),
    Feature("with a revocation", prepare=with_revocation),
    Feature("with traces", {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}),
)


def measure_budget(local: LocalTenant, token: str, folder: Path, *, batches: int, console: Console) -> None:
    """Print both tables, for stateless and for recorded requests; nothing without batches."""
    if not batches:
        return
    steps = Table(box=None, padding=(0, 3, 0, 0))
    features = Table(box=None, padding=(0, 3, 0, 0))
    for table, heading in ((steps, "µs of the event loop a request"), (features, "beside the usual state")):
        table.add_column(heading)
        for kind in ("stateless", "recorded"):
            table.add_column(kind, justify="right")
    with collector() as endpoint:
        found = [
            measured(local, token, folder / workflow, workflow, batches, endpoint) for workflow in (WORKFLOW, ON_RECORD)
        ]
    for step in ("find", "identify", "gate", "admit", "read", "start", "record", "reply", "wire", "between"):
        steps.add_row(step, *[f"{each.steps.get(step, 0.0):.1f}" for each in found])
    steps.add_row("all", *[f"{each.usual:.1f}" for each in found])
    for feature in FEATURES[1:]:
        features.add_row(feature.name, *[f"{each.added[feature.name]:+.1f}" for each in found])
    console.print(steps)
    console.print(features)


@dataclass(frozen=True, slots=True)
class Budget:
    """Microseconds of processor time a request: in the usual state, by step, and what each feature adds."""

    usual: float
    steps: Mapping[str, float]
    added: Mapping[str, float]


def measured(local: LocalTenant, token: str, folder: Path, workflow: str, batches: int, endpoint: str) -> Budget:
    """Run all states in turn, and one more that is sampled."""
    states = [*FEATURES, Feature("sampled", options=("--steps",))]
    with ExitStack() as stack:
        running = [
            stack.enter_context(in_process(state, local, token, folder / str(number), workflow, endpoint))
            for number, state in enumerate(states)
        ]
        for each in running:
            said(each, "ready")
        times = [[a_batch(each) for each in running] for _ in range(batches)]
        samples = Counter(json.loads(ended(running[-1]).partition(" ")[2]))
    usual = median(row[0] for row in times)
    all_samples = samples.total() or 1
    return Budget(
        usual,
        {step: usual * samples[step] / all_samples for step, _ in STEPS},
        {state.name: median(row[place] - row[0] for row in times) for place, state in enumerate(FEATURES)},
    )


@contextmanager
def in_process(
    state: Feature, local: LocalTenant, token: str, folder: Path, workflow: str, endpoint: str
) -> Iterator[subprocess.Popen[str]]:
    """A process that will answer batches in this state, when it has said that it is ready."""
    folder.mkdir(parents=True)
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint} if state.name == "with traces" else {}
    settings = {
        **os.environ,
        **settings_for(local, 8080, f"sqlite:///{folder / 'postern.db'}"),
        **state.settings,
        **traced,
        **state.prepare(folder),
        "POSTERN_BENCH_TOKEN": token,
    }
    command = [sys.executable, "-m", "tests.bench.in_process", workflow, *state.options]
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(command, env=settings, stdin=pipe, stdout=pipe, stderr=nowhere, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def a_batch(process: subprocess.Popen[str]) -> float:
    """Microseconds a request of one batch."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return float(said(process))


def ended(process: subprocess.Popen[str]) -> str:
    """What the process prints when its batches have ended."""
    assert process.stdin is not None
    process.stdin.close()
    return said(process, "samples ")


def said(process: subprocess.Popen[str], start: str = "") -> str:
    """Its next line that is not one of its log, or the next one that begins so."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(start) if start else line[:1].isdigit():
            return line
    raise SystemExit(f"the process that is measured ended with {process.wait()}")


class _Accepts(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def collector() -> Iterator[str]:
    """The address of a collector of telemetry that accepts everything."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Accepts) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
