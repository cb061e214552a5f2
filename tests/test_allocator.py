"""Large blocks give their memory back, whatever lives beside them."""

import os
import platform
import subprocess
import sys

import pytest

from tests.tools import cannot

PROGRAM = """
import sys
from pathlib import Path
from postern.allocator import return_free_pages

def used():
    return int(Path("/proc/self/statm").read_text().split()[1])

before = used()
del (first := [bytes(16 * 1024 * 1024)])[:]
large, small = [], []
for number in range(64):
    large.append(b"x" * (1024 * 1024 + number))
    small.append(b"x" * (4096 + number))
most = used()
large.clear()
if sys.argv[1] == "yes":
    return_free_pages()
print((used() - before) / (most - before))
"""


@pytest.mark.process
def test_blocks_that_are_freed_between_others_go_back_to_the_system():
    """Without it the process keeps nearly all of them."""
    if platform.libc_ver()[0] != "glibc":
        cannot("only glibc keeps such blocks")
    kept = {}
    for word in ("yes", "no"):
        command = [sys.executable, "-c", PROGRAM, word]
        kept[word] = float(subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ).stdout)
    assert kept["yes"] < 0.1
    assert kept["no"] > 0.5
