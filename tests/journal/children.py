"""A real process that can be killed."""

import os
import subprocess
import sys
from pathlib import Path


class Child:
    """A process that does nothing. Its parent does not look when it has been killed, so that it stays as a zombie."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        self.number = self._process.pid
        self.started = started(self.number)
        self.name = f"{self.number}:{self.started}"

    def kill(self) -> None:
        self._process.kill()
        os.waitid(os.P_PID, self.number, os.WEXITED | os.WNOWAIT)

    def bury(self) -> None:
        self._process.kill()
        self._process.communicate()


def started(number: int) -> str:
    """When a process started, as proc_pid_stat(5) has it in field 22."""
    return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[19]
