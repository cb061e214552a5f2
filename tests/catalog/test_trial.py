"""Modules that would hold or end the server are stopped in a process of their own, and the others are served."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from postern.catalog import trial, try_folder
from postern.catalog.sources import MOST_BYTES, read_folder
from postern.catalog.trial import VARIABLE, tried
from tests.catalog.test_catalog import HEAD, Folder, says

pytestmark = [pytest.mark.usefixtures("own_modules"), pytest.mark.process]

FOREVER = "x = 9**9**8\n"
UNHEARD = "x = sum(range(10**14))\n"
"""A calculation that no signal interrupts either."""
SECONDS = 0.3


@pytest.fixture(scope="module", autouse=True)
def untried_modules() -> None:
    """They are tried here."""


BOTH = pytest.mark.parametrize("begun", ["forked", "new"], indirect=True)
"""For what may differ by how the process is started: forked at a start, and a new Python later."""


@pytest.fixture(autouse=True)
def begun(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How the process is started. Test runs have several threads, which the fork does not use."""
    way = getattr(request, "param", "forked")
    monkeypatch.setattr(trial, "_alone", lambda: way == "forked")
    monkeypatch.setattr(trial, "_LAST_WORDS", 0.7)
    monkeypatch.setenv(VARIABLE, "")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder whose modules are tried."""
    return Folder(tmp_path / "flows", trial=True, import_timeout=SECONDS)


FORGED = """import os, sys
frame = sys._getframe()
while "report" not in frame.f_locals:
    frame = frame.f_back
os.write(frame.f_locals["report"], {line!r})
"""
"""A module that writes where the process reports, as one may that closes or uses all open files."""

HARMFUL: dict[str, tuple[str, str, int | None]] = {
    "calculation": (f"\n{FOREVER}", f"The import of workflows.calculation did not end within {SECONDS:g} s", 2),
    "deaf_calculation": (UNHEARD, "did not end within", 1),
    "loop": ("\nwhile True:\n    pass\n", f"did not end within {SECONDS:g} s", None),
    "loop_that_catches_all": (
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass\n",
        "did not end within",
        None,
    ),
    "deaf": ("import signal\nsignal.signal(signal.SIGABRT, signal.SIG_IGN)\n" + FOREVER, "did not end within", None),
    "no_report": (FORGED.format(line=b"x\n"), "writes to files that it did not open", None),
    "a_report_of_another": (FORGED.format(line=b'["ended", "a", 1]\n'), "writes to files that it did not open", None),
    "exit": ("import os\nos._exit(3)\n", r"ends the process \(exit code 3\)", None),
    "kill": ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", r"ends the process \(signal 9\)", None),
    "crash": ("import ctypes\nctypes.string_at(0)\n", r"ends the process \(signal 11\)", 2),
}


@BOTH
def test_harmful_modules_are_faults_and_the_others_are_served(folder: Folder):
    """At the start. Each fault names the file, the limit and, if it is known, the line. Modules are tried in the order
    of their names, so some of the others come after the harmful ones."""
    for name, (body, *_) in HARMFUL.items():
        folder.write(f"{name}.py", body)
    folder.put("hello.py", says(1))
    folder.put("zero.py", says(0, "zero"))
    folder.catalog.load()
    assert folder.names == {"hello", "zero"}
    assert sorted(fault.file.stem for fault in folder.faults) == sorted(HARMFUL)
    for fault in folder.faults:
        _, cause, line = HARMFUL[fault.file.stem]
        assert re.search(cause, fault.cause), fault
        assert line is None or fault.line == line, fault
        assert "workflow's function" in fault.fix


def test_a_change_that_would_hold_the_server_keeps_the_version_that_worked(folder: Folder):
    """The same at a reload, and when the file is corrected."""
    folder.put("hello.py", says(1))
    folder.catalog.load()
    folder.put("hello.py", FOREVER + says(2))
    folder.catalog.load()
    assert folder.call("hello") == 1
    assert folder.faults[0].still_serving == ("hello",)
    folder.put("hello.py", says(3))
    folder.catalog.load()
    assert (folder.call("hello"), folder.faults) == (3, ())


@BOTH
def test_a_helper_that_hangs_is_waited_for_once(folder: Folder, monkeypatch: pytest.MonkeyPatch):
    """All who import it are faults, which name it. One process is stopped, and the next ones try the rest."""
    ended: list[bool] = []
    end = trial._Process._end

    def noted(self: Any, *, overdue: bool, file: Path | None) -> int | None:
        ended.append(overdue)
        return end(self, overdue=overdue, file=file)

    monkeypatch.setattr(trial._Process, "_end", noted)
    folder.write("_slow.py", FOREVER)
    for name in ("a", "b"):
        folder.write(f"{name}.py", f"{HEAD}from workflows import _slow\n{says(1, name)}")
    folder.put("d.py", says(1, "d"))
    folder.put("c.py", f"from workflows import _slow\n{says(1, 'c')}")
    assert folder.names == {"d"}
    assert len(folder.faults) == 3
    assert all("_slow" in fault.cause and f"within {SECONDS:g} s" in fault.cause for fault in folder.faults)
    assert ended == [True, False, False]


@BOTH
def test_what_a_module_raises_or_prints_is_not_the_trials(folder: Folder, capfd: pytest.CaptureFixture[str]):
    """Its own import in the server reports it, once."""
    folder.write("bad.py", "print('printed')\nraise ValueError('why')\n")
    folder.write("ends.py", "raise SystemExit(3)\n")
    folder.put("hello.py", says(1))
    folder.catalog.load()
    assert folder.names == {"hello"}
    assert [fault.cause for fault in folder.faults] == ["ValueError: why", "SystemExit: 3"]
    assert capfd.readouterr().out.count("printed") == 1


@BOTH
def test_what_a_module_starts_ends_with_the_trial(folder: Folder, tmp_path: Path):
    """Processes and threads."""
    body = (
        "import os\np = os.spawnlp(os.P_NOWAIT, 'sleep', 'sleep', '1000')\n"
        f"with open({str(tmp_path)!r} + f'/{{os.getpid()}}', 'w') as file: file.write(str(p))\n"
    )
    folder.put("hello.py", body + says(1))
    folder.catalog.load()
    found = {int(path.name): int(path.read_text()) for path in tmp_path.iterdir() if path.name.isdigit()}
    (started,) = [child for process, child in found.items() if process != os.getpid()]
    own = found[os.getpid()]
    try:
        with pytest.raises(ProcessLookupError):
            _until_gone(started)
    finally:
        os.kill(own, signal.SIGKILL)
        os.waitpid(own, 0)


def _until_gone(process: int) -> None:
    for _ in range(1000):
        os.kill(process, 0)
        if Path(f"/proc/{process}/stat").read_text().split()[2] == "Z":
            raise ProcessLookupError
        threading.Event().wait(0.005)


def test_an_import_that_holds_the_interpreter_is_rejected_in_a_running_server(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
):
    """Nobody is served meanwhile. At a start nobody waits, so there it is loaded."""
    monkeypatch.setattr(trial, "MOST_HELD", 0.01)
    heavy = "y = sum(range(5_000_000))\n"
    folder = Folder(folder.path, trial=True, import_timeout=20)
    folder.put("heavy.py", heavy + says(1, "heavy"))
    folder.catalog.load()
    assert folder.names == {"heavy"}
    folder.put("heavy.py", heavy + says(2, "heavy"))
    folder.catalog.load()
    assert folder.call("heavy") == 1
    assert "holds the interpreter for" in folder.faults[0].cause


def test_workers_believe_what_their_parent_has_tried(folder: Folder, monkeypatch: pytest.MonkeyPatch):
    """The same files are tried once."""
    folder.write("bad.py", FOREVER)
    folder.put("hello.py", says(1))
    folder.catalog.load()
    faults = folder.faults

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(trial, "_Process", never)
    worker = Folder(folder.path, trial=True)
    worker.catalog.load()
    assert (worker.names, worker.faults) == ({"hello"}, faults)
    sources = [*read_folder(folder.path).values()]
    with pytest.raises(AssertionError):
        tried(folder.path, sources[:1], ["workflows.bad"], SECONDS, serving=False)


def test_what_was_tried_before_the_server_has_threads_is_not_tried_again(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
):
    """Files whose module names clash are not among them."""
    monkeypatch.setattr("postern.catalog.catalog.IMPORT_TIMEOUT", SECONDS)
    folder.write("bad.py", FOREVER)
    folder.put("hello.py", says(1))
    folder.put("book-desk.py", says(2))
    folder.put("book_desk.py", says(2))
    try_folder(folder.path)
    monkeypatch.setattr(trial, "_Process", None)
    folder.catalog.load()
    assert folder.names == {"hello"}
    assert "did not end within" in str([fault.cause for fault in folder.faults])
    try_folder(folder.path / "missing")


@BOTH
def test_where_no_process_can_be_started_modules_are_loaded_untried(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The log says so: a sandbox without processes worked before."""

    def fails(*_: Any, **__: Any) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(trial._Process, "_forked", fails)
    monkeypatch.setattr(trial._Process, "_started", fails)
    folder.put("hello.py", says(1))
    folder.catalog.load()
    assert folder.names == {"hello"}
    assert "workflows-not-tried" in capsys.readouterr().out


def test_a_huge_file_is_not_compiled(folder: Folder):
    """Nor read to its end: the compiler would hold all requests."""
    folder.put("hello.py", says(1))
    folder.put("data.py", says(1, "data") + "#" * MOST_BYTES)
    (folder.path / "part").mkdir()
    folder.write("part/huge.py", "#" * (MOST_BYTES + 1))
    folder.catalog.load()
    assert folder.names == {"hello"}
    (fault,) = folder.faults
    assert (fault.file.name, f"more than {MOST_BYTES:,} bytes" in fault.cause) == ("data.py", True)
    assert "several modules" in fault.fix


def test_an_import_that_differs_from_its_trial_ends_the_server(tmp_path: Path):
    """It holds everything, so nothing else could. The place is on standard error, and a supervisor starts it again."""
    (tmp_path / "sly.py").write_text(f"import os\nif os.getsid(0) != os.getpid():\n    {UNHEARD}")
    program = (
        "import sys\nfrom pathlib import Path\nfrom postern.catalog import Catalog\n"
        "Catalog(Path(sys.argv[1]), lambda access: None, trial=True, import_timeout=0.3).load()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 1
    assert 'sly.py", line 3' in done.stderr
