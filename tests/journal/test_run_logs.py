"""What runs printed and logged, on record: bounded for each run, once, and deleted with it."""

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from postern.ids import id_at, new_id
from postern.journal.reading.run_logs import RunLog, run_log
from postern.journal.run_logs import (
    MOST_BYTES,
    MOST_LINES,
    ROW_BYTES,
    Lines,
    LogLine,
    add_lines,
    delete_lone_lines,
    fitting,
    size_of,
)
from postern.journal.schema import run_logs, runs
from postern.journal.storage import cuts, delete_these_runs, give_back, sums
from postern.journal.writing.rows import RUN_BYTES
from tests.journal.engines import add, run_row


def line(text: str) -> LogLine:
    return LogLine(1.5, "stdout", "", "", text)


def lines(run_id: str, *texts: str, attempt: int = 1, number: int = 1, workflow: str = "", **counts: int) -> Lines:
    kept = tuple(map(line, texts))
    return Lines(run_id, attempt, number, kept, counts.get("left_out", 0), counts.get("secured", 0), workflow)


def write(engine: Engine, *several: Lines) -> None:
    with engine.begin() as connection:
        for each in several:
            add_lines(connection, each)


def log_of(engine: Engine, run_id: str) -> RunLog:
    with engine.connect() as connection:
        return run_log(connection, run_id)


def test_lines_are_read_in_the_order_of_attempts_and_numbers(engine: Engine):
    run_id = new_id()
    write(engine, lines(run_id, "c", attempt=2), lines(run_id, "b", number=2), lines(run_id, "ä €", "x"))
    found = log_of(engine, run_id)
    assert [(attempt, each.text) for attempt, each in found.lines] == [(1, "ä €"), (1, "x"), (1, "b"), (2, "c")]
    assert (found.lines[0][1], found.count, found.left_out) == (line("ä €"), 4, 0)
    assert log_of(engine, new_id()) == RunLog()


def test_writing_the_same_again_changes_nothing(engine: Engine):
    run_id = new_id()
    write(engine, lines(run_id, "a", left_out=1), lines(run_id, "a", left_out=1))
    assert (log_of(engine, run_id).count, log_of(engine, run_id).left_out) == (2, 1)


def test_all_attempts_of_a_run_share_its_bounds(engine: Engine):
    run_id = new_id()
    write(engine, *(lines(run_id, *["x"] * (MOST_LINES // 2 + 1), attempt=attempt) for attempt in (1, 2, 3)))
    found = log_of(engine, run_id)
    assert (len(found.lines), found.left_out, found.count) == (MOST_LINES, MOST_LINES // 2 + 3, 3 * MOST_LINES // 2 + 3)


def test_lines_of_secured_workflows_are_counted(engine: Engine):
    run_id = new_id()
    write(engine, lines(run_id, secured=2), lines(run_id, secured=3, number=2))
    assert log_of(engine, run_id) == RunLog((), 0, 5)


@given(st.lists(st.text(max_size=30), max_size=60), st.integers(0, MOST_LINES), st.integers(0, MOST_BYTES))
def test_what_is_kept_is_a_beginning_within_both_bounds(texts: list[str], held: int, held_bytes: int):
    given = [line(text) for text in texts]
    kept = fitting(given, held, held_bytes)
    assert list(kept) == given[: len(kept)]
    assert held + len(kept) <= MOST_LINES
    assert held_bytes + sum(map(size_of, kept)) <= MOST_BYTES
    if len(kept) < len(given):
        more = sum(map(size_of, given[: len(kept) + 1]))
        assert held + len(kept) == MOST_LINES or held_bytes + more > MOST_BYTES


def test_lines_go_with_their_run_and_those_of_an_older_release_when_they_are_old(engine: Engine):
    old, lone, new = id_at(1000.0), id_at(2000.0), new_id()
    add(engine, runs, run_row(old))
    write(engine, *(lines(run_id, "x") for run_id in (old, lone, new)))
    with engine.begin() as connection:
        assert delete_lone_lines(connection, id_at(9000.0), 10) == 1
    assert [log_of(engine, run_id).count for run_id in (old, lone, new)] == [1, 0, 1]
    with engine.begin() as connection:
        delete_these_runs(connection, [old])
    assert log_of(engine, old).count == 0


def test_lines_of_anonymous_callers_count_in_the_storage_and_are_given_back_with_their_runs(engine: Engine):
    """Without them, a workflow that prints would fill the disk."""
    ids = sorted(new_id() for _ in range(4))
    text = "x" * (10 * RUN_BYTES)
    add(engine, runs, *(run_row(run_id, state="Succeeded", kept_bytes=RUN_BYTES) for run_id in ids))
    write(engine, *(lines(run_id, text, workflow="hello") for run_id in ids), lines(new_id(), text))
    each = RUN_BYTES + len(text) + ROW_BYTES
    url = engine.url.render_as_string(hide_password=False)
    with engine.begin() as connection:
        found = sums(connection, url)
        assert found.runs == {("hello", ""): 4 * each}
        [cut] = cuts(connection, found, 10**9, 15 * each)  # a quarter of it is less than the four
        assert cut.runs == ids[0]
        give_back(connection, cut)
        left = connection.execute(select(run_logs.c.run_id).where(run_logs.c.workflow.is_not(None))).scalars().all()
    assert sorted(left) == ids[1:]
