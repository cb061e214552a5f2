"""The image, performed step by step in an empty root: what is in it, how it runs, and what it cannot do."""

import json
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import httpx2
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.container.empty_root import PROJECT, start
from deploy.container.stand_in import pip_cache
from postern.local_tenant import LocalTenant
from postern.version import own_version
from tests.deploy.image import WHEELS, built_image, known_wheels, run_in
from tests.deploy.peer import OWNER, SERVER, ask, compose_database
from tests.ports import free_port
from tests.process.servers import settings_of, until

pytestmark = pytest.mark.process

LOCKS = PROJECT / "deploy/container"
VAR = "volumes/srv-postern-var"
PLACE = "/srv/postern/workflows"
WORKFLOWS = """
from postern import anonymous, tenant_users, workflow

@workflow(access=anonymous())
async def open_trigger(ctx):
    return {"open": True}

@workflow(access=tenant_users())
async def guarded_trigger(ctx):
    return {"caller": ctx.caller.object_id}
"""
WHERE_CAN_IT_WRITE = """
import errno, json, os
found = {}
for folder, _, _ in os.walk("/"):
    if folder == "/proc" or folder.startswith("/proc/"):
        continue
    try:
        os.mkdir(os.path.join(folder, "made"))
        os.rmdir(os.path.join(folder, "made"))
        found.setdefault("written", []).append(folder)
    except OSError as error:
        found.setdefault(errno.errorcode[error.errno], []).append(folder)
print(json.dumps(found))
"""


@pytest.fixture(scope="session")
def image() -> Iterator[Path]:
    """One build for all of these tests."""
    with built_image() as folder:
        yield folder


@pytest.fixture(scope="session")
def tree(image: Path) -> Path:
    """The file system of the image."""
    return image / "root"


class Running:
    """The entry point in the image, with a port of its own and the local tenant's keys."""

    def __init__(
        self, image: Path, mounted: Path, environment: Mapping[str, str], more: Mapping[Path, str] | None = None
    ) -> None:
        self.port = free_port()
        self.environment = {**environment, "POSTERN_PORT": str(self.port)}
        entrypoint = json.loads((image / "image.json").read_text("utf-8"))["entrypoint"]
        self._log = mounted / "log"
        with self._log.open("wb") as log:
            command = start(image, entrypoint, self.environment, {mounted: PLACE, **(more or {})})
            self.process = subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=log)
        self.client = httpx2.Client(base_url=f"http://127.0.0.1:{self.port}", trust_env=False)

    def close(self) -> None:
        """End it, if it has not ended."""
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    @property
    def log(self) -> str:
        """All that it has said."""
        return self._log.read_text("utf-8")

    @property
    def pid(self) -> int:
        """The server's own process, as this machine numbers it."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text("ascii")
        return int(children.split()[0])

    def answers(self) -> bool:
        """Whether it serves by now."""
        assert self.process.poll() is None, self.log
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx2.TransportError:
            return False


@pytest.fixture(scope="session")
def running(image: Path, local_tenant: LocalTenant, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The server, with a folder of workflows that is mounted."""
    mounted = tmp_path_factory.mktemp("mounted")
    mounted.chmod(0o755)
    (mounted / "triggers.py").write_text(WORKFLOWS, "ascii")
    (mounted / "ca.pem").write_bytes(local_tenant.ca_bundle.read_bytes())
    named = settings_of(local_tenant, Path(PLACE)) | {"POSTERN_CA_BUNDLE": f"{PLACE}/ca.pem"}
    server = Running(image, mounted, named)
    try:
        until(server.answers, 30, lambda: server.log)
        yield server
    finally:
        server.close()


def test_the_server_answers_an_anonymous_trigger_and_rejects_a_guarded_one_without_a_token(
    running: Running, local_tenant: LocalTenant
):
    assert running.client.post("/triggers/open-trigger").json() == {"open": True}
    assert running.client.post("/triggers/guarded-trigger").status_code == 401
    token = {"Authorization": f"Bearer {local_tenant.token('ada')}"}
    answer = running.client.post("/triggers/guarded-trigger", headers=token)
    assert answer.json() == {"caller": local_tenant.people["ada"]}


def test_its_health_check_passes_and_says_one_line(image: Path, running: Running):
    health = json.loads((image / "image.json").read_text("utf-8"))["health"]
    for argv, path in ((health, "/healthz"), ([*health, "--ready"], "/readyz")):
        done = run_in(image, argv, running.environment)
        said = f"http://127.0.0.1:{running.port}{path} answers 200\n"
        assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


def test_it_runs_as_its_own_user_without_capabilities_and_no_way_to_get_any(running: Running):
    status = dict(line.split(":\t") for line in Path(f"/proc/{running.pid}/status").read_text("ascii").splitlines())
    assert status["Uid"].split() == status["Gid"].split() == ["10001"] * 4
    assert status["Groups"].strip() == ""
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"


def test_the_tree_is_read_only_but_for_the_folder_of_the_database_and_tmp(image: Path, running: Running):
    done = run_in(image, ["python", "-c", WHERE_CAN_IT_WRITE])
    found = json.loads(done.stdout)
    assert sorted(found.pop("written")) == ["/srv/postern/var", "/tmp"]
    assert "/etc" in found["EROFS"]
    assert "/srv/postern/workflows" in found["EROFS"]
    assert found.keys() == {"EROFS"}


def test_a_run_is_on_record_in_the_volume_in_files_of_its_user_only(image: Path, running: Running):
    run_id = running.client.post("/triggers/open-trigger").headers["X-Run-Id"]
    database = image / VAR / "postern.db"
    for file in (image / VAR).iterdir():
        assert (file.stat().st_uid, file.stat().st_gid, file.stat().st_mode & 0o077) == (10001, 10001, 0)
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT workflow FROM runs WHERE id = ?", [run_id]).fetchall() == [("open-trigger",)]
    connection.close()


def test_what_it_logs_is_json_and_names_no_secret_thing(running: Running):
    lines = [line for line in running.log.splitlines() if line.startswith("{")]
    assert "listening" in [json.loads(line)["event"] for line in lines]
    assert "eyJ" not in running.log


def test_with_the_settings_of_compose_it_records_in_the_database_beside_it_by_the_socket(image: Path, tmp_path: Path):
    """The socket is in a folder that the server cannot write to."""
    (tmp_path / "triggers.py").write_text(WORKFLOWS.partition("@workflow(access=tenant")[0], "ascii")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    named = {name: value for name, value in SERVER["environment"].items() if name == "POSTERN_DATABASE_URL"}
    with compose_database() as database:
        server = Running(image, tmp_path, named, {database: "/run/postgresql"})
        try:
            until(server.answers, 30, lambda: server.log)
            run_id = server.client.post("/triggers/open-trigger").headers["X-Run-Id"]
            sql = f"SELECT workflow FROM runs WHERE id = '{run_id}'"
            found = ask(OWNER, database, "postgres", "postern", sql)
            assert (found.stdout, found.stderr) == ("open-trigger\n", "")
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(20) == 0, server.log
        finally:
            server.close()


def test_the_environment_has_the_packages_of_the_lock_and_no_others(tree: Path):
    pins = re.findall(r"^[a-z0-9].*?==.*?(?= \\$)", (LOCKS / "requirements.lock").read_text("ascii"), re.MULTILINE)
    wanted = {requirement.name: requirement for requirement in map(Requirement, pins)}
    expected = {
        (canonicalize_name(name), str(requirement.specifier).removeprefix("=="))
        for name, requirement in wanted.items()
        if requirement.marker is None or requirement.marker.evaluate()
    }
    folders = [path.name for path in (tree / "opt/postern").rglob("*.dist-info")]
    found = {(canonicalize_name(name), version) for name, version in (f[:-10].rsplit("-", 1) for f in folders)}
    assert found - {("postern-workflows", own_version())} == expected
    assert {"psycopg", "azure-postgresql-auth"} <= {name for name, _ in found}
    last = tree / "opt/postern/lib/python3.11/site-packages/packages-of-workflows.pth"
    assert last.read_text("ascii") == "/srv/packages\n"


def test_nothing_is_left_of_installers_tests_caches_and_this_machine(tree: Path):
    paths = [str(path.relative_to(tree)) for path in tree.rglob("*")]
    names = {Path(path).name for path in paths}
    assert not names & {"pip", "pip3", "setuptools", "wheel", "ensurepip", "hatchling", "pytest", "uv", "ruff", "mypy"}
    assert not names & {"tests", ".cache", "pip.conf", "requirements.lock", "build.lock", "pyproject.toml", ".env"}
    assert [path.name for path in (tree / "opt/postern/bin").iterdir() if not path.name.startswith("python")] == [
        "postern"
    ]
    assert sorted(path.name for path in (tree / "srv/postern").iterdir()) == ["var", "workflows"]
    assert [path.name for path in (tree / "opt").iterdir()] == ["postern"]
    assert not list((tree / "build").glob("*")) + list((tree / "tmp").iterdir()) + list((tree / "root").iterdir())
    foreign = re.compile(b"|".join(re.escape(str(path).encode()) for path in (PROJECT, sys.prefix, pip_cache())))
    files = [path for path in (tree / "opt/postern").rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in files if foreign.search(path.read_bytes())] == []


def test_each_module_is_compiled_once_and_never_compared_with_its_source(tree: Path):
    compiled = list((tree / "opt/postern").rglob("*.pyc")) + list((tree / "usr/local/lib").rglob("*.pyc"))
    assert len(compiled) > 2000
    assert {path.name.split(".", 1)[1] for path in compiled} == {"cpython-311.pyc"}
    assert {path.read_bytes()[:8] for path in compiled} == {MAGIC_NUMBER + b"\x01\0\0\0"}
    sources = {path.stem for path in (tree / "opt/postern/lib/python3.11/site-packages/postern").rglob("*.py")}
    assert sources <= {path.name.split(".")[0] for path in compiled}


def test_what_the_image_says_of_itself_names_nothing_of_this_machine(image: Path):
    said = json.loads((image / "image.json").read_text("utf-8"))
    assert said["user"] == "10001:10001"
    assert sorted(name for name in said["env"] if name.startswith(("POSTERN_", "PYTHON"))) == [
        *("POSTERN_HOST", "POSTERN_LOG_FORMAT", "POSTERN_PORT", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
    ]
    assert not [name for name in said["env"] if name.lower().startswith(("pip", "http", "ssl"))]


def test_the_build_reads_no_index_for_wheels_that_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert f"--report .venv/{WHEELS.name} " in (PROJECT / "Makefile").read_text("utf-8")
    monkeypatch.setattr("tests.deploy.image.WHEELS", tmp_path / "wheels.json")
    assert known_wheels(tmp_path) == {}
    report = {"install": [{"download_info": {"url": "https://files.example/a-1-py3-none-any.whl"}}]}
    (tmp_path / "wheels.json").write_text(json.dumps(report), "ascii")
    found = known_wheels(tmp_path)
    assert (found["PIP_NO_INDEX"], found["PIP_FIND_LINKS"].split()[-1]) == ("1", str(tmp_path / "wheels.html"))
    assert 'href="https://files.example/a-1-py3-none-any.whl"' in (tmp_path / "wheels.html").read_text("ascii")


@pytest.mark.last
def test_a_signal_to_stop_ends_it_with_exit_code_0_and_the_health_check_fails_then(image: Path, running: Running):
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(20) == 0, running.log
    done = run_in(image, ["postern", "health"], running.environment)
    assert (done.returncode, done.stderr) == (1, "")
    assert "cannot be reached: Connection refused" in done.stdout
