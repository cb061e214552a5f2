"""The page about runs says what the code does."""

import json
import re
from pathlib import Path

import postern.runs
from postern.access import BY_SERVER, KINDS
from postern.api.representation import run_json
from postern.journal.idempotency_keys import KEPT_FOR
from postern.journal.journal import PATIENCE, START_DELAY
from postern.journal.retention import BATCH
from postern.journal.run import DURABLE_MOVES, MOVES, State
from postern.journal.server_processes import SILENCE
from postern.journal.writing.queue import MAX_QUEUED, MAX_QUEUED_BYTES
from postern.journal.writing.rows import MAX_KEPT_BYTES
from postern.runs.idempotency import MAX_KEY
from postern.runs.pace import FIRST, LATE
from postern.runs.threads import MOST, SHARE
from tests.api.records import record
from tests.pages import missing_files, table_rows

PAGE = Path(postern.runs.__file__).with_name("README.md").read_text(encoding="utf-8")


def test_the_table_of_states_is_the_programs():
    rows = [[set(re.findall(r"`(\w+)`", cell)) for cell in row] for row in table_rows(PAGE, "States")]
    assert [row[0] for row in rows] == [{str(state)} for state in State]
    for (_, _, inline, more), state in zip(rows, State, strict=True):
        assert inline == {str(after) for after in MOVES[state]}
        assert inline | more == {str(after) for after in DURABLE_MOVES[state]}
        assert not inline & more


def test_the_members_of_a_record_are_named():
    named = re.search(r"has `([^`]+)`", PAGE.split("## What a record holds")[1])
    assert named
    assert set(re.split(r",\s*", named[1])) == set(json.loads(run_json(record(), private=True)))


def test_the_kinds_of_callers_are_named_for_requests_and_for_runs_of_the_server():
    sentence = re.search(r"`caller\.kind` is (.+?) for a request, and (.+?) for a run", " ".join(PAGE.split()))
    assert sentence
    of_requests, of_server = [set(re.findall(r"`(\w+)`", each)) for each in sentence.groups()]
    assert (of_requests, of_server) == (set(KINDS) - BY_SERVER, set(BY_SERVER))


def test_its_figures_are_the_programs():
    figures = [
        (f"{MAX_QUEUED:,} runs", f"{MAX_QUEUED_BYTES // 1024**2} MiB"),
        (f"after {PATIENCE:.0f} seconds", f"after {START_DELAY * 1000:.0f} ms"),
        (f"after {SILENCE:.0f} seconds", f"{BATCH} at a time"),
        (f"first {MAX_KEPT_BYTES // 1024} KiB", f"1 to {MAX_KEY} visible"),
        (f"have {MOST} threads", f"at most {SHARE} of them"),
        (f"begins with {FIRST} threads", f"more than {LATE} seconds late"),
        (f"at most 30 of a workflow's {SHARE} threads", ""),
        (f"in {KEPT_FOR / 3600:.0f} hours", ""),
    ]
    text = " ".join(PAGE.split())
    assert [figure for pair in figures for figure in pair if figure not in text] == []


def test_the_files_that_it_names_are_there():
    assert missing_files(Path(postern.runs.__file__).parent) == []
