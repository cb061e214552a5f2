"""A forked process of these tests ends as Python ends."""

from pathlib import Path

import pytest

from tests.process.preloaded import Process, environment

THREAD = "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.01), print('later'))).start()"
LEFT_OPEN = "import os\nfile = open(os.devnull)\ncycle = [file]\ncycle.append(cycle)\ndel file, cycle"


@pytest.mark.parametrize(
    ("code", "exit_code", "printed"),
    [
        ("print('text', end='')", 0, "text"),
        ("sys.exit()", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sys.exit('why')", 1, "why\n"),
        ("raise ValueError('why')", 1, "ValueError: why\n"),
        ("import atexit; atexit.register(print, 'over')", 0, "over\n"),
        (THREAD, 0, "later\n"),
        (LEFT_OPEN, 0, "ResourceWarning: unclosed file"),
        ("sys.stdout.close()", 0, ""),
    ],
    ids=["prints", "exits", "code", "reason", "error", "atexit", "thread", "left open", "closed"],
)
def test_what_a_process_leaves_is_done_said_and_written_out(code: str, exit_code: int, printed: str, tmp_path: Path):
    with (tmp_path / "output").open("w+b", buffering=0) as output, Path("/dev/null").open("rb") as nothing:
        number = output.fileno()
        process = Process([], tmp_path, environment(), nothing.fileno(), number, number, code=code)
        assert process.wait(20) == exit_code
    assert printed in (tmp_path / "output").read_text("utf-8")
    assert printed or (tmp_path / "output").read_bytes() == b""
