"""The working directory is the user's: no process of ours imports a module from it."""

import sys
from pathlib import Path

import pytest

from tests.process.servers import INTERPRETER, Server, running

TAKEN = [
    "app",
    "asyncio",
    "base64",
    "collections",
    "email",
    "http",
    "json",
    "logging",
    "multiprocessing",
    "pickle",
    "postern",
    "queue",
    "secrets",
    "select",
    "selectors",
    "signal",
    "socket",
    "sqlalchemy",
    "sqlite3",
    "ssl",
    "struct",
    "subprocess",
    "tempfile",
    "threading",
    "traceback",
    "typing",
    "urllib",
    "workflow",
]
"""Names that the program or Python itself imports; `workflow` is the author's own module."""
TRAP = "raise SystemExit('IMPORTED FROM THE WORKING DIRECTORY: ' + __file__)\n"
WORKFLOW = """
import os
from postern import anonymous, workflow

@workflow(access=anonymous())
async def hello(ctx):
    return os.environ.get("PYTHONSAFEPATH")
"""


def set_traps(folder: Path, names: list[str]) -> None:
    """Modules and packages of these names."""
    for number, name in enumerate(names):
        place = folder / f"{name}.py" if number % 2 else folder / name / "__init__.py"
        place.parent.mkdir(exist_ok=True)
        place.write_text(TRAP, encoding="utf-8")
    (folder / "workflows").mkdir()
    (folder / "workflows" / "hello.py").write_text(WORKFLOW, encoding="utf-8")


def assert_works(server: Server) -> None:
    """It runs workflows and records them: the journal's writer is there. Workflows' programs are not affected."""
    answer = server.post("hello")
    assert (answer.status_code, answer.json()) == (200, None)
    assert server.client.get(f"/runs/{answer.headers['x-run-id']}").json()["state"] == "Succeeded"
    assert server.client.get("/readyz").status_code == 200
    assert server.stop() == 0
    assert "IMPORTED" not in server.output
    assert "journal-writer-died" not in server.output


@pytest.mark.parametrize("command", ["dev", pytest.param("serve", marks=pytest.mark.long), "serve --workers 2"])
def test_modules_in_the_working_directory_are_not_imported(command: str, tmp_path: Path):
    """By the command as it is installed."""
    set_traps(tmp_path, TAKEN)
    start = [
        sys.executable,
        "-P",
        "-c",
        "import sys; sys.argv[0] = 'postern'; from postern.__main__ import main; main()",
    ]
    with running(command, tmp_path, {"POSTERN_PORT": "0"}, start) as server:
        assert_works(server)


@pytest.mark.parametrize("command", ["dev", pytest.param("serve --workers 2", marks=pytest.mark.long)])
def test_nor_are_they_by_python_m_postern(command: str, tmp_path: Path):
    """Python itself imports two of the names before anything of ours: the package, and what `-m` needs."""
    set_traps(tmp_path, [name for name in TAKEN if name not in ("postern", "collections")])
    with running(command, tmp_path, {"POSTERN_PORT": "0"}, INTERPRETER) as server:
        assert_works(server)
