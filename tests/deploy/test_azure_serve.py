"""What the container of Container Apps runs: `deploy/azure/serve.sh`, with something else in the place of `postern`."""

import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from postern.server.process import GRACE

pytestmark = pytest.mark.process

AZURE = Path(__file__).parents[2] / "deploy" / "azure"
TEXT = (AZURE / "serve.sh").read_text("utf-8")
PAUSE = 0.5
Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def serve(tmp_path: Path) -> Start:
    """serve(script) -> the process, whose pause is PAUSE."""

    def start(script: str) -> "subprocess.Popen[str]":
        program = tmp_path / "postern"
        program.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
        program.chmod(0o755)
        argv = ["/bin/sh", "-c", TEXT.replace("sleep 10", f"sleep {PAUSE}")]
        return subprocess.Popen(argv, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, stdout=subprocess.PIPE, text=True)

    return start


def test_the_server_serves_on_for_a_while_when_it_is_to_stop(serve: Start):
    with serve("trap 'echo stopping; exit 7' TERM; echo \"it has $1\"; while :; do sleep 0.02; done") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "it has serve\n"
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "stopping\n"
        assert time.monotonic() - began >= PAUSE
    assert process.returncode == 7


def test_a_server_that_does_not_start_ends_the_container(serve: Start):
    with serve("exit 3") as process:
        assert process.wait(5) == 3


def test_there_is_time_for_the_pause_and_for_what_runs():
    template = (AZURE / "app.bicep").read_text("utf-8")
    assert "command: ['/bin/sh', '-c']\n        args: [loadTextContent('serve.sh')]" in template
    (pause,) = re.findall(r"sleep (\d+)", TEXT)
    (patience,) = re.findall(r"terminationGracePeriodSeconds: (\d+)", template)
    assert int(patience) >= int(pause) + GRACE + 10
