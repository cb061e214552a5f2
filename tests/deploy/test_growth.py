"""The arithmetic of growth follows from the figures that were measured."""

import math
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "deploy" / "README.md").read_text(encoding="utf-8")
PER_NODE = 5_000


def rows(heading: str) -> list[list[str]]:
    """The cells of the table whose first column has this heading."""
    table = re.search(rf"^\| {re.escape(heading)} \|.*\n(?:\|.*\n)+", PAGE, re.MULTILINE)
    assert table, heading
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]


def number(text: str) -> float:
    return float(text.replace(",", ""))


MEASURED = {row[0]: [number(cell) for cell in row[1:]] for row in rows("what one recorded run costs")}
SERVER, WRITER, DATABASE, LOG, KEPT = [MEASURED[name][0] for name in list(MEASURED)[:5]]


@pytest.mark.parametrize("row", rows("recorded runs a second"), ids=lambda row: row[0])
def test_a_rate_needs_what_its_runs_cost(row: list[str]):
    rate, nodes, cores, of_database, log, kept = map(number, row)
    assert nodes == max(2, math.ceil(rate / PER_NODE) + (rate > PER_NODE))
    assert cores == pytest.approx(rate * (SERVER + WRITER) / 1e6, abs=0.05)
    assert of_database == pytest.approx(rate * DATABASE / 1e6, abs=0.05)
    assert log == pytest.approx(rate * LOG / 1e6, abs=0.05)
    assert kept == pytest.approx(rate * KEPT * 86_400 * 30 / 1e12, abs=0.05)


def test_a_node_has_half_of_a_core_to_spare():
    assert PER_NODE * SERVER / 1e6 < 0.5
    assert PER_NODE * (SERVER + WRITER) / 1e6 < 1


def test_a_thousand_runs_a_second_are_as_many_gigabytes_a_day_as_it_says():
    assert "they are 55 GB a day" in PAGE
    assert round(1_000 * KEPT * 86_400 / 1e9) == 55
