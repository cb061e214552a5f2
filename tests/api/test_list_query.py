"""From a query to a filter: what makes sense, and what is said of the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.access import KINDS
from postern.api.list_query import PageQuery, check_of, no_parameters, pairs_of, refusal_page, run_page_of
from postern.errors import Problem
from postern.journal.reading.cursor import sealed
from postern.journal.reading.filters import ANONYMOUS, RefusalFilter, RunFilter
from postern.journal.run import State
from tests.api.records import ADA, HERE
from tests.journal.recorded import NOON, id_number
from tests.table import table


def errors(query: bytes) -> dict[str, str]:
    with pytest.raises(Problem) as caught:
        run_page_of(pairs_of(query), None)
    assert (caught.value.status, caught.value.code) == (400, "bad-filter")
    return {each["where"]: each["message"] for each in caught.value.members["errors"]}


@table(
    ("query", "filters"),
    [
        (b"", RunFilter()),
        (b"workflow=book-room&state=TimedOut", RunFilter(workflow="book-room", state=State.TIMED_OUT)),
        (b"caller=anonymous", RunFilter(caller=ANONYMOUS)),
        (f"caller={ADA.upper()}".encode(), RunFilter(caller=ADA)),
        *((f"kind={kind}".encode(), RunFilter(kind=kind)) for kind in KINDS),
        (f"parent={id_number(1)}".encode(), RunFilter(parent=id_number(1))),
        (b"text=100%25+%C3%A9", RunFilter(text="100% é")),
        (b"since=2026-01-01T12:00:00Z&until=2026-01-01T12:00:00Z", RunFilter(since=NOON, until=NOON)),
        (b"since=2026-01-01t14:00:00.5%2B02:00", RunFilter(since=NOON + 0.5)),
    ],
)
def test_filters_are_understood(query: bytes, filters: RunFilter):
    assert run_page_of(pairs_of(query), None) == PageQuery(filters, None, 50)


def test_a_page_may_be_of_another_size_and_begin_at_a_cursor():
    cursor = sealed(RunFilter(owner=(HERE, ADA)), id_number(1))
    filters = run_page_of(pairs_of(f"limit=200&cursor={cursor}".encode()), (HERE, ADA))
    assert filters == PageQuery(RunFilter(owner=(HERE, ADA)), cursor, 200)


@table(
    ("query", "where"),
    [
        (b"state=Unheard-of", "state"),
        (b"state=", "state"),
        (b"state=succeeded", "state"),
        (b"caller=ada@tenant.example", "caller"),
        (b"kind=timer", "kind"),
        (b"kind=", "kind"),
        (b"parent=1", "parent"),
        (b"workflow=", "workflow"),
        (b"text=", "text"),
        (b"text=a%00b", "text"),
        (b"text=" + b"x" * 201, "text"),
        (b"text=%FF", "query"),
        (b"text=\xff", "query"),
        (b"since=yesterday", "since"),
        (b"since=2026-01-01", "since"),
        (b"since=2026-01-01T12:00:00", "since"),
        (b"since=2026-02-30T12:00:00Z", "since"),
        (b"since=2026-01-01T12:00:00+01:00", "since"),
        (b"until=2026-01-01T25:00:00Z", "until"),
        (b"since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z", "since"),
        (b"limit=0", "limit"),
        (b"limit=201", "limit"),
        (b"limit=-1", "limit"),
        (b"limit=%D9%A3", "limit"),
        (b"limit=" + b"9" * 5000, "limit"),
        (b"cursor=x", "cursor"),
        (b"cursor=", "cursor"),
        (b"limit=5&limit=5", "limit"),
        (b"secret=1", "query"),
        (b"reason=expiry", "query"),
        (b"&".join(b"a%d=1" % n for n in range(30)), "query"),
    ],
)
def test_what_makes_no_sense_is_said_with_its_place_and_never_its_value(query: bytes, where: str):
    found = errors(query)
    assert set(found) == {where}
    for value in query.replace(b"&", b"=").split(b"=")[1::2]:
        assert len(value) < 5 or value.decode("latin-1") not in str(found)


def test_everything_that_is_wrong_is_said_at_once():
    assert set(errors(b"state=x&limit=x&since=x&what=x")) == {"state", "limit", "since", "query"}


def test_a_cursor_of_another_list_or_other_filters_is_rejected():
    of_refusals = sealed(RefusalFilter(), id_number(1))
    of_others = sealed(RunFilter(owner=(HERE, ADA)), id_number(1))
    filtered = sealed(RunFilter(workflow="hello"), id_number(1))
    for cursor in (of_refusals, of_others, filtered):
        assert set(errors(f"cursor={cursor}".encode())) == {"cursor"}


def test_refusals_have_filters_of_their_own():
    query = f"workflow=hello&reason=expiry&address=192.0.2.7&request_id={id_number(1)}&limit=1".encode()
    expected = RefusalFilter("hello", "expiry", "192.0.2.7", request_id=id_number(1))
    assert refusal_page(query) == PageQuery(expected, None, 1)
    for wrong in (b"state=Failed", b"request_id=X", b"text=x"):
        with pytest.raises(Problem):
            refusal_page(wrong)


def test_a_list_without_parameters_accepts_none():
    no_parameters(b"")
    with pytest.raises(Problem):
        no_parameters(b"limit=5")


@given(query=st.binary(max_size=120))
def test_any_query_is_a_filter_or_a_bad_one(query: bytes):
    try:
        run_page_of(pairs_of(query), None)
    except Problem as shown:
        assert shown.code == "bad-filter"


def test_what_is_checked_of_each_run_is_no_filter():
    assert check_of([("state", "Failed"), ("check", "resume")]) == ("resume", [("state", "Failed")])
    assert check_of([("state", "Failed")]) == ("", [("state", "Failed")])


@pytest.mark.parametrize("given", [["cancel"], [""], ["resume", "resume"]])
def test_a_check_that_is_none_is_a_problem_that_names_it(given: list[str]):
    with pytest.raises(Problem) as caught:
        check_of([("check", each) for each in given])
    assert caught.value.members["errors"] == [{"where": "check", "message": "must be one of resubmit, resume"}]
