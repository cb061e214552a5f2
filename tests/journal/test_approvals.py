"""What the journal keeps of approvals, on each kind of database."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from postern.journal import approvals as journal
from postern.journal.approvals import Approval, ApprovalState, Begun, Decided, Verdict, place_of
from postern.journal.durable_runs import Hold
from postern.journal.durable_tables import approvals, durable_runs
from postern.journal.reading.behind import MOST_RUNS, Behind, behind
from tests.journal.engines import add
from tests.journal.recorded import id_number, put, run_row
from tests.journal.test_reads_of_durable_runs import durable_row

pytestmark = pytest.mark.slow

LISA = json.dumps({"object_id": "lisa"})
HOLD = Hold("1", "here", 2)
ASKED = Approval("1", 5, "manager", "hello", "{}", frozenset({"mia"}), False, 100.0, 200.0, data='{"a": 1}')


def begun(engine: Engine, approval: Approval = ASKED, hold: Hold = HOLD) -> Begun | None:
    with engine.begin() as connection:
        return journal.begin(connection, hold, approval)


def decided(engine: Engine, at: float = 150.0, by: str = "lisa", approved: bool = True, **more: Any) -> Verdict:
    with engine.begin() as connection:
        decision = Decided(approved, f"by {by}", at, json.dumps({"object_id": by}), by)
        return journal.decide(connection, replace(ASKED, **more), decision)


def states(engine: Engine) -> list[tuple[int, str]]:
    with engine.connect() as connection:
        rows = connection.execute(select(approvals.c.number, approvals.c.state).order_by(approvals.c.number))
        return [(row.number, row.state) for row in rows]


@pytest.fixture
def asked(engine: Engine) -> Engine:
    """A run that waits for an approval."""
    waits = {"reason": "approval", "waits_for": "manager", "wakes_at": 200.0}
    add(engine, durable_runs, durable_row("1", "waiting", owner="here", **waits))
    assert begun(engine) == Begun(200.0, frozenset({"mia"}))
    return engine


def test_an_approval_that_is_asked_again_after_a_crash_stays_what_it_was(asked: Engine):
    assert begun(asked, replace(ASKED, since=120.0, until=220.0)) == Begun(200.0, frozenset({"mia"}))
    decided(asked)
    assert begun(asked, replace(ASKED, since=160.0, until=260.0)) == Begun(200.0, frozenset({"mia"}))
    assert states(asked) == [(5, "approved")]


@pytest.mark.parametrize("other", [{"name": "director"}, {"who": '{"mode": "x"}'}])
def test_other_code_asks_for_something_else_and_the_old_decision_answers_nothing(asked: Engine, other: dict[str, Any]):
    decided(asked)
    assert begun(asked, replace(ASKED, **other, until=300.0)) == Begun(300.0, frozenset({"mia"}))
    assert states(asked) == [(-1, "approved"), (5, "waiting")]
    with asked.connect() as connection:
        assert journal.decision(connection, "1", 5) is None


def test_a_run_that_is_repeated_asks_again_and_keeps_what_was_decided(asked: Engine):
    decided(asked)
    begun(asked, replace(ASKED, number=9))
    with asked.begin() as connection:
        journal.set_aside_from(connection, "1", 0)
        assert journal.find(connection, "1", "manager") is None
    assert states(asked) == [(-2, "ended"), (-1, "approved")]
    assert begun(asked) == Begun(200.0, frozenset({"mia"}))
    assert decided(asked, by="ada") is Verdict.STANDS


def test_the_first_decision_stands_and_makes_its_run_due(asked: Engine):
    assert decided(asked) is Verdict.STANDS
    assert decided(asked, approved=False, by="ada") is Verdict.LATE
    with asked.connect() as connection:
        found = journal.decision(connection, "1", 5)
        assert connection.execute(select(durable_runs.c.wakes_at)).scalar() == 0.0
    assert found is not None
    assert (found.state, found.comment, found.decided_at, found.decided_by) == (
        *(ApprovalState.APPROVED, "by lisa", 150.0, '{"object_id": "lisa"}'),
    )


def test_of_decisions_at_the_same_time_one_stands(asked: Engine):
    people = [f"person-{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        verdicts = list(threads.map(lambda who: decided(asked, by=who), people))
    assert sorted(verdicts) == sorted([Verdict.STANDS, *[Verdict.LATE] * 7])
    with asked.connect() as connection:
        found = journal.decision(connection, "1", 5)
    assert found is not None
    assert found.comment == f"by {people[verdicts.index(Verdict.STANDS)]}"


@pytest.mark.parametrize(
    ("run", "decision", "verdict"),
    [
        ({}, {}, Verdict.STANDS),
        ({}, {"at": 200.0}, Verdict.LATE),
        ({}, {"number": 6}, Verdict.LATE),
        ({}, {"name": "director"}, Verdict.LATE),
        ({}, {"run_id": "2"}, Verdict.UNKNOWN),
        ({"phase": "ended"}, {}, Verdict.ENDED),
        ({"phase": "parked"}, {}, Verdict.STANDS),
        ({"resumed_by": '[["t", "lisa"]]'}, {}, Verdict.BARRED),
        ({"resumed_by": '[["t", "ada"]]'}, {}, Verdict.STANDS),
        ({"resumed_by": '[["t", "lisa"]]'}, {"barred": frozenset()}, Verdict.STANDS),  # self_approval=True
    ],
)
def test_what_becomes_of_a_decision(asked: Engine, run: dict[str, Any], decision: dict[str, Any], verdict: Verdict):
    if run:
        with asked.begin() as connection:
            connection.execute(update(durable_runs).values(run))
    assert decided(asked, **decision) is verdict
    assert states(asked) == [(5, "approved" if verdict is Verdict.STANDS else "waiting")]


def test_the_time_is_over_only_while_nobody_has_decided(asked: Engine):
    with asked.begin() as connection:
        assert not journal.time_out(connection, Hold("1", "there", 2), 5)
        assert journal.time_out(connection, HOLD, 5)
    assert decided(asked) is Verdict.LATE
    begun(asked, replace(ASKED, number=9))
    decided(asked, number=9)
    with asked.begin() as connection:
        assert not journal.time_out(connection, HOLD, 9)
    assert states(asked) == [(5, "timed-out"), (9, "approved")]


def test_only_the_process_that_runs_the_run_asks(asked: Engine):
    assert begun(asked, replace(ASKED, number=9), Hold("1", "there", 2)) is None
    assert states(asked) == [(5, "waiting")]


def test_the_list_has_what_waits_the_oldest_first_page_by_page(asked: Engine):
    for number, since in ((6, 100.0), (7, 90.0), (8, 110.0), (9, 80.0)):
        begun(asked, replace(ASKED, number=number, since=since, until=None))
    decided(asked, number=8, since=110.0)
    found: list[int] = []
    after = None
    with asked.connect() as connection:
        while window := journal.waiting(connection, 199.0, after, 2):
            found += [each.number for each in window]
            after = place_of(window[-1])
        assert [each.number for each in journal.waiting(connection, 200.0, None, 9)] == [9, 7, 6]
        assert {each.data for each in journal.waiting(connection, 0.0, None, 9)} == {"null"}
        assert journal.data_of(connection, [(100.0, "1", 5)]) == {("1", 5): '{"a": 1}'}
    assert found == [9, 7, 5, 6]


OURS = {"caller_kind": "application", "object_id": "postern"}

CHAINS: dict[str, tuple[list[dict[str, Any]], set[str], bool]] = {
    "its caller": ([run_row(1, object_id="ada")], {"ada"}, True),
    "an anonymous caller": ([run_row(1)], set(), False),
    "an application": ([run_row(1, **OURS)], {"postern"}, False),
    "a run above": (
        [run_row(1, **OURS, parent_run_id=id_number(2)), run_row(2, object_id="ada")],
        {"postern", "ada"},
        True,
    ),
    "two runs above": (
        [
            run_row(1, **OURS, parent_run_id=id_number(2)),
            run_row(2, **OURS, parent_run_id=id_number(3)),
            run_row(3, object_id="ada"),
        ],
        {"postern", "ada"},
        True,
    ),
    "a run above that is not here": ([run_row(1, **OURS, parent_run_id=id_number(2))], {"postern"}, False),
    "an anonymous caller claims a parent": (
        [run_row(1, parent_run_id=id_number(2)), run_row(2, object_id="ada")],
        {"ada"},
        False,
    ),
    "who resubmitted it": (
        [
            run_row(1, object_id="ada", resubmitted_from=id_number(2), resubmitted_by='{"object_id": "gil"}'),
            run_row(2, object_id="ada"),
        ],
        {"ada", "gil"},
        True,
    ),
    "who resubmitted a run above": (
        [
            run_row(1, **OURS, parent_run_id=id_number(2)),
            run_row(2, object_id="ada", resubmitted_from=id_number(3), resubmitted_by='{"object_id": "gil"}'),
            run_row(3, object_id="lisa"),
        ],
        {"postern", "ada", "gil", "lisa"},
        True,
    ),
    "the run that it was resubmitted from is gone": (
        [run_row(1, object_id="ada", resubmitted_from=id_number(2))],
        {"ada"},
        False,
    ),
    "a circle": (
        [
            run_row(1, **OURS, parent_run_id=id_number(2)),
            run_row(2, **OURS, parent_run_id=id_number(1)),
        ],
        {"postern"},
        False,
    ),
}


@pytest.mark.parametrize("chain", CHAINS)
def test_who_is_behind_a_run(engine: Engine, chain: str):
    rows, people, known = CHAINS[chain]
    with engine.begin() as connection:
        put(connection, *rows)
        assert behind(connection, id_number(1)) == Behind(frozenset(people), known)


def test_who_resumed_a_run_or_one_above_it_is_behind_it(engine: Engine):
    with engine.begin() as connection:
        put(connection, run_row(1, **OURS, parent_run_id=id_number(2)), run_row(2, object_id="ada"))
    add(engine, durable_runs, durable_row(id_number(1), resumed_by='[["t", "gil"]]'))
    add(engine, durable_runs, durable_row(id_number(2), resumed_by='[["t", "lisa"], ["t", "mia"]]'))
    with engine.connect() as connection:
        assert behind(connection, id_number(1)).object_ids == {"postern", "gil", "ada", "lisa", "mia"}


def test_of_a_chain_without_end_the_beginning_is_not_known(engine: Engine):
    with engine.begin() as connection:
        put(
            connection,
            *(run_row(n, object_id=f"p{n}", resubmitted_from=id_number(n + 1)) for n in range(1, MOST_RUNS + 50)),
        )
        found = behind(connection, id_number(1))
    assert not found.known
    assert MOST_RUNS <= len(found.object_ids) <= MOST_RUNS + 1


def test_a_time_that_is_over_stays_so_when_its_checkpoint_was_not_kept(asked: Engine):
    with asked.begin() as connection:
        assert journal.time_out(connection, HOLD, 5)
    with asked.begin() as connection:
        assert journal.time_out(connection, HOLD, 5)
        assert not journal.time_out(connection, HOLD._replace(attempt=1), 5)
    begun(asked, replace(ASKED, number=6))
    with asked.begin() as connection:
        assert journal.decide(connection, replace(ASKED, number=6), Decided(True, "", 150.0, LISA, "lisa"))
        assert not journal.time_out(connection, HOLD, 6)
