"""The garbage collector's numbers, in a process of their own."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

PROGRAM = """
import gc, json
from postern import collector
found = []
for each in (collector.begin, collector.loaded):
    each()
    found.append((gc.isenabled(), gc.get_threshold()[0], bool(gc.get_freeze_count())))
print(json.dumps(found))
"""


def test_a_process_collects_hardly_ever_while_it_loads_and_now_and_then_later():
    printed = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True).stdout
    assert json.loads(printed) == [[True, 300_000, False], [True, 10_000, True]]
