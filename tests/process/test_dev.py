"""A new user's afternoon with `postern dev`."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Client

from postern.cli.workspace import STATE_FOLDER
from postern.local_tenant import LocalTenant
from tests.process.preloaded import program
from tests.process.servers import ROOT, Server, environment, running, until

WORKFLOW = """
from postern import anonymous, workflow

@workflow(access=anonymous(){more})
async def {name}(ctx):
    return {answer!r}
"""

FAILS = """
from postern import anonymous, workflow


def pay(amount):
    if amount > 9:
        raise ValueError(f"no money for {amount}")

@workflow(access=anonymous())
async def fails(ctx):
    pay(12)
"""
ORDER = """
from pydantic import BaseModel, Field
from postern import specific_users, tenant_users, workflow

class Order(BaseModel):
    number: str = Field(pattern="^[A-Z]-[0-9]{2}$")

@workflow(access=ACCESS, path="/{shop}")
async def orders(ctx, order: Order, shop: str):
    return order
"""
ORDERS = {
    "ada": ORDER.replace("ACCESS", "tenant_users()"),
    "nightly-report": ORDER.replace("ACCESS", "tenant_users(roles=['Workflow.Run'])"),
}

SHOWN = {
    "hello": "Hello from Postern",
    "payroll": "Lisa Moreau",
    "book-room": '"room":1',
    "register-visitor": '"badge":"V-007"',
}
"""What comes of the commands in the docs."""


def write(server: Server, file: str, name: str, answer: str = "here", more: str = "") -> Path:
    path = server.folder / "workflows" / file
    path.write_text(WORKFLOW.format(name=name, answer=answer, more=more), encoding="utf-8")
    return path


def test_the_consoles_address_comes_first_and_ada_signs_in_there_by_one_click(dev: Server):
    """Over real http, with the cookies of a browser, and no code in the log."""
    address = f"{dev.address}/console"
    assert re.search(r"^(Console: \S+|workflow .*)$", dev.output, re.MULTILINE)[1] == f"Console: {address}"  # type: ignore[index]
    dev.says("console-on")
    with Client(trust_env=False, timeout=20, headers={"accept": "text/html"}) as browser:
        at_entra = browser.get(address).headers["location"]
        at_entra = browser.get(dev.address + at_entra).headers["location"]
        callback = browser.post(at_entra, data={"person": "ada"}).headers["location"]
        assert callback.startswith(f"{address}/callback?code=")
        assert browser.get(callback).headers["location"] == "/console"
        page = browser.get(f"{address}/sessions")
        assert (page.status_code, "Ada Okafor" in page.text) == (200, True)
    code = callback.partition("code=")[2].partition("&")[0]
    dev.says("signed-in")
    assert code not in dev.output
    assert '"url":"/console/callback"' in dev.output


def test_the_table_lists_the_examples_with_url_and_access(dev: Server):
    dev.says("Ctrl-C stops")
    rows = dict(re.findall(rf"^(\S+) +POST +({re.escape(dev.address)}/triggers/\S+ .*?) *$", dev.output, re.MULTILINE))
    assert {name: re.split(r" {2,}", row, maxsplit=1)[1] for name, row in rows.items()} == {
        "book-desk": "tenant_users",
        "book-room": "tenant_users(apps=no)",
        "find-people": "tenant_users",
        "hello": "anonymous (open to anyone)",
        "issue-badge": "specific_users(postern)",
        "my-profile": "tenant_users(apps=no)",
        "order-laptop": "tenant_users(apps=no)",
        "payroll": "specific_users(lisa)",
        "register-visitor": "anonymous (open to anyone)",
        "request-leave": "tenant_users(apps=no)",
        "whoami": "tenant_users",
    }
    assert f"{dev.address}/triggers/book-room/rooms/{{room}}" in dev.output


def test_it_says_that_it_is_alive_and_nothing_else(dev: Server):
    answer = dev.client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_the_anonymous_example_answers_anyone(dev: Server):
    assert dev.post("hello").json() == {"message": "Hello from Postern"}


def test_only_lisa_runs_the_payroll(dev: Server, tenant: LocalTenant):
    answers = [dev.post("payroll", token) for token in ("", tenant.token("ada"), tenant.token("lisa"))]
    assert [answer.status_code for answer in answers] == [401, 401, 200]
    assert answers[0].headers["www-authenticate"] == "Bearer"
    assert tenant.people["ada"] in answers[1].headers["www-authenticate"]
    assert answers[2].json() == {"paid": 12, "by": "Lisa Moreau"}


def test_an_application_gets_its_own_identity(dev: Server, tenant: LocalTenant):
    answer = dev.post("whoami", tenant.token("nightly-report")).json()
    assert (answer["kind"], answer["object_id"]) == (
        "application",
        tenant.applications["nightly-report"].object_id,
    )


def test_a_room_is_booked_by_a_typed_body_and_path(dev: Server, tenant: LocalTenant):
    def book(who: str, room: str, **body: Any) -> Any:
        return dev.post(f"book-room/rooms/{room}", tenant.token(who), json=body)

    good = {"start": "2026-12-01T09:00:00Z", "minutes": 30}
    booked = book("ada", "7", **good)
    assert booked.status_code == 201
    assert booked.json() == {
        "room": 7,
        "start": "2026-12-01T09:00:00Z",
        "end": "2026-12-01T09:30:00Z",
        "by": "Ada Okafor",
    }
    refused = [book("ada", "seven", **good), book("ada", "99", **good), book("ada", "7", start="soon", minutes=1)]
    codes = [(answer.status_code, answer.json()["code"]) for answer in refused]
    assert codes == [(400, "invalid-path"), (404, "workflow-problem"), (400, "invalid-body")]
    assert [mistake["where"] for mistake in refused[2].json()["errors"]] == ["/start", "/minutes"]
    assert book("nightly-report", "7", **good).status_code == 401


def test_people_are_found_through_the_local_vault_and_directory(dev: Server, tenant: LocalTenant):
    found = dev.post("find-people", tenant.token("ada"), json={"name": "Lisa"})
    assert found.json() == [{"id": tenant.people["lisa"], "name": "Lisa Moreau"}]


def test_a_dropped_file_answers_at_once_until_it_is_removed(dev: Server, capsys: pytest.CaptureFixture[str]):
    """New, broken, mended and removed while the server runs; a fault keeps the version that worked."""
    began = time.monotonic()
    path = write(dev, "visits.py", "visits", "first")
    assert dev.answers("visits", 200).json() == "first"
    took = time.monotonic() - began
    with capsys.disabled():
        print(f" [a dropped file answers after {took:.2f} s]", end="")

    said = len(dev.output)
    path.write_text("from postern import workflow\n\n\ndef oops(:\n", encoding="utf-8")
    dev.says(
        rf'workflow-fault.*{re.escape(str(path))}.*"line":4.*SyntaxError.*"still_serving":\["visits"\]', after=said
    )
    assert dev.post("visits").json() == "first"

    write(dev, "visits.py", "visits", "second")
    until(lambda: dev.post("visits").json() == "second")
    path.unlink()
    assert dev.answers("visits", 404).json()["code"] == "unknown-trigger"


def test_two_workflows_of_one_name_are_a_fault_of_both_files(dev: Server):
    said = len(dev.output)
    paths = [write(dev, file, file.removesuffix(".py"), more=", name='twin'") for file in ("one.py", "two.py")]
    for path in paths:
        dev.says(rf"workflow-fault.*{re.escape(str(path))}", after=said)
    for path in paths:
        path.unlink()
    dev.answers("twin", 404)


def test_an_exception_shows_its_message_and_traceback_with_the_request(dev: Server, tenant: LocalTenant):
    """In the log of `postern dev`, and for operators on the run's record. The caller sees nothing of it."""
    path = dev.folder / "workflows" / "fails.py"
    path.write_text(FAILS, encoding="utf-8")
    answer = dev.answers("fails", 500)
    run_id = answer.headers["x-run-id"]
    path.unlink()
    trace = f'File "{path}", line 7, in pay'
    line = json.loads(dev.says(rf".*workflow-failed.*{run_id}.*"))
    assert (line["method"], line["url"], line["error"]) == ("POST", "/triggers/fails", "ValueError: no money for 12")
    assert line["caller"] == "anonymous"
    assert line["exception"].splitlines()[1].strip().startswith(f'File "{path}", line 11, in fails')
    assert trace in line["exception"]
    records = [
        dev.client.get(f"/runs/{run_id}", headers=headers).json()["error"]
        for headers in ({"Authorization": f"Bearer {tenant.token('ada')}"}, {})
    ]
    assert (records[0]["message"], trace in records[0]["traceback"]) == ("no money for 12", True)
    assert records[1] == {"type": "ValueError", "message": None}
    assert "no money" not in answer.text
    shown = paste(dev, f"postern runs show {run_id}")
    assert "ValueError: no money for 12" in shown
    assert trace in shown


VALIDATES = """
from pydantic import BaseModel, field_validator
from postern import Context, anonymous, workflow

class Order(BaseModel):
    amount: int

    @field_validator("amount")
    @classmethod
    def check(cls, amount: int) -> int:
        raise KeyError(f"no price for {amount}")

@workflow(access=anonymous())
async def validates(ctx: Context, order: Order) -> int:
    return order.amount
"""


def test_an_exception_of_a_validator_shows_its_message_and_traceback(dev: Server):
    """No run has started by then. The caller sees nothing of it."""
    path = dev.folder / "workflows" / "validates.py"
    path.write_text(VALIDATES, encoding="utf-8")
    until(lambda: dev.post("validates", json={"amount": 12}).status_code == 500, 30)
    answer = dev.post("validates", json={"amount": 12})
    path.unlink()
    line = json.loads(dev.says(rf".*workflow-failed.*{answer.json()['request_id']}.*"))
    assert (line["method"], line["url"]) == ("POST", "/triggers/validates")
    assert "KeyError: 'no price for 12'" in line["error"]
    assert f'File "{path}", line 11, in check' in line["exception"]
    assert "no price" not in answer.text


def test_each_request_leaves_one_line(dev: Server):
    """The lines of earlier requests may still come meanwhile, so these have a mark."""
    answer = dev.post("hello?mark=1&sig=SECRET")
    dev.client.get("/openapi.json?mark=1")
    dev.says(r"/openapi\.json\?mark=1")
    lines = [json.loads(line) for line in dev.output.splitlines() if "mark=1" in line]
    found = [(line["event"], line["method"], line["url"], line["status"], line.get("run_id")) for line in lines]
    assert found == [
        ("request", "POST", "/triggers/hello?mark=1&sig=%5Bredacted%5D", 200, answer.headers["x-run-id"]),
        ("request", "GET", "/openapi.json?mark=1", 200, None),
    ]
    assert all(line["duration_ms"] > 0 for line in lines)


def test_the_commands_that_it_prints_work(dev: Server):
    """Each is pasted into a shell as it is."""
    printed = try_it(dev, started=True)
    assert len(printed) == 5
    assert "Hello from Postern" in printed[0]
    assert printed[1].startswith("HTTP/1.1 401")
    assert printed[2].count(".") == 2
    assert "Lisa Moreau" in printed[3]
    assert "Lisa Moreau" in printed[4]


def try_it(server: Server, *, started: bool = False) -> list[str]:
    """What the printed commands print."""
    server.says("Ctrl-C stops")
    section = server.output.split("Try it, in another terminal:\n")[1].split("\n\n")[0]
    commands = [line.partition("  # ")[0].strip() for line in section.splitlines()]
    return [paste(server, command.replace("curl", "curl -s", 1), started=started) for command in commands]


@pytest.mark.parametrize("who", ["ada", "nightly-report"])
def test_the_commands_are_for_the_workflows_that_are_there_and_for_callers_who_may_call_them(tmp_path: Path, who: str):
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "orders.py").write_text(ORDERS[who], encoding="utf-8")
    with running("dev", tmp_path, {"POSTERN_PORT": "0"}) as server:
        printed = try_it(server)
        assert "hello" not in server.output.partition("Try it")[2]
        assert printed[0].startswith("HTTP/1.1 401")
        assert printed[2] == '{"number":"A-00"}'
        assert json.loads(printed[3]) == {"number": "A-00"}
        page = server.client.get("/docs").text
        assert f"token --as {who})" in page


def test_without_workflows_it_says_how_to_make_one(tmp_path: Path):
    (tmp_path / "workflows").mkdir()
    with running("dev", tmp_path, {"POSTERN_PORT": "0"}) as server:
        server.says("Ctrl-C stops")
        assert "There is no workflow to call yet" in server.output
        assert "new my-workflow" in server.output
        assert "curl" not in server.output


def test_the_docs_show_every_workflow_with_commands_that_work(dev: Server):
    page = dev.client.get("/docs").text
    commands = [unescape(command) for command in re.findall(r"<code>(curl .*?)</code>", page, re.DOTALL)]
    assert len(commands) == 11
    printed = [paste(dev, command.replace("curl", "curl -s -i", 1)) for command in commands]
    assert [text.splitlines()[0] for text in printed if not text.startswith(("HTTP/1.1 20", "HTTP/1.1 424"))] == []
    (number,) = [number for number, text in enumerate(printed) if text.startswith("HTTP/1.1 424")]
    assert "/triggers/my-profile" in commands[number]  # ada has not connected it
    for name, expected in SHOWN.items():
        number = next(number for number, each in enumerate(commands) if f"/triggers/{name}" in each)
        assert expected in printed[number], name


def test_the_commands_of_the_readme_work(dev: Server):
    """Its console blocks are pasted into one empty shell, in order. Only the port is another one: `make run` is this
    server. Each command succeeds, or is the one that shows a rejected request, and prints what the README shows."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```console\n(.*?)```", readme, re.DOTALL) for line in block.splitlines()]
    assert lines.pop(0) == "$ make run"
    shown: list[tuple[str, list[str]]] = []
    for line in lines:
        if line.startswith("$ "):
            shown.append((line[2:], []))
        else:
            shown[-1][1].append(line)
    commands = [command for command, _ in shown]
    assert sum("curl" in command for command in commands) >= 4
    assert sum("postern" in command for command in commands) >= 7
    printed = paste_all(dev, commands)
    for (command, expected), (output, code) in zip(shown, printed, strict=True):
        assert code == (1 if command.startswith('postern explain "$REQUEST_ID"') else 0), (command, output)
        for text in expected:
            assert re.search(".*".join(map(re.escape, text.split("…"))), output), (command, output)
    assert "credentials" in printed[-1][0]  # the request that is explained had no token


def paste_all(dev: Server, commands: list[str]) -> list[tuple[str, int]]:
    """What each command prints in one shell in the user's folder, and its exit code."""
    programs = dev.folder / ".venv" / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    passed = [program(programs / "postern")]
    if shutil.which("curl") is None:
        curl = f"{shlex.quote(sys.executable)} {Path(__file__).parent / 'curl.py'}"
        (programs / "curl").write_text(f'#!/bin/sh\nexec {curl} "$@"\n', encoding="utf-8")
        (programs / "curl").chmod(0o755)
    end = "-- end of command --"
    script = ["set -uo pipefail"]
    for command in commands:
        script += [command.replace("http://127.0.0.1:8080", dev.address), f'echo "{end} $?"']
    env = environment({} if shutil.which("curl") else {"PATH": f"{programs}:{os.environ['PATH']}"})
    shell = ["bash", "-c", "\n".join(script)]
    done = subprocess.run(shell, cwd=dev.folder, env=env, capture_output=True, text=True, timeout=60, pass_fds=passed)
    assert "Traceback" not in done.stderr
    found = re.findall(rf"(.*?){end} (\d+)\n", done.stdout, re.DOTALL)
    assert len(found) == len(commands), done.stderr
    return [(output, int(code)) for output, code in found]


def paste(dev: Server, command: str, *, started: bool = False) -> str:
    """What a command prints in a shell in the user's folder. `started`: each `postern` starts Python, as it says."""
    postern = dev.folder / ".postern"
    passed = [program(postern)]
    command = command.replace("http://127.0.0.1:8080", dev.address)
    if shutil.which("curl") is None:
        command = command.replace("curl ", f"{shlex.quote(sys.executable)} {Path(__file__).parent / 'curl.py'} ", 1)
    if not started:
        command = command.replace(f"{shlex.quote(sys.executable)} -m postern ", "postern ")
    command = re.sub(r"(?<![\w-])(?<!-m )(\.venv/bin/)?postern (?=[a-z])", f"{postern} ", command)
    shell = ["bash", "-c", command]
    env = environment()
    done = subprocess.run(shell, cwd=dev.folder, env=env, capture_output=True, text=True, timeout=20, pass_fds=passed)
    assert "Traceback" not in done.stderr
    return done.stdout


def test_a_second_server_in_one_folder_is_refused_until_the_first_has_ended(tmp_path: Path):
    """Even if the first one was killed. The tokens of the first one go on working."""
    (tmp_path / "workflows").mkdir()
    shutil.copy(ROOT / "workflows" / "whoami.py", tmp_path / "workflows")
    with running("dev", tmp_path, {"POSTERN_PORT": "0"}) as first:
        for port in ("0", str(first.port)):
            second = Server(["dev", "--port", port], tmp_path, {})
            assert second.process.wait(20) == 2
            assert f"is running at {first.address} (process {first.process.pid})" in second.output
            assert "in another folder" in second.output
            second.close()
        assert first.post("whoami", LocalTenant.open(tmp_path / STATE_FOLDER).token("ada")).status_code == 200
        first.process.kill()
        first.process.wait(20)
        with running("dev", tmp_path, {"POSTERN_PORT": "0"}):
            pass


def test_a_request_in_flight_gets_its_answer_when_the_server_stops(tmp_path: Path):
    """SIGTERM: what has begun is ended, then the process is gone with exit code 0."""
    folder = tmp_path / "workflows"
    folder.mkdir()
    (folder / "slow.py").write_text(SLOW, encoding="utf-8")
    with running("dev", tmp_path, {"POSTERN_PORT": "0"}) as server:
        answers: list[int] = []
        caller = threading.Thread(target=lambda: answers.append(server.post("slow").status_code))
        caller.start()
        until(lambda: (tmp_path / "started").exists())
        server.process.terminate()
        server.says("draining")
        (tmp_path / "go-on").touch()
        caller.join(10)
        assert answers == [200]
        assert server.process.wait(10) == 0
        assert "Traceback" not in server.output


SLOW = """
import asyncio
from pathlib import Path
from postern import anonymous, workflow

@workflow(access=anonymous())
async def slow(ctx):
    Path("started").touch()
    while not Path("go-on").exists():
        await asyncio.sleep(0.01)
"""
