"""Grants are renewed by several server processes at a strict provider, and lose nothing: not in a race, by a kill or a
freeze, while the database is away, or by a lost acknowledgement."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psycopg
import pytest

from tests.databases import put_sqlite
from tests.postgres import new_database
from tests.process.preloaded import ROOT, environment
from tests.process.renewing import ANSWERED, SENT, TAKEN, WRITTEN, ServerProcess, Setting, processes, shown

QUICK = 2.0
"""Seconds within which it goes on by itself after a kill, on one machine that has nothing else to do."""


class Provider:
    """The strict provider in a process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.strict_provider"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment(),
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()

    def set(self, **rules: Any) -> None:
        self._say("/rules", rules)

    def accepts(self, token: str) -> bool:
        """Whether its API accepts this access token."""
        try:
            with urlopen(Request(f"{self.url}/me", headers={"Authorization": f"Bearer {token}"})) as answer:
                return bool(json.load(answer)["account"])
        except HTTPError as error:
            error.close()
            return False

    def grant(self) -> dict[str, str]:
        tokens: dict[str, str] = self._say("/grants", {})
        return tokens

    def report(self) -> dict[str, Any]:
        with urlopen(f"{self.url}/report") as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def requests(self, family: int) -> dict[str, int]:
        """Token requests of this grant by generation."""
        found = self.report()["requests"]
        return {name.partition("/")[2]: count for name, count in found.items() if name.startswith(f"{family}/")}

    def close(self) -> None:
        self._process.communicate()

    def _say(self, path: str, said: dict[str, Any]) -> Any:
        with urlopen(Request(f"{self.url}{path}", json.dumps(said).encode())) as answer:
            return json.load(answer)


@dataclass
class Scene:
    """Server processes on a database, the provider, and grants whose owners are numbered as the provider's families."""

    setting: Setting
    provider: Provider
    workers: list[ServerProcess]
    families: int = 0

    def connect(self, seconds: float = 0.01) -> tuple[int, str]:
        """A new grant whose token lives so long: its family and its owner."""
        number, self.families = self.families, self.families + 1
        tokens, owner = self.provider.grant(), f"tenant/{number}"
        stored = self.workers[0].ask("store", owner, tokens["access_token"], tokens["refresh_token"], seconds)
        assert stored == ("stored", True)
        time.sleep(min(seconds, 0.01))
        return number, owner

    @contextmanager
    def database_away(self) -> Iterator[None]:
        """Nothing can be written to the database; on PostgreSQL, grants cannot be read either."""
        url = self.setting.database_url
        if url.startswith("sqlite"):
            with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
                connection.execute("PRAGMA busy_timeout = 10000")
                connection.execute("BEGIN IMMEDIATE")
                yield
                connection.execute("ROLLBACK")
            return
        with psycopg.connect(url) as connection:
            connection.execute("LOCK TABLE grants IN ACCESS EXCLUSIVE MODE")
            yield
            connection.rollback()

    def assert_once(self, *families: int) -> int:
        """None of these was revoked, and each generation was asked for once at most. Returns how often they were
        renewed."""
        report = self.provider.report()
        asked = {name: count for name, count in report["requests"].items() if int(name.partition("/")[0]) in families}
        assert not {str(each) for each in families} & report["revoked"].keys(), shown(report)
        assert set(asked.values()) <= {1}, shown(report)
        return len(asked)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The race is run on both databases, the others in their long form only."""
    if "scene" in metafunc.fixturenames:
        both = metafunc.config.getoption("--soak") or "race" in metafunc.function.__name__
        metafunc.parametrize("scene", ["sqlite", "postgresql"] if both else ["sqlite"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One for all tests of a database."""
    folder = tmp_path_factory.mktemp("renewing")
    with ExitStack() as stack:
        if request.param == "sqlite":
            url = put_sqlite(folder / "postern.db")
        else:
            server, template = (request.getfixturevalue(name) for name in ("postgres_url", "postgres_template"))
            _, url = stack.enter_context(new_database(server, template))
        provider = Provider()
        stack.callback(provider.close)
        setting = Setting(os.fspath(folder), url, provider.url)
        setting.keys.write_text(json.dumps({"v1": "11" * 32}))
        yield Scene(setting, provider, stack.enter_context(processes(setting, 4)))


@pytest.fixture(autouse=True)
def usual_rules(scene: Scene) -> None:
    """The provider answers at once."""
    scene.provider.set(grace=0.0, slow=0.0, expires_in=3600, challenge="")


def load(scene: Scene, owners: list[str], seconds: float) -> tuple[int, float]:
    """How many tokens were handed out, and the longest wait."""
    for each in scene.workers:
        each.tell("load", owners, 50, seconds)
    found = [each.hear(seconds + 60) for each in scene.workers]
    faults = [fault for _, _, _, some, _ in found for fault in some]
    assert faults == []
    return sum(count for _, count, *_ in found), max(longest for *_, longest in found)


def test_processes_that_race_ask_once_for_each_generation(scene: Scene, campaign, capsys):
    refreshes = campaign(20, 1000)
    grants = dict(scene.connect() for _ in range(campaign(4, 10)))
    scene.provider.set(expires_in=0.3)
    handed_out = rounds = 0
    slowest = 0.0
    while (renewed := scene.assert_once(*grants)) < refreshes:
        count, longest = load(scene, list(grants.values()), campaign(2, 10))
        handed_out, rounds, slowest = handed_out + count, rounds + 1, max(longest, slowest)
        assert rounds < refreshes
    with capsys.disabled():
        print(
            f" [{renewed} refreshes, {handed_out} tokens handed out, 0 revoked, longest wait {slowest:.2f} s]", end=""
        )


def test_processes_that_race_to_answer_a_challenge_ask_once(scene: Scene, campaign):
    """Every second time one of them renews the grant without the claims in the same moment: that is no answer."""
    claims = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'
    scene.provider.set(challenge=claims)
    for number in range(campaign(4, 200)):
        family, owner = scene.connect(3600)
        _, token, _ = scene.workers[0].ask("access", owner)
        assert not scene.provider.accepts(token)
        if number % 2:
            scene.workers[0].tell("renew", owner, 1)
        for each in scene.workers:
            each.tell("challenged", owner, token, claims, 5)
        answers = set().union(*(found for _, found in (each.hear() for each in scene.workers)))
        assert [scene.provider.accepts(each) for each in answers] == [True], answers
        assert scene.assert_once(family) <= 1 + number % 2


def test_a_killed_process_ends_no_grant_that_the_provider_keeps(scene: Scene, campaign, capsys):
    """Before the request, and after the write, another process goes on at once. In between, the grant is broken if the
    provider has used the token up, with that as its reason, and nothing asks again."""
    longest, broken, done = 0.0, 0, 0
    survivor = scene.workers[0]
    for _ in range(campaign(1, 20)):
        for moment, grace in ((TAKEN, 0.0), (SENT, 0.0), (SENT, 60.0), (ANSWERED, 0.0), (WRITTEN, 0.0)):
            scene.provider.set(grace=grace, slow=0.2 if moment == SENT else 0.0)
            family, owner = scene.connect()
            with processes(scene.setting, 1) as [victim]:
                victim.tell("at", moment, signal.SIGKILL)
                victim.tell("access", owner)
                victim.died()
                scene.provider.set(slow=0.0)
                kind, what, seconds = survivor.ask("access", owner)
            used_up = moment in (SENT, ANSWERED) and not grace
            assert kind == ("broken" if used_up else "token"), (moment, what)
            assert not used_up or what == "server-stopped"
            again = survivor.ask("access", owner)
            assert again[0] == kind
            requests = scene.provider.requests(family)
            revoked = str(family) in scene.provider.report()["revoked"]
            expected = 1 if moment in (TAKEN, WRITTEN) else 2
            assert (requests["1"], revoked) == (expected, used_up), (moment, requests)
            longest, broken, done = max(longest, seconds), broken + used_up, done + 1
    assert longest <= campaign(30, QUICK)
    with capsys.disabled():
        print(f" [{done} kills, {broken} used up, the others went on within {longest:.2f} s]", end="")


def test_a_frozen_process_goes_on_where_it_was(scene: Scene, campaign):
    """Others wait for it, and ask nothing."""
    for moment in (SENT, ANSWERED, TAKEN, WRITTEN)[: campaign(1, 4)]:
        scene.provider.set(slow=0.2 if moment == SENT else 0.0)
        family, owner = scene.connect()
        frozen, other = scene.workers[:2]
        frozen.tell("at", moment, signal.SIGSTOP)
        frozen.tell("access", owner)
        _until_stopped(frozen.pid)
        other.tell("access", owner)
        time.sleep(campaign(1, 20))
        os.kill(frozen.pid, signal.SIGCONT)
        found = frozen.hear(), other.hear()
        assert [kind for kind, *_ in found] == ["token", "token"], (moment, found, scene.provider.requests(family))
        assert frozen.ask("access", owner)[:2] == other.ask("access", owner)[:2]
        assert scene.assert_once(family) == 1


def test_tokens_survive_a_database_that_is_away_after_the_answer(scene: Scene, campaign):
    family, owner = scene.connect()
    holder, other = scene.workers[:2]
    holder.tell("at", ANSWERED, 0)
    holder.tell("access", owner)
    assert holder.hear() == ("at", ANSWERED)
    with scene.database_away():
        holder.tell("go_on")
        time.sleep(campaign(1, 20))
        assert not holder.pipe.poll(0)  # nobody uses what is not written
    kind, token, _ = holder.hear()
    assert (kind, other.ask("access", owner)[:2]) == ("token", ("token", token))
    assert scene.assert_once(family) == 1


def test_tokens_survive_a_lost_acknowledgement(scene: Scene, campaign):
    """The writer's process ends after its commit, before it has said so."""
    holder, other = scene.workers[:2]
    for number in range(campaign(1, 20)):
        family, owner = scene.connect()
        marker = Path(scene.setting.folder, f"marker-{number}")
        holder.tell("unacknowledged", os.fspath(marker))
        kind, token, _ = holder.ask("access", owner)
        assert marker.exists()
        assert (kind, other.ask("access", owner)[:2]) == ("token", ("token", token))
        assert scene.assert_once(family) == 1


def test_callers_who_leave_stop_no_refresh(scene: Scene, campaign):
    """They go away, or time out, while the token endpoint takes its time: the next run has the new token."""
    scene.provider.set(slow=campaign(1, 5))
    family, owner = scene.connect()
    worker = scene.workers[0]
    assert worker.ask("leave", owner) == ("left",)
    assert worker.ask("access", owner)[0] == "token"
    assert (scene.assert_once(family), scene.provider.report()["generations"][family]) == (1, 2)


def test_a_key_that_is_rotated_under_load_fails_nothing_and_a_vault_that_is_away_says_so(scene: Scene, campaign):
    grants = dict(scene.connect() for _ in range(4))
    owners = list(grants.values())
    scene.provider.set(expires_in=0.3)
    versions = {"v1": "11" * 32}
    for number in range(2, campaign(3, 12)):
        versions[f"v{number}"] = f"{number:02x}" * 32
        for each in scene.workers:
            each.tell("load", owners, 50, 1.0)
        _replace(scene.setting.keys, json.dumps(versions))
        assert [each.hear()[3] for each in scene.workers] == [[]] * 4
    scene.provider.set(expires_in=3600)
    time.sleep(0.3)
    worker = scene.workers[0]
    good = worker.ask("access", owners[0])
    _, old = scene.connect()
    scene.setting.keys.rename(scene.setting.keys.with_suffix(".away"))
    assert worker.ask("access", owners[0])[:2] == good[:2]
    kind, fault, _ = worker.ask("access", old)
    assert (kind, "POSTERN_GRANTS_KEY_NAME cannot be read" in fault) == ("fault", True)
    scene.setting.keys.with_suffix(".away").rename(scene.setting.keys)
    assert worker.ask("access", old)[0] == "token"
    assert scene.assert_once(*grants)


def _replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def _until_stopped(process: int) -> None:
    until = time.monotonic() + 20
    while Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < until, "the process does not stop"
        time.sleep(0.01)
