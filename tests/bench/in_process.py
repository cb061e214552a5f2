"""A server with connections that reach no network, in a process of its own: each line on stdin is a batch of requests,
and each line on stdout what a request of it took. So several states run in turn, and a busy machine disturbs all alike.

    python -m tests.bench.in_process WORKFLOW [--without-audit] [--steps]

The settings are those of the environment; the token is in POSTERN_BENCH_TOKEN. With `--steps` it also samples which
step runs, and prints the counts at the end of stdin.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import FrameType
from typing import Any

import uvloop
from uvicorn.server import ServerState

from postern import collector
from postern.assembly.application import create_app_from_environment
from postern.server.process import server_config
from postern.server.protocol import GuardedProtocol
from tests.bench.client import BODY

CONNECTIONS = 16
REQUESTS = 6 * CONNECTIONS
"""Of one batch."""
SAMPLE_SECONDS = 0.001
"""Of processor time between two samples. The kernel may take four times as long."""

STEPS = (
    ("record", ("postern.journal", "postern.logs", "postern.redaction", "postern.runs.ended_line", "structlog")),
    ("reply", ("postern.triggers.reply", "postern.runs.outcomes")),
    ("start", ("postern.runs", "postern.authoring.context", "postern.durable", "workflows", "pydantic")),
    ("admit", ("postern.access",)),
    ("find", ("postern.triggers.find", "postern.catalog")),
    ("identify", ("postern.identity", "postern.triggers.secure_transport", "postern.security.revocation")),
    ("gate", ("postern.assembly.limits", "postern.security", "postern.triggers.gate")),
    (
        "read",
        (
            *("postern.triggers.argument_reader", "postern.triggers.json_body", "postern.triggers.read"),
            *("postern.triggers.requested", "postern.triggers.form_body", "postern.authoring", "postern.elements"),
        ),
    ),
    ("wire", ("postern.server", "postern.triggers.exchange", "uvicorn", "asyncio", "tests.bench")),
    ("between", ("postern",)),
)
"""The steps of a request by the modules whose code runs, the innermost first. `between` is what leads from one step to
the next."""


class Wire(asyncio.Transport):
    """The client's end of a connection: it takes replies, and says when all that are wanted have come."""

    wanted = 0
    last = b""
    all_came: "asyncio.Future[None]"

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The addresses of both ends."""
        return {"peername": ("127.0.0.1", 5555), "sockname": ("127.0.0.1", 8080)}.get(name, default)

    def write(self, data: Any) -> None:
        """A reply in one piece, as all are that are measured."""
        Wire.last = data
        Wire.wanted -= 1
        if not Wire.wanted:
            Wire.all_came.set_result(None)

    def is_closing(self) -> bool:
        """Never: it stays open."""
        return False

    def get_write_buffer_size(self) -> int:
        """Nothing waits."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing waits."""

    def pause_reading(self) -> None:
        """One request comes at a time."""

    resume_reading = close = pause_reading


async def ready(batch: Callable[[], Awaitable[None]], seconds: float = 120.0) -> None:
    """Wait until requests are answered with 200: keys, revocations and the journal are there."""
    until = time.monotonic() + seconds
    await batch()
    while not Wire.last.startswith(b"HTTP/1.1 200"):
        if time.monotonic() > until:
            raise SystemExit(f"no request was answered: {Wire.last[:400]!r}")
        await asyncio.sleep(0.1)
        await batch()


async def serve(workflow: str, token: str, *, without_audit: bool, steps: bool) -> None:
    """Answer batches until stdin ends."""
    app = create_app_from_environment()
    if without_audit:
        pipeline: Any = app.pipeline
        object.__setattr__(pipeline, "gate", replace(pipeline.gate, admitted=None))
    config = server_config(app)
    config.load()
    state = ServerState()
    state.default_headers = [(b"date", b"Mon, 30 Nov 2026 05:00:00 GMT")]
    head = f"POST /triggers/{workflow} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAuthorization: Bearer {token}\r\n"
    fields = f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
    request = (head + fields).encode() + BODY
    async with app.router.lifespan_context(app) as shared:
        loop = asyncio.get_running_loop()
        connections = [GuardedProtocol(config, state, dict(shared or {}), loop) for _ in range(CONNECTIONS)]
        for each in connections:
            each.connection_made(Wire())

        async def batch() -> None:
            for _ in range(REQUESTS // CONNECTIONS):
                Wire.wanted, Wire.all_came = CONNECTIONS, loop.create_future()
                for each in connections:
                    each.data_received(request)
                await Wire.all_came

        await ready(batch)
        collector.loaded()
        samples: Counter[str] = Counter()
        if steps:
            signal.signal(signal.SIGPROF, lambda _, frame: samples.update([step_of(frame)]))
        print("ready", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            await batch()  # brings the code into the processor's caches
            if steps:
                signal.setitimer(signal.ITIMER_PROF, SAMPLE_SECONDS, SAMPLE_SECONDS)
            began = time.thread_time()
            await batch()
            took = time.thread_time() - began
            signal.setitimer(signal.ITIMER_PROF, 0)
            print(took / REQUESTS * 1e6, flush=True)
        print("samples", json.dumps(samples), flush=True)


def step_of(frame: FrameType | None) -> str:
    """The step whose code runs."""
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        for step, modules in STEPS:
            if any(module == each or module.startswith(f"{each}.") for each in modules):
                return step
        frame = frame.f_back
    return "wire"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workflow")
    parser.add_argument("--without-audit", action="store_true")
    parser.add_argument("--steps", action="store_true")
    options = parser.parse_args()
    token = os.environ.pop("POSTERN_BENCH_TOKEN")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(options.workflow, token, without_audit=options.without_audit, steps=options.steps))


if __name__ == "__main__":
    main()
