"""What the kit promises to authors, seen from a project of theirs. Each promise is a test of that project."""

from pathlib import Path
from random import randrange

import pytest

from tests.testing.author_project import Outcome, run_tests

WORKFLOWS = '''
import asyncio
import contextlib
import socket
from typing import Any

from postern import Context, Retry, specific_users, tenant_users, workflow


@workflow(access=tenant_users())
async def fetch(ctx: Context) -> dict[str, str]:
    """Read something through a connection, whatever becomes of it."""
    with contextlib.suppress(Exception):
        return {"read": (await ctx.connection("shop").get("/orders")).text}
    return {"read": "nothing"}


@workflow(access=tenant_users())
async def open_socket(ctx: Context) -> str:
    with contextlib.suppress(Exception):
        socket.socket().connect(("127.0.0.1", 9))
    return "went on"


@workflow(access=tenant_users())
def look_up(ctx: Context) -> str:
    with contextlib.suppress(Exception):
        socket.getaddrinfo("example.org", 443)
    return "went on"


@workflow(access=tenant_users())
async def listen(ctx: Context) -> str:
    with contextlib.suppress(Exception):
        socket.create_server(("127.0.0.1", 0))
    return "went on"


@workflow(access=tenant_users())
async def read_secret(ctx: Context) -> int:
    with contextlib.suppress(Exception):
        return len(await ctx.secret("shop-key"))
    return 0


@workflow(access=specific_users("lisa", agents=False))
async def count(ctx: Context) -> int:
    ctx.log.info("counted", fruit="pear")
    return await ctx.step(flaky, [], retry=Retry(count=3))


def flaky(seen: list[int]) -> int:
    """It fails twice."""
    CALLS.append(1)
    if len(CALLS) % 3:
        raise ConnectionError("not yet")
    return 3


CALLS: list[int] = []


@workflow(schedule="0 7 * * MON-FRI", timezone="Europe/Madrid", on_failure="tell")
async def report(ctx: Context) -> str:
    if ctx.request.headers.get("Postern-Scheduled-Time", "").startswith("2026-03-31"):
        raise ValueError("no figures")
    return f"{ctx.caller.kind} {ctx.caller.name}"


@workflow(access=tenant_users(), on_failure="tell")
async def break_down(ctx: Context) -> None:
    raise RuntimeError("broken")


@workflow(access=specific_users("lisa"))
async def tell(ctx: Context, failure: dict[str, Any]) -> str:
    return (await ctx.connection("shop").post("/failures")).text


@workflow(access=tenant_users(), timeout=100)
async def nap(ctx: Context) -> str:
    await asyncio.sleep(50)
    return "slept"
'''

TOML = """
[connections.shop]
base_url = "https://shop.example/v1"
auth = {type = "api_key", header = "X-Key", key = {key_vault = "shop-key"}}
"""

TESTS = """
import socket

import pytest
from postern.testing import app, call, clock, connections, nobody, runs, secrets, start, user


def test_a_call_without_a_stub():
    call("fetch", as_="lisa")


def test_it_is_caught_by_the_workflow_and_fails_the_test_all_the_same():
    assert call("fetch", as_="lisa").json() == {"read": "nothing"}


def test_a_stub():
    connections["shop"].get("/orders").replies("two")
    assert call("fetch", as_="lisa").json() == {"read": "two"}
    (sent,) = connections["shop"].calls
    assert (sent.method, sent.path, sent.text) == ("GET", "/orders", "")


def test_stubs_of_another_test_are_gone():
    assert connections["shop"].calls == []
    call("fetch", as_="lisa")


def test_a_failure_and_then_a_reply():
    connections["shop"].get("/orders").fails("connect", times=2, then="at last")
    assert call("fetch", as_="lisa").json() == {"read": "at last"}


def test_a_connection_that_is_not_there():
    with pytest.raises(KeyError, match="connections.stop.*it has .*shop"):
        connections["stop"]


def test_connect():
    call("open-socket", as_="lisa")


def test_look_up():
    call("look-up", as_="lisa")


def test_listen():
    call("listen", as_="lisa")


def test_connect_in_the_test_itself():
    call("count", as_="lisa")
    socket.create_connection(("127.0.0.1", 9), 1)


def test_a_test_without_the_kit_may_use_the_network():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        socket.create_connection(listener.getsockname()).close()


def test_a_secret_that_is_not_set():
    call("read-secret", as_="lisa")


def test_a_secret():
    secrets["shop-key"] = "abc"
    assert call("read-secret", as_="lisa").json() == 3
    assert "abc" not in repr(secrets)


async def test_in_a_coroutine():
    assert call("count", as_="lisa").status == 200


@pytest.mark.parametrize("number", [1, 2])
async def test_in_a_coroutine_with_fixtures(number, tmp_path):
    assert tmp_path.exists()
    assert call("count", as_="lisa").status == 200


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.anyio
async def test_that_another_plug_in_runs(anyio_backend_name):
    assert call("count", as_="lisa").status == 200


def test_the_record():
    counted = call("count", as_="lisa")
    assert counted.run.state == "Succeeded"
    (step,) = counted.steps
    assert (step.name, len(step.attempts)) == ("flaky", 3)
    assert counted.log[0]["event"] == "counted"
    assert counted.log[0]["fruit"] == "pear"
    assert [run.id for run in runs()] == [counted.run.id]


def test_the_records_of_other_tests_are_not_seen():
    assert runs() == []


REFUSED = [
    (user("ada"), "listed"),
    (user("lisa", expired=True), "expiry"),
    (user("lisa", wrong_audience=True), "audience"),
    (user("lisa", wrong_audience="api://another"), "audience"),
    (user("lisa", other_tenant=True), "known-tenant"),
    (user("lisa", iss="https://login.example/"), "issuer"),
    (user("lisa", oid=None), "object-id"),
    (user("lisa", agent=True), "no-agents"),
    (app("erp", agent=True), "no-agents"),
    (app("erp"), "listed"),
    (nobody(), "credentials"),
]


@pytest.mark.parametrize(("who", "why"), REFUSED)
def test_a_refusal(who, why):
    refused = call("count", as_=who)
    assert (refused.status, refused.refused, refused.run) == (401, why, None)


def test_a_wrong_audience_fails_the_test_of_an_author():
    assert call("count", as_=user("lisa", wrong_audience=True)).status == 200


def test_a_key_is_of_one_test_1():
    assert "idempotent-replayed" not in call("count", as_="lisa", key="order-1").headers
    assert "idempotent-replayed" in call("count", as_="lisa", key="order-1").headers


def test_a_key_is_of_one_test_2():
    assert "idempotent-replayed" not in call("count", as_="lisa", key="order-1").headers


def test_the_clock():
    napping = start("nap", as_="lisa")
    clock.advance("1m")
    assert napping.result().json() == "slept"


def test_expiry():
    token = call("count", as_=user("lisa", exp=int(clock.now.timestamp()) + 600))
    assert token.status == 200
    clock.advance("2h")
    assert call("count", as_=user("lisa", exp=int(clock.now.timestamp()) - 600)).refused == "expiry"


def test_a_schedule():
    connections["shop"].post("/failures").replies("noted")
    clock.start_at("2026-03-27T05:00:00Z")  # a Friday
    assert runs("report") == []
    clock.advance("4d")  # over a weekend, in which the clocks change
    assert [run.started_at[:16] for run in runs("report")] == [
        "2026-03-31T05:00", "2026-03-30T05:00", "2026-03-27T06:00"
    ]
    assert [run.state for run in runs("report")] == ["Failed", "Succeeded", "Succeeded"]
    assert [run.caller.kind for run in runs("report")[:1] + runs("tell")] == ["schedule", "failure"]


def test_what_a_failure_starts():
    connections["shop"].post("/failures").replies("noted")
    failed = call("break-down", as_="lisa")
    (told,) = runs("tell")
    assert (failed.status, told.state) == (500, "Succeeded")
    assert told.caller.kind == "failure"


def test_what_a_failure_starts_is_of_this_test():
    call("break-down", as_="lisa")


def test_no_such_workflow():
    assert call("nope", as_="lisa").refused == "unknown-trigger"


def test_two_bodies():
    with pytest.raises(ValueError, match="one body"):
        call("count", as_="lisa", json=1, data=b"2")
"""

HUNDRED = """
import pytest
from postern.testing import call, connections, user


@pytest.mark.parametrize("number", range(100))
def test_of_a_hundred(number):
    if number % 2:
        connections["shop"].get("/orders").replies(str(number))
        assert call("fetch", as_=user("lisa")).json() == {"read": str(number)}
    else:
        assert call("count", as_=user("ada")).refused == "listed"
"""

NOTED = """
import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def noted(request):
    yield
    with Path(f"order-{os.environ['PYTEST_XDIST_WORKER']}").open("a") as order:
        order.write(f"{request.node.name}\\n")
"""

TWELVE = """
import pytest
from postern.testing import call, clock, connections, runs


@pytest.mark.parametrize("number", range(12))
def test_of_twelve(number):
    assert runs() == []
    connections["shop"].get("/orders").replies(str(number))
    fetched = call("fetch", as_="lisa", key="of-all")
    assert fetched.json() == {"read": str(number)}
    assert "idempotent-replayed" not in fetched.headers
    if number % 4 == 0:
        clock.advance("1d", schedules=False)
    assert [run.id for run in runs("fetch")] == [fetched.run.id]
"""

PASTE = 'connections["shop"].get("/orders").replies({...})'

FAIL = {
    "test_a_call_without_a_stub": [PASTE],
    "test_it_is_caught_by_the_workflow_and_fails_the_test_all_the_same": [PASTE],
    "test_stubs_of_another_test_are_gone": [PASTE],
    "test_connect": ["connects to 127.0.0.1:9", "workflows/shop.py:2"],
    "test_look_up": ["looks up example.org:443", "workflows/shop.py:2"],
    "test_listen": ["listens at 127.0.0.1:0", "workflows/shop.py:3"],
    "test_connect_in_the_test_itself": ["looks up 127.0.0.1:9", "test_promises_of_the_kit.py"],
    "test_what_a_failure_starts_is_of_this_test": ['connections["shop"].post("/failures").replies({...})'],
    "test_a_secret_that_is_not_set": ['secrets["shop-key"] = "..."'],
    "test_a_wrong_audience_fails_the_test_of_an_author": ["401"],
}
"""The tests that fail, and what their texts have."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the project."""
    made = project(tmp_path_factory.mktemp("author"), promises_of_the_kit=TESTS, hundred=HUNDRED, twelve=TWELVE)
    (made / "tests/conftest.py").write_text(NOTED, "utf-8")
    return made


@pytest.fixture(scope="module")
def outcome(folder: Path) -> Outcome:
    """The project's tests: in random order, in four processes."""
    return run_tests(folder, "-n", "4", f"--randomly-seed={randrange(10**6)}")


def project(folder: Path, **tests: str) -> Path:
    """The author's project with these tests."""
    files = {"workflows/shop.py": WORKFLOWS, "postern.toml": TOML}
    files |= {f"tests/test_{name}.py": text for name, text in tests.items()}
    files[".env"] = "POSTERN_TENANT_ID=99999999-9999-9999-9999-999999999999\n"
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return folder


pytestmark = pytest.mark.process


def test_four_processes_share_the_tests_in_any_order_and_disturb_none_of_them(outcome: Outcome, folder: Path):
    """Each has an application and a database of its own: a key, a stub or a clock of one is not seen by another."""
    assert sum(text == "passed" for name, text in outcome.tests.items() if name.startswith("test_of_twelve")) == 12
    taken = [each.read_text().splitlines() for each in sorted(folder.glob("order-gw*"))]
    assert len(taken) == 4
    assert sorted(name for each in taken for name in each) == sorted(outcome.tests), outcome.printed


def test_every_promise_holds_in_random_order_and_in_four_processes(outcome: Outcome):
    assert set(outcome.failed) == set(FAIL), outcome.printed


@pytest.mark.parametrize("name", FAIL)
def test_a_failure_says_what_to_write(outcome: Outcome, name: str):
    for text in FAIL[name]:
        assert text in outcome.tests[name]


def test_a_hundred_tests_pass(outcome: Outcome):
    assert sum(text == "passed" for name, text in outcome.tests.items() if name.startswith("test_of_a_hundred")) == 100


def test_no_token_is_printed(outcome: Outcome):
    assert "eyJ" not in outcome.printed
