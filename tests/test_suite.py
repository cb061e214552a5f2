"""What keeps the suite quick: a table is one test, which reports each row that fails; and a fast run imports no module
that it leaves out, and no browser."""

import re
from collections import Counter
from typing import Any

import pytest

from tests.conftest import LEFT_OUT, NOT_FAST, PROCESSES
from tests.lengthy import LENGTHY
from tests.table import table

BROWSER = re.compile(r"^(?:from|import) (?:playwright|axe_playwright_python|tests\.process\.console)\b", re.MULTILINE)

MOST_ROWS = 80
"""Tests that one function may be, on both databases together."""


def test_every_row_is_checked_and_all_that_fail_are_reported():
    seen: list[int] = []

    @table("number", [1, 2, 3, 4])
    def odd(number: int) -> None:
        seen.append(number)
        if number == 4:
            pytest.fail("four")
        assert number % 2

    with pytest.raises(BaseExceptionGroup, match="2 of 4 rows fail") as caught:
        odd()
    assert seen == [1, 2, 3, 4]
    assert [failure.__notes__ for failure in caught.value.exceptions] == [["row 1: number=2"], ["row 3: number=4"]]


@pytest.fixture
def six() -> int:
    return 6


@table("first", [1, 2, 3])
@table(("second", "third"), [(6, 6), pytest.param(3, 12, id="twelve")])
@pytest.mark.anyio
async def test_tables_are_multiplied_and_share_fixtures(six: int, first: int, second: int, third: int):
    assert (first * second * third) % six == 0


def test_a_failure_names_the_row_by_its_id():
    @table("first", [1, 2], ids=["one", "two"])
    @table("second", [pytest.param(0, id="zero")])
    def check(first: int, second: int) -> None:
        assert first + second == 1

    with pytest.raises(BaseExceptionGroup) as caught:
        check()
    (inner,) = caught.value.exceptions
    assert isinstance(inner, BaseExceptionGroup)
    assert (inner.__notes__, inner.exceptions[0].__notes__) == (["row 1: two"], ["row 0: zero"])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: table("a", [])(lambda a: None),
        lambda: table("a", [pytest.param(1, marks=pytest.mark.slow)])(lambda a: None),
        lambda: table("a", [1], ids=[])(lambda a: None),
    ],
)
def test_a_table_that_would_assert_less_than_it_says_is_an_error(wrong: Any):
    with pytest.raises(AssertionError):
        wrong()


def test_a_large_table_is_one_test(request: pytest.FixtureRequest):
    """Each test costs milliseconds around it, in each worker."""
    rows = Counter(item.nodeid.partition("[")[0] for item in request.session.items)
    assert {name: count for name, count in rows.items() if count > MOST_ROWS} == {}, "use tests.table.table"


def test_a_module_that_a_fast_run_leaves_out_says_so_on_one_line(request: pytest.FixtureRequest):
    """Otherwise each worker imports it to find out."""
    modules = {item.getparent(pytest.Module) for item in request.session.items} - {None}
    marked = [each for each in modules if {marker.name for marker in each.own_markers} & set(NOT_FAST)]  # type: ignore[union-attr]
    unseen = [each.nodeid for each in marked if not LEFT_OUT.search(each.path.read_text("utf-8"))]  # type: ignore[union-attr]
    assert unseen == []


def test_the_longest_modules_begin(request: pytest.FixtureRequest):
    """A worker that got one at the end would work alone."""
    assert [path for path in LENGTHY if not path.is_file()] == []
    paths = list(dict.fromkeys(item.path for item in request.session.items))
    wanted = [path for path in LENGTHY if path in paths]
    assert paths[: len(wanted)] == wanted


def test_only_tests_of_processes_import_a_browser():
    files = [path for path in PROCESSES.parent.rglob("*.py") if not path.is_relative_to(PROCESSES)]
    assert len(files) > 400
    assert [path for path in files if BROWSER.search(path.read_text("utf-8"))] == []
