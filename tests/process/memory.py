"""The memory of a process and of those that it has started, as Linux counts it."""

import re
from pathlib import Path

MIB = 1024


def family(pid: int) -> dict[str, int]:
    """The proportional set size (proc(5), smaps_rollup) in KiB of a process and its children, by their role: "server",
    or "writer" for those that the server has started. What two of them share is counted once."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    sizes = {"server": pss(pid), "writer": 0}
    for child in children:
        sizes["writer"] += pss(int(child))
    return sizes


def pss(pid: int) -> int:
    """Of one process, in KiB."""
    return int(re.findall(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)[0])
