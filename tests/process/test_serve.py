"""`postern serve` beside an authority that goes down, comes back and changes its keys."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from httpx2 import Client

from postern.local_tenant import LocalTenant, serve
from tests.process.servers import Server, running, settings_of, until

WORKFLOWS = """
import asyncio, os
from pathlib import Path
from postern import anonymous, tenant_users, workflow

@workflow(access=anonymous())
async def hello(ctx):
    return os.getpid()

@workflow(access=tenant_users())
async def guarded(ctx):
    return ctx.caller.name

@workflow(access=anonymous())
async def slow(ctx):
    Path(f"started-{os.getpid()}-{ctx.run_id}").touch()
    while not Path("go-on").exists():
        await asyncio.sleep(0.01)
    return os.getpid()
"""
QUICK_KEYS = {"POSTERN_KEYS_MAX_AGE": "1", "POSTERN_KEYS_COOLDOWN": "1"}


class Authority:
    """A tenant that can be switched on and off."""

    def __init__(self, folder: Path) -> None:
        self.tenant = LocalTenant.open(folder)
        self.address = self.tenant.authority
        self._running = ExitStack()

    def up(self) -> None:
        """Serve on the same port as ever."""
        self._running.enter_context(serve(self.tenant))
        assert self.tenant.authority == self.address

    def down(self) -> None:
        """Its port is closed."""
        self._running.close()


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    """A tenant of this test's own, which is down at first."""
    switched = Authority(tmp_path / "tenant")
    yield switched
    switched.down()


@pytest.fixture
def workflows(tmp_path: Path) -> Path:
    folder = tmp_path / "workflows"
    folder.mkdir()
    (folder / "several.py").write_text(WORKFLOWS, encoding="utf-8")
    return folder


def test_a_cold_start_without_the_authority_heals_by_itself(tmp_path: Path, workflows: Path, authority: Authority):
    """Anonymous triggers answer at once, guarded ones say 503 until the keys can be had."""
    with running("serve", tmp_path, settings_of(authority.tenant, workflows)) as server:
        token = authority.tenant.token("ada")
        assert server.post("hello").status_code == 200
        refused = server.post("guarded", token)
        assert (refused.status_code, refused.json()["code"]) == (503, "identity-unavailable")
        assert refused.headers["retry-after"].isdigit()
        assert server.post("guarded").status_code == 401
        authority.up()
        assert server.answers("guarded", 200, token).json() == "Ada Okafor"
        assert server.stop() == 0
        assert "Traceback" not in server.output


def test_an_outage_keeps_and_a_rotation_changes_who_comes_in(tmp_path: Path, workflows: Path, authority: Authority):
    """Rotated keys are taken up and revoked ones dropped without a restart; an outage leaves all as it was."""
    tenant = authority.tenant
    authority.up()
    with running("serve", tmp_path, settings_of(tenant, workflows) | QUICK_KEYS) as server:
        first = tenant.token("ada")
        server.answers("guarded", 200, first)

        tenant.rotate_signing_key()
        second = tenant.token("ada")
        server.answers("guarded", 200, second)
        assert server.post("guarded", first).status_code == 200

        tenant.rotate_signing_key(revoke=True)
        third = tenant.token("ada")
        server.answers("guarded", 401, first)
        server.answers("guarded", 401, second)
        server.answers("guarded", 200, third)

        said = len(server.output)
        authority.down()
        server.says("signing-keys-fetch-failed", after=said)
        assert server.post("guarded", third).status_code == 200
        assert server.post("guarded", tenant.token("lisa")).status_code == 200

        tenant.rotate_signing_key()
        authority.up()
        server.answers("guarded", 200, tenant.token("lisa"))
        assert "Traceback" not in server.output


def test_two_workers_share_the_work_and_stop_gracefully(tmp_path: Path, workflows: Path, authority: Authority):
    """Both answer, and each ends what it has begun before it goes."""
    authority.up()
    environ = settings_of(authority.tenant, workflows)
    with running("serve --workers 2", tmp_path, environ) as server:
        token = authority.tenant.token("ada")

        def keys_requested(trigger: str) -> int:
            """The worker that answers on a connection of its own."""
            with Client(base_url=server.address, trust_env=False, timeout=20) as client:
                return int(client.post(f"/triggers/{trigger}").text)

        workers: set[int] = set()

        def both_answered() -> bool:
            workers.add(keys_requested("hello"))
            return len(workers) == 2

        until(both_answered, what=lambda: str(workers))
        assert server.process.pid not in workers
        assert {server.answers("guarded", 200, token).status_code for _ in range(10)} == {200}

        answers: list[int] = []
        callers: list[threading.Thread] = []

        while len({worker for worker, _ in _started(tmp_path)}) < 2:
            callers.append(threading.Thread(target=lambda: answers.append(keys_requested("slow"))))
            callers[-1].start()
            until(lambda: len(_started(tmp_path)) == len(callers))
        server.client.close()  # an idle connection would be waited for
        server.process.terminate()
        until(lambda: server.output.count("draining") == 2)
        (tmp_path / "go-on").touch()
        for caller in callers:
            caller.join(10)
        assert (len(answers), set(answers)) == (len(callers), workers)
        assert server.process.wait(15) == 0
        assert "Traceback" not in server.output


def test_a_port_in_use_is_reported_with_its_setting(tmp_path: Path, workflows: Path, local_tenant: LocalTenant):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        server = Server(["serve"], tmp_path, settings_of(local_tenant, workflows) | {"POSTERN_PORT": port})
        assert server.process.wait(10) == 2
        server.close()
    assert f"port {port} on 127.0.0.1 is already in use: set POSTERN_PORT" in server.output


@pytest.mark.parametrize("command", ["dev", "serve", "serve --workers 2"])
def test_options_choose_the_address_in_place_of_the_settings(command: str, tmp_path: Path):
    (tmp_path / "workflows").mkdir()
    with running(
        f"{command} --host 127.0.0.1 --port 0", tmp_path, {"POSTERN_PORT": "1", "POSTERN_HOST": "::1"}
    ) as server:
        assert server.port > 1


@pytest.mark.parametrize("arguments", ["dev --host 0.0.0.0", "dev --port 65536", "serve --port x"])
def test_an_address_that_cannot_be_is_an_error(arguments: str, tmp_path: Path):
    server = Server(arguments.split(), tmp_path, {})
    assert server.process.wait(20) == 2
    server.close()


def test_where_every_workflow_is_anonymous_no_setting_is_needed(tmp_path: Path):
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "open.py").write_text(
        "from postern import anonymous, workflow\n\n\n@workflow(access=anonymous())\n"
        "async def hello(ctx):\n    return 1\n",
        encoding="utf-8",
    )
    with running("serve", tmp_path, {"POSTERN_PORT": "0"}) as server:
        assert server.post("hello").text == "1"


GUARDED = """
from postern import tenant_users, workflow

@workflow(access=tenant_users())
async def hello(ctx):
    return 1
"""


def started_without_settings(folder: Path) -> str:
    """What `postern serve` says where a guarded workflow needs settings that are not set, which ends it."""
    (folder / "workflows").mkdir()
    (folder / "workflows" / "guarded.py").write_text(GUARDED, encoding="utf-8")
    server = Server(["serve"], folder, {"POSTERN_PORT": "0"})
    try:
        until(lambda: server.process.poll() is not None or "listening" in server.output)
        assert server.process.poll() == 2
        assert "Traceback" not in server.output
        return server.output
    finally:
        server.close()


def test_a_guarded_workflow_without_a_tenant_stops_the_start(tmp_path: Path):
    assert "POSTERN_TENANT_ID" in started_without_settings(tmp_path)


def test_both_settings_that_a_guarded_workflow_needs_are_named_at_once(tmp_path: Path):
    assert "POSTERN_AUDIENCE" in started_without_settings(tmp_path)


def _started(folder: Path) -> set[tuple[str, str]]:
    """The worker and the run of each that has started."""
    return {(parts[1], parts[2]) for parts in (path.name.split("-", 2) for path in folder.glob("started-*-*"))}
