"""`breakpoint()` in a workflow: `postern dev` waits at its prompt, and nothing takes it for dead."""

import os
import pty
import re
import select
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from httpx2 import Client, HTTPError

from postern.local_tenant import LocalTenant
from postern.runs.breakpoints import NO_TERMINAL, ONLY_IN_DEV
from tests.process.preloaded import Process, environment
from tests.process.servers import running, settings_of, until

WORKFLOWS = """
from postern import anonymous, workflow

@workflow(access=anonymous(), timeout=0.3)
async def on_the_loop(ctx, body):
    print("before")
    breakpoint()
    seats = body["seats"] + 1
    print("after", seats)
    return seats

@workflow(access=anonymous(), timeout=0.3)
def in_a_thread(ctx, body):
    breakpoint()
    return body["seats"] + 1
"""
LONGER_THAN_THE_TIMEOUT = "import time; time.sleep(0.7)"


class Terminal:
    """`postern dev` in a terminal, and who sits there."""

    def __init__(self, folder: Path) -> None:
        (folder / "workflows").mkdir()
        (folder / "workflows" / "seats.py").write_text(WORKFLOWS, encoding="utf-8")
        self._keyboard, its = pty.openpty()
        self.process = Process(["dev"], folder, environment({"POSTERN_PORT": "0"}), its, its, its)
        os.close(its)
        self._seen = ""
        self.address = self.sees(r"http://127\.0\.0\.1:[1-9][0-9]*")
        self.sees("Ctrl-C stops the server")

    def sees(self, pattern: str) -> str:
        """What is on the screen, as soon as the pattern is there. It is not looked at again."""

        def found() -> re.Match[str] | None:
            while select.select([self._keyboard], [], [], 0.01)[0]:
                try:
                    self._seen += os.read(self._keyboard, 65536).decode()
                except OSError:  # the process has ended
                    break
            return re.search(pattern, self._seen)

        match = until(found, what=lambda: f"{pattern} in {self._seen}")
        text = self._seen[: match.end()]
        self._seen = self._seen[match.end() :]
        return str(match[0]) if match.lastindex is None else text

    def types(self, line: str) -> None:
        os.write(self._keyboard, f"{line}\n".encode())

    def answers(self, command: str) -> str:
        """What the debugger answers."""
        self.types(command)
        self.sees(re.escape(command) + r"\r\n")
        return self.sees(r"(\(Pdb\) )")

    @contextmanager
    def asked(self, trigger: str) -> Iterator[list[Any]]:
        """A request that is under way in the block, and its response afterwards."""
        responses: list[Any] = []

        def ask() -> None:
            with Client(trust_env=False, timeout=30) as client, suppress(HTTPError):  # the server may end
                responses.append(client.post(f"{self.address}/triggers/{trigger}", json={"seats": 41}))

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        yield responses
        thread.join(30)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(5)
        os.close(self._keyboard)


@contextmanager
def terminal(folder: Path) -> Iterator[Terminal]:
    sat_at = Terminal(folder)
    try:
        yield sat_at
    finally:
        sat_at.close()


def test_a_run_waits_at_its_breakpoint_and_its_timeout_with_it(tmp_path: Path):
    with terminal(tmp_path) as sat_at:
        for trigger in ("on-the-loop", "in-a-thread"):
            with sat_at.asked(trigger) as responses:
                sat_at.sees(r"Run [0-9a-f-]{36} waits here: c goes on, q ends the run, Ctrl-C stops the server\.")
                sat_at.sees(r"\(Pdb\) ")
                assert "{'seats': 41}" in sat_at.answers("p body")
                sat_at.answers(LONGER_THAN_THE_TIMEOUT)
                sat_at.types("c")
            [response] = responses
            assert (response.status_code, response.json()) == (200, 42), trigger
            screen = sat_at.sees(rf"(url.{{0,12}}=\S*/triggers/{trigger})")
            assert "event-loop-blocked" not in screen
            assert (f"[{response.headers['x-run-id'][-4:]}] after 42" in screen) is (trigger == "on-the-loop")
            assert "Pdb" not in screen
        with sat_at.asked("in-a-thread"):
            sat_at.sees(r"\(Pdb\) ")
            sat_at.process.send_signal(signal.SIGINT)
            assert sat_at.process.wait(10) == 128 + signal.SIGINT


def test_ctrl_c_leaves_a_breakpoint_on_the_loop_and_the_server_stops(tmp_path: Path):
    with terminal(tmp_path) as sat_at:
        with sat_at.asked("on-the-loop") as responses:
            sat_at.sees(r"\(Pdb\) ")
            sat_at.process.send_signal(signal.SIGINT)
        assert [response.json()["code"] for response in responses] == ["workflow-failed"]
        assert sat_at.process.wait(10) == 0


def test_without_a_terminal_and_in_a_server_it_is_an_error_of_the_run_that_says_where_it_works(
    tmp_path: Path, local_tenant: LocalTenant
):
    """Its run would wait for a person who is not there."""
    workflows = tmp_path / "workflows"
    workflows.mkdir()
    (workflows / "seats.py").write_text(WORKFLOWS, encoding="utf-8")
    for command, environ, why in (
        ("dev", {"POSTERN_PORT": "0"}, NO_TERMINAL),
        ("serve", settings_of(local_tenant, workflows), ONLY_IN_DEV),
    ):
        with running(command, tmp_path, environ) as server:
            for trigger in ("on-the-loop", "in-a-thread"):
                run_id = server.answers(trigger, 500, json={"seats": 1}).headers["x-run-id"]
                with sqlite3.connect(tmp_path / "var" / "postern.db") as database:
                    [message] = database.execute("SELECT error_message FROM runs WHERE id = ?", [run_id]).fetchone()
                database.close()
                assert message == why
