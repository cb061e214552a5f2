"""The wheel and the sdist: what they hold, and that the wheel works in an environment of its own, in a folder that has
an `app` package of its own."""

import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.process.servers import ROOT, environment, until

NAME = f"postern_workflows-{version('postern-workflows')}"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the two files that a release has."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment that has the wheel, and from this one its dependencies only."""
    place = tmp_path_factory.mktemp("installed") / "environment"
    venv.create(place, symlinks=True)
    python = place / "bin" / "python"
    wheel = built / f"{NAME}-py3-none-any.whl"
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "--offline",
        "--no-deps",
        "--python",
        str(python),
        str(wheel),
    ]
    subprocess.run(command, check=True, capture_output=True)
    packages = next(place.glob("lib/*/site-packages"))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", "utf-8")
    return place / "bin"


def test_the_wheel_holds_the_package_and_nothing_beside_it(built: Path):
    with zipfile.ZipFile(built / f"{NAME}-py3-none-any.whl") as wheel:
        names = wheel.namelist()
    assert {name.partition("/")[0] for name in names} == {"postern", f"{NAME}.dist-info"}
    assert f"{NAME}.dist-info/licenses/LICENSE" in names
    assert "postern/journal/migrations/script.py.mako" in names
    console = ROOT / "app" / "postern" / "console"
    shown = [path for folder in ("assets", "templates") for path in (console / folder).iterdir()]
    assert {f"postern/console/{path.parent.name}/{path.name}" for path in shown} <= set(names)


def test_the_sdist_holds_what_a_contributor_needs(built: Path):
    with tarfile.open(built / f"{NAME}.tar.gz") as sdist:
        names = {name.partition("/")[2].partition("/")[0] for name in sdist.getnames()}
    assert {
        "app",
        "tests",
        "workflows",
        "deploy",
        "Makefile",
        "pyproject.toml",
        "requirements.lock",
        "LICENSE",
    } <= names
    assert not {"var", "dist", ".venv"} & names


def test_the_wheel_works_in_a_folder_with_an_app_of_its_own(installed: Path, tmp_path: Path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text('raise RuntimeError("the app package of the folder")\n', "utf-8")
    environ = environment({"POSTERN_PORT": "0", "POSTERN_LOG_FORMAT": "json"})
    environ.pop("PYTHONPATH")
    postern = str(installed / "postern")

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [postern, *arguments], cwd=tmp_path, env=environ, capture_output=True, text=True, check=True
        )
        return done.stdout

    assert version("postern-workflows") in run("--version")
    assert "Wrote workflows/hello.py" in run("new", "hello")
    assert "Wrote tests/test_hello.py" in run("new", "test", "hello")
    assert "2 passed" in run("test", "--", "-p", "no:xdist")
    log = tmp_path / "dev.log"
    with log.open("w") as output:
        server = subprocess.Popen([postern, "dev"], cwd=tmp_path, env=environ, stdout=output, stderr=output)
    try:
        until(lambda: "Ctrl-C stops" in log.read_text("utf-8"), 30, lambda: log.read_text("utf-8"))
        assert "Ada" in run("call", "hello", "--as", "ada", "--data", '{"name": "Ada"}')
    finally:
        server.terminate()
        assert server.wait(20) == 0
    assert "journal-writer-died" not in log.read_text("utf-8")
    assert (tmp_path / "var" / "postern.db").is_file()
