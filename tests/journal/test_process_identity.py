"""The identity of this process, and whether another one of this machine is still running."""

import os
import socket

import pytest

from postern.journal.process_identity import lives, this_machine, this_process
from tests.journal.children import started


@pytest.mark.process
def test_a_process_lives_until_it_is_killed_even_while_its_parent_has_not_looked(child):
    assert lives(child.name)
    assert lives(str(child.number))
    assert not lives(f"{child.number}:{int(child.started) - 1}")  # its number belonged to another process
    child.kill()
    assert not lives(child.name)
    assert not lives(str(child.number))
    child.bury()
    assert not lives(child.name)
    assert not lives(str(child.number))


@pytest.mark.process
def test_where_the_system_tells_little_a_process_is_known_by_its_number(child, monkeypatch, tmp_path):
    monkeypatch.setattr("postern.journal.process_identity._PROC", tmp_path)
    assert this_process() == str(os.getpid())
    assert this_machine() == socket.gethostname()
    assert lives(str(child.number))
    assert lives(child.name)
    child.kill()
    child.bury()
    assert not lives(child.name)


def test_this_process_lives():
    assert lives(this_process())
    assert this_process() == f"{os.getpid()}:{started(os.getpid())}"
    assert this_machine() == this_machine()


@pytest.mark.parametrize("process", ["", "0", "-1", "x", "1x:2", ":5", "²"])
def test_what_names_no_process_is_not_taken_for_a_dead_one(process):
    assert lives(process)


def test_a_number_that_no_process_can_have_is_a_dead_one():
    assert not lives("99999999999999999999:1")
