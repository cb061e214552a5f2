"""The identity of this process, and whether another process of this machine is still running."""

import os
import re
import socket
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")


def this_machine() -> str:
    """The machine: its name, its boot id, and its process namespace, as far as they can be read. Two containers that
    share a name and a kernel differ by the last."""
    boot = space = ""
    with suppress(OSError):
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    with suppress(OSError):
        space = str((_PROC / "self/ns/pid").readlink())
    return " ".join(part for part in (socket.gethostname(), boot, space) if part)


def this_process() -> str:
    """This process: its number and, if available, when it started, because numbers are reused."""
    number = os.getpid()
    started = _started(number)
    return f"{number}:{started}" if started else str(number)


def lives(process: str) -> bool:
    """Whether a process of this machine, as `this_process` named it, is still running. If that is unknown: True."""
    number, _, started = process.partition(":")
    if not number.isascii() or not number.isdecimal() or int(number) == 0:
        return True
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is another user's
        return True
    found = _started(int(number))
    if found is None:
        return True
    return found != "" and started in ("", found)


def _started(number: int) -> str | None:
    """When the process of this number started, in clock ticks since boot; "" if it is a zombie, None if unknown."""
    try:
        stat = (_PROC / str(number) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # Field 2 is the program's name in brackets, and may hold anything (proc_pid_stat(5)).
    fields = re.split(r"\s+", stat.rpartition(")")[2].strip())
    state, started = fields[0], fields[19]
    return "" if state in ("Z", "X") else started
