"""Large blocks give their memory back, whatever lives beside them."""

import os
import platform
import subprocess
import sys

import pytest

from postern.allocator import LARGE_BYTES, return_large_blocks

PROGRAM = """
import sys
from pathlib import Path
from postern.allocator import return_large_blocks

def used():
    return int(Path("/proc/self/statm").read_text().split()[1])

if sys.argv[1] == "yes":
    return_large_blocks()
before = used()
del (first := [bytes(16 * 1024 * 1024)])[:]
large, small = [], []
for number in range(64):
    large.append(b"x" * (1024 * 1024 + number))
    small.append(b"x" * (4096 + number))
most = used()
large.clear()
print((used() - before) / (most - before))
"""


@pytest.mark.process
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this is for the allocator of glibc")
def test_blocks_that_are_freed_between_others_go_back_to_the_system():
    """Without it the process keeps nearly all of them."""
    kept = {}
    for word in ("yes", "no"):
        command = [sys.executable, "-c", PROGRAM, word]
        kept[word] = float(subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ).stdout)
    assert kept["yes"] < 0.1
    assert kept["no"] > 0.5


def test_both_limits_are_set():
    """-1 and -3 are M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h."""
    found: dict[int, int] = {}
    return_large_blocks(found.__setitem__)
    assert found == {-1: LARGE_BYTES, -3: LARGE_BYTES}
