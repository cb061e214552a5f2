"""List and record in the console, the run API and the command say the same of each run, while servers are killed."""

import json
import re
import time
from pathlib import Path
from random import Random

from httpx2 import Client

from postern.cli.workspace import STATE_FOLDER
from postern.local_tenant import LocalTenant
from tests.ports import free_port
from tests.process.commands import command
from tests.process.load import calling, folder_of_workflows
from tests.process.servers import Server, running, until

ROW = re.compile(r'<tr class="(\w+)"><td>.*?/console/runs/([0-9a-f-]{36})"', re.DOTALL)
HEADING = re.compile(r"<h1>.*?#s-(\w+)", re.DOTALL)
GOING_ON = {"Running", "Waiting"}
LISTED = 50
LOOKED_AT = 5


class Books:
    """What was said of runs so far. An ended run does not change, and no ended run goes on."""

    def __init__(self) -> None:
        self.ended: dict[str, str] = {}
        self.compared = 0

    def add(self, who: str, said: dict[str, str]) -> None:
        """Compare what one of them says with what the others said before."""
        for run_id, state in said.items():
            known = self.ended.get(run_id)
            assert known in (None, state), f"{run_id} was {known}, and {who} says {state}"
            self.compared += known is not None
            if state not in GOING_ON:
                self.ended[run_id] = state


def signed_in(server: Server) -> Client:
    """A browser in which ada has signed in."""
    browser = Client(base_url=server.address, trust_env=False, timeout=20)
    began = browser.get("/console/sign-in")
    browser.get(browser.post(began.headers["location"], data={"person": "ada"}).headers["location"])
    return browser


def in_list(browser: Client) -> dict[str, str]:
    page = browser.get("/console/runs").raise_for_status().text
    return {run_id: state for state, run_id in ROW.findall(page)}


def in_api(server: Server, token: str) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {token}"}
    found = server.client.get("/runs", params={"limit": LISTED}, headers=headers).raise_for_status().json()
    return {run["id"]: run["state"] for run in found["runs"]}


def in_command(folder: Path) -> dict[str, str]:
    printed = command(folder, "runs", "--json", "--limit", str(LISTED), "--as", "ada")
    assert printed.returncode == 0, printed.stderr
    return {run["id"]: run["state"] for run in json.loads(printed.stdout)["runs"]}


def on_record(browser: Client, run_id: str) -> str:
    page = browser.get(f"/console/runs/{run_id}").raise_for_status().text
    found = HEADING.search(page)
    assert found, page
    return found[1]


def test_list_record_api_and_command_agree_during_kills(tmp_path, campaign, capsys):
    random, kills, books = Random(time.time_ns()), campaign(1, 40), Books()
    folder_of_workflows(tmp_path)
    environ = {"POSTERN_PORT": str(free_port())}
    browser: Client | None = None
    token = ""
    with calling(4) as callers:
        for kill in range(kills + 1):
            with running("dev", tmp_path, environ) as server:
                if browser is None:
                    browser = signed_in(server)
                    token = LocalTenant.open(tmp_path / STATE_FOLDER).token("ada", roles=["Postern.Operator"])
                callers.go_to(server.port)
                callers.wait_for(random.randrange(1, 100), server)
                listed = in_list(browser)
                books.add("the list", listed)
                books.add("the API", in_api(server, token))
                for run_id in random.sample(sorted(listed), min(LOOKED_AT, len(listed))):
                    books.add("the record", {run_id: on_record(browser, run_id)})
                if kill < kills:
                    server.process.kill()
                    server.process.wait(10)
                    continue
                callers.stop()
                until(lambda: not GOING_ON & set(in_api(server, token).values()))  # noqa: B023
                everywhere = [in_list(browser), in_api(server, token), in_command(tmp_path)]
                assert everywhere[0] == everywhere[1] == everywhere[2]
                books.add("all", everywhere[0])
    assert browser is not None
    browser.close()
    assert books.compared > LOOKED_AT
    with capsys.disabled():
        print(f" [{kills} kills, {len(books.ended)} runs, {books.compared} times compared]", end="")
