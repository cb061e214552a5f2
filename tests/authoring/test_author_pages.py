"""The listings of the pages for authors are parts of files that tests run, and each of these files is on a page."""

import re
from dataclasses import astuple
from pathlib import Path
from textwrap import indent

import pytest

import postern.authoring
from postern import Retry
from postern.authoring.duration import LONGEST
from postern.authoring.workflow import DEFAULT_TIMEOUT, MAX_ELEMENTS
from postern.settings import settings_table
from postern.triggers.find import MAX_TARGET_BYTES

ROOM = Path(postern.authoring.__file__).parent
ROOT = ROOM.parents[2]
PAGES = {name: (ROOM / name).read_text("utf-8") for name in ("WRITE.md", "RECIPES.md")}
FILES = {
    path.name: path.read_text("utf-8")
    for path in [
        *(ROOM / "first_steps").rglob("*.py"),
        *(ROOM / "recipes").glob("*.py"),
        ROOT / "workflows" / "hello.py",
    ]
}
LISTINGS = [
    (page, listing)
    for page, text in PAGES.items()
    for listing in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
]


def holds(text: str, listing: str) -> bool:
    """Whether a listing is a part of a file, or of a function in it."""
    return listing in text or indent(listing, "    ") in text


@pytest.mark.parametrize(("page", "listing"), LISTINGS, ids=range(len(LISTINGS)))
def test_a_listing_is_a_part_of_a_file(page: str, listing: str):
    assert [name for name, text in FILES.items() if holds(text, listing)] != []


def test_each_file_is_on_a_page():
    shown = {name for name, text in FILES.items() for _, listing in LISTINGS if holds(text, listing)}
    assert shown == set(FILES)


def test_the_readme_leads_to_the_pages():
    readme = (ROOT / "README.md").read_text("utf-8")
    assert [page for page in (*PAGES, "POWER-AUTOMATE.md") if f"app/postern/authoring/{page}" not in readme] == []


def test_the_figures_of_postern_are_the_programs():
    """Those that the page for users of Power Automate names."""
    text = " ".join((ROOM / "POWER-AUTOMATE.md").read_text("utf-8").split())
    defaults = {name: default for name, default, _ in settings_table()}
    figures = (
        f"{DEFAULT_TIMEOUT:.0f} seconds, `timeout=`",
        f"one wait {LONGEST / 366 / 86400:.0f} years at most".replace(" 10 ", " ten "),
        f"{int(defaults['POSTERN_MAX_BODY_BYTES']) // 1024**2} MiB, `POSTERN_MAX_BODY_BYTES`",
        f"{MAX_ELEMENTS:,} values in a body",
        f"{MAX_TARGET_BYTES:,} bytes",
        f"{defaults['POSTERN_RETENTION_DAYS']} days, `POSTERN_RETENTION_DAYS`",
        "Retry(count={:g}, interval={:g}, minimum={:g}, maximum={:g})".format(*astuple(Retry())),
    )
    assert [figure for figure in figures if figure not in text] == []


def test_each_figure_of_the_vendor_names_its_source():
    text = (ROOM / "POWER-AUTOMATE.md").read_text("utf-8")
    body, sources = text.split("## Sources")
    named = set(re.findall(r"\[(\d)\]", body))
    listed = dict(
        re.findall(r"^(\d)\. \[.*?\]\((https://learn\.microsoft\.com/[^)]+)\)", sources, re.MULTILINE | re.DOTALL)
    )
    assert named == set(listed)
    assert len(re.findall(r"^ .*\b\d+ [A-Z][a-z]+ 20\d\d\.$", sources, re.MULTILINE)) == len(listed)
    assert re.search(r"looked up in [A-Z][a-z]+ 20\d\d", sources)
