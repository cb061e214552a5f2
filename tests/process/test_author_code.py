"""Modules of authors in a real server: what plain uvicorn honours, and code that swallows its end."""

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.process.servers import Server, running, until

MODULES = {
    "money.py": """
import decimal, sqlite3
from decimal import Decimal
from pydantic import BaseModel
from postern import anonymous, workflow

decimal.getcontext().rounding = decimal.ROUND_HALF_UP
DATABASE = sqlite3.connect(":memory:")

class Line(BaseModel):
    net: Decimal

@workflow(access=anonymous())
async def vat(ctx, line: Line):
    return str(line.net.quantize(Decimal("0.01")))

@workflow(access=anonymous())
def vat_in_thread(ctx, line: Line):
    return str(line.net.quantize(Decimal("0.01")))

@workflow(access=anonymous())
async def database(ctx):
    return DATABASE.execute("select 1").fetchone()
""",
    "orders/__init__.py": """
import importlib.resources, multiprocessing
from concurrent.futures import ProcessPoolExecutor
from postern import anonymous, workflow

class Order:
    price = 7

def price_of(order):
    return order.price

@workflow(access=anonymous())
def spawned(ctx):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(price_of, Order()).result()
""",
    "stuck.py": """
import asyncio, threading, time
from postern import anonymous, workflow

begun, called = threading.Event(), threading.Event()

@workflow(access=anonymous(), timeout=0.2)
async def swallows(ctx):
    while True:
        try:
            await asyncio.sleep(60)
        except:
            pass

@workflow(access=anonymous(), timeout=0.3)
def lazy(ctx):
    return (begun.set() or called.wait(20) and time.sleep(0.3) for _ in range(6))

@workflow(access=anonymous())
async def began(ctx):
    return begun.is_set()

@workflow(access=anonymous())
async def blocks(ctx):
    time.sleep(0.5)

@workflow(access=anonymous())
async def quick(ctx):
    called.set()
    return "quick"
""",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("author")
    write(folder, MODULES)
    with running("serve --workers 1", folder, settings()) as server:
        yield server
        server.process.kill()  # what swallows its cancellation would be waited for


def settings() -> dict[str, str]:
    return {"POSTERN_WORKFLOWS": "flows", "POSTERN_PORT": "0"}


def write(folder: Path, modules: dict[str, str]) -> None:
    for name, text in modules.items():
        file = folder / "flows" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("trigger", ["vat", "vat-in-thread"])
def test_the_rounding_that_a_module_sets_holds_for_its_runs(server: Server, trigger: str):
    assert server.post(trigger, json={"net": "0.125"}).json() == "0.13"


def test_a_connection_that_a_module_opens_works_on_the_event_loop(server: Server):
    assert server.post("database").json() == [1]


def test_a_spawned_process_loads_the_classes_of_a_module(server: Server):
    assert server.post("spawned").json() == 7


def test_a_lazy_result_ends_at_the_deadline_and_holds_nobody_up(server: Server):
    with ThreadPoolExecutor(1) as pool:
        lazy = pool.submit(server.post, "lazy")  # its result waits until `quick` was called
        until(lambda: server.post("began").json())
        assert server.post("quick").json() == "quick"
        assert lazy.result().status_code == 504


def test_code_that_blocks_the_loop_is_in_the_log_with_its_line_and_in_the_metrics(server: Server):
    server.post("blocks")
    line = server.says('{.*"event-loop-blocked".*}')
    number = 1 + MODULES["stuck.py"].splitlines().index("    time.sleep(0.5)")
    assert f'"line":{number}' in line
    assert '"workflow":"blocks"' in line
    assert 'postern_event_loop_blocked_total{process="' in server.client.get("/metrics").text


def test_a_connection_goes_on_after_the_reply_to_a_workflow_that_swallows_its_cancellation(server: Server):
    began = time.monotonic()
    answer = server.post("swallows")
    assert (answer.status_code, answer.json()["code"]) == (504, "timed-out")
    print(f"the reply came {time.monotonic() - began - 0.2:.2f} s after the deadline")
    assert server.post("quick").json() == "quick"
    record = server.client.get(f"/runs/{answer.headers['x-run-id']}").json()
    assert (record["state"], record["status"]) == ("TimedOut", 504)
    assert 'postern_runs_abandoned{process="' in (text := server.client.get("/metrics").text)
    assert 'workflow="swallows"} 1.0' in text
    assert server.output.count("run-abandoned") == 1


def test_a_stop_ends_although_a_workflow_swallows_its_cancellation(tmp_path: Path):
    write(tmp_path, {"stuck.py": MODULES["stuck.py"]})
    with running("serve", tmp_path, settings()) as server:
        assert server.post("swallows").status_code == 504
        server.process.send_signal(signal.SIGTERM)
        server.says("draining")
        threading.Event().wait(0.2)
        assert server.stop() == 128 + signal.SIGTERM
