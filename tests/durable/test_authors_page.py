"""Each listing of the page for authors is a part of a file that a test runs, and its figures are the program's."""

import re
from pathlib import Path
from textwrap import indent

import pytest

import postern.durable
from postern.authoring.workflow import DEFAULT_TIMEOUT
from postern.durable.waits import HELD
from postern.journal.durable_runs import Reason
from postern.journal.signals import MOST, MOST_BYTES
from postern.settings import settings_table
from tests.table import table

FOLDER = Path(postern.durable.__file__).parent
ROOT = FOLDER.parents[2]
PAGE = (FOLDER / "AUTHORS.md").read_text("utf-8")
LISTINGS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
FILES = {
    path.stem: path.read_text("utf-8")
    for path in [*(FOLDER / "examples").glob("*.py"), ROOT / "workflows" / "order_laptop.py"]
}
GUARANTEE = "A run is started at least once; a finished step is not repeated; an outcome is recorded once."
UNDER_WAY = "A step that is under way when its server process dies, or freezes, may run twice."


def holds(text: str, listing: str) -> bool:
    """Whether a listing is a part of a file, or of a function in it."""
    return listing in text or indent(listing, "    ") in text


@table("listing", LISTINGS, ids=lambda listing: listing.strip().splitlines()[0][:40])
def test_a_listing_is_a_part_of_a_file(listing: str):
    assert [name for name, text in FILES.items() if holds(text, listing)] != []


def test_each_file_is_on_the_page():
    shown = {name for name, text in FILES.items() for listing in LISTINGS if holds(text, listing)}
    linked = set(re.findall(r"\(examples/(\w+)\.py\)", PAGE))
    assert shown | linked == set(FILES)


@pytest.mark.parametrize("page", ["README.md", "app/postern/durable/AUTHORS.md", "app/postern/durable/README.md"])
def test_the_guarantee_is_said_with_what_may_run_twice(page: str):
    text = " ".join((ROOT / page).read_text("utf-8").replace(">", "").replace("*", "").split())
    assert GUARANTEE in text
    assert UNDER_WAY in text


def test_its_figures_are_the_programs():
    defaults = {name: default for name, default, _ in settings_table()}
    text = " ".join(PAGE.split())
    figures = [
        f"{MOST}, and {MOST_BYTES // 1024**2} MiB together",
        f"{DEFAULT_TIMEOUT:.0f} s for a run that only its caller made durable",
        f"{int(defaults['POSTERN_MAX_RESULT_BYTES']) // 1024**2} MiB of JSON (`POSTERN_MAX_RESULT_BYTES`)",
        f"{defaults['POSTERN_DURABLE_WORKERS']} in each server process (`POSTERN_DURABLE_WORKERS`)",
        f"{int(defaults['POSTERN_DURABLE_WAITING']):,} (`POSTERN_DURABLE_WAITING`)",
        f"after a wait of more than {'a minute' if HELD == 60 else HELD}",
        f"parked: `{Reason.CHANGED.value}`",
        f"parked: `{Reason.MISSING.value}`",
    ]
    assert [figure for figure in figures if figure not in text] == []
